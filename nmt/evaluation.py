"""Systems against test sets: what each reaches, and where they differ."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev

from nmt import comparison, hardware, scores
from nmt.lines import TextPairs, read_lines
from nmt.runs import Checkpoint
from nmt.systems import Member, System, caveats, load_systems, test_sets, translation_files
from nmt.translator import Translation
from nmt.validation import likelihood


@dataclass(frozen=True)
class Output:
    """What a run or a file makes of a test set."""

    texts: list[str]
    translations: list[Translation] | None  # None of a file, as are the figures below that need a model
    bleu: scores.Bleu
    chrf: scores.Score
    perplexity: float | None  # exp of the nats a target token, </s> counted; comparable between equal subwords only
    nats_per_character: float | None  # of the references; comparable between any subwords
    sentences_per_second: float | None  # search alone, batched


@dataclass(frozen=True)
class Result:
    """What a system reaches on a test set."""

    outputs: list[Output]  # one a run
    bleu_interval: tuple[float, float]  # 95 %: by resampling sentences, and runs where there are several
    chrf_interval: tuple[float, float] | None  # None of several runs
    sentences: list[tuple[float, float]]  # BLEU and chrF++ of each sentence of the first run

    @property
    def first(self) -> Output:
        """What is shown where one text must stand for a system: its first run's."""
        return self.outputs[0]

    def mean(self, figure: Callable[[Output], float | None]) -> float | None:
        """A figure's mean over the runs; None where there is none."""
        found = [value for value in map(figure, self.outputs) if value is not None]
        return fmean(found) if found else None

    def deviation(self, figure: Callable[[Output], float | None]) -> float | None:
        """A figure's standard deviation over the runs; None of fewer than two."""
        found = [value for value in map(figure, self.outputs) if value is not None]
        return stdev(found) if len(found) > 1 else None


@dataclass(frozen=True)
class Difference:
    """How much better the second of two systems is than the first, and how likely that is by chance."""

    first: str
    second: str
    bleu: float
    bleu_p: float
    chrf: float
    chrf_p: float | None  # None where a group is compared


@dataclass(frozen=True)
class TestResult:
    """What all systems reach on a test set."""

    __test__ = False  # no test of pytest's

    name: str
    pairs: TextPairs
    results: dict[str, Result]  # by system
    differences: list[Difference]  # of each two systems, in their order
    lengths: list[tuple[comparison.Bucket, dict[str, scores.GroupBleu]]]  # BLEU by the source's length
    rare_words: list[comparison.RareWords]
    phrases: list[
        tuple[str, str, list[comparison.Phrase]]
    ]  # of each two systems: what the first has and the second not


@dataclass(frozen=True)
class Evaluation:
    """All that is found out."""

    systems: list[System]
    tests: list[TestResult]
    language: str  # of the target
    checkpoint: Checkpoint
    machine: str
    notes: list[str]  # what must be said before figures are compared


def evaluate(
    paths: Sequence[Path],
    files: tuple[Path, Path] | None,
    translations: Sequence[tuple[str, Path]],
    *,
    test: str | None,
    checkpoint: Checkpoint,
    device: str,
    threads: int,
    warn: Callable[[str], None],
) -> Evaluation:
    """All systems on all test sets.

    paths: runs, and groups of runs. files: source and references of one test set, in place of those that the runs'
    configs name; test: the name of the one of these to take. translations: names and files of other systems' outputs.
    warn: told of lines that are cut.
    """
    hardware.set_up(threads)
    where = hardware.choose_device(device)
    systems = load_systems(paths, checkpoint, where, warn)
    tests, notes = test_sets(systems, files, test)
    systems += translation_files(translations, systems, tests)
    runs = [member for system in systems for member in system.members]
    notes += caveats(systems, runs)
    language = runs[0].run.config().data.target_language
    counts = runs[0].run.word_counts()
    found = [_compare(systems, name, pairs, language, counts) for name, pairs in tests.items()]
    return Evaluation(systems, found, language, checkpoint, hardware.describe(where), notes)


def _compare(
    systems: Sequence[System], test: str, pairs: TextPairs, language: str, counts: dict[str, int]
) -> TestResult:
    results = {system.name: _result(system, pairs, test, language) for system in systems}
    texts = {name: [output.texts for output in result.outputs] for name, result in results.items()}
    lengths = []
    for bucket in comparison.buckets_of_lengths(pairs.sources, systems[0].members[0].run.config().data.source_language):
        references = [pairs.targets[line] for line in bucket.lines]
        of_systems = {
            name: scores.group_bleu([[own[line] for line in bucket.lines] for own in group], references, language)
            for name, group in texts.items()
        }
        lengths.append((bucket, of_systems))
    firsts = {name: group[0] for name, group in texts.items()}
    pairs_of_systems = [pair for a, b in combinations(firsts, 2) for pair in ((a, b), (b, a))]
    return TestResult(
        test,
        pairs,
        results,
        _tested(results, texts, pairs.targets, language),
        lengths,
        comparison.rare_words(list(firsts.values()), pairs.targets, counts, language),
        [(a, b, comparison.phrases(firsts[a], firsts[b], pairs.targets, language)) for a, b in pairs_of_systems],
    )


def _result(system: System, pairs: TextPairs, test: str, language: str) -> Result:
    if system.members:
        outputs = [_output(member, pairs, f"{system.name}, {test}", language) for member in system.members]
    else:
        texts = read_lines(system.path)
        scored = scores.bleu(texts, pairs.targets, language), scores.chrf(texts, pairs.targets)
        outputs = [Output(texts, None, *scored, None, None, None)]
    sentences = scores.sentence_scores(outputs[0].texts, pairs.targets, language)
    if len(outputs) > 1:
        group = scores.group_bleu([output.texts for output in outputs], pairs.targets, language)
        return Result(outputs, (group.low, group.high), None, sentences)
    [only] = outputs
    half = scores.intervals(only.texts, pairs.targets, language)
    return Result(
        outputs,
        (only.bleu.value - half.bleu, only.bleu.value + half.bleu),
        (only.chrf.value - half.chrf, only.chrf.value + half.chrf),
        sentences,
    )


def _output(member: Member, pairs: TextPairs, bar: str, language: str) -> Output:
    loss, per_character = likelihood(member.translator, pairs)
    started = time.perf_counter()
    translations = member.translator.translate(pairs.sources, bar=bar)
    seconds = time.perf_counter() - started
    texts = [translation.text for translation in translations]
    return Output(
        texts,
        translations,
        scores.bleu(texts, pairs.targets, language),
        scores.chrf(texts, pairs.targets),
        math.exp(min(loss, 700)),  # exp(710) overflows
        per_character,
        len(texts) / seconds,
    )


def _tested(
    results: dict[str, Result], texts: dict[str, list[list[str]]], references: list[str], language: str
) -> list[Difference]:
    """The difference of each two systems, with its test: of single systems by sacreBLEU's, else of groups."""
    found = []
    names = list(results)
    for place, first in enumerate(names):
        others = names[place + 1 :]
        single = [name for name in others if len(texts[first]) == len(texts[name]) == 1]
        tested = scores.p_values(texts[first][0], [texts[name][0] for name in single], references, language)
        p_values = dict(zip(single, tested, strict=True))
        for second in others:
            bleu, chrf = (
                _mean(results[second], figure) - _mean(results[first], figure)
                for figure in (lambda output: output.bleu.value, lambda output: output.chrf.value)
            )
            if second in p_values:
                found.append(Difference(first, second, bleu, p_values[second].bleu, chrf, p_values[second].chrf))
            else:
                p = scores.group_p_value(texts[first], texts[second], references, language)
                found.append(Difference(first, second, bleu, p, chrf, None))
    return found


def _mean(result: Result, figure: Callable[[Output], float]) -> float:
    return fmean(map(figure, result.outputs))
