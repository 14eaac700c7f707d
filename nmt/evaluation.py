"""Runs against test sets: scores, hypotheses, heatmaps, and the table that compares them."""

import difflib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nmt import hardware, scores
from nmt.config import FilePair, InputError
from nmt.events import clock
from nmt.lines import TextPairs, read_pairs, write_lines
from nmt.plotting import Panel, draw_heatmaps, save_figure
from nmt.runs import Checkpoint, Run
from nmt.translator import Translation, Translator
from nmt.validation import likelihood

CAPTION = (
    "Each row: where the model looked when it predicted that word, which is not yet an alignment. </s>: nowhere. "
    "Reference: {reference}"
)


@dataclass(frozen=True)
class System:
    """A run ready to be evaluated."""

    name: str  # unique among the runs compared
    run: Run
    translator: Translator
    updates: int  # behind the checkpoint


@dataclass(frozen=True)
class Result:
    """What a system reached on a test set."""

    bleu: scores.Bleu
    chrf: scores.Score
    perplexity: float  # exp of the nats a target token, </s> counted; comparable between equal subwords only
    nats_per_character: float  # of the references; comparable between any subwords
    sentences_per_second: float  # search alone, batched
    translations: list[Translation]


def evaluate(
    paths: Sequence[Path],
    files: tuple[Path, Path] | None,
    out: Path | None,
    *,
    heatmaps: int,
    checkpoint: Checkpoint,
    device: str,
    threads: int,
    warn: Callable[[str], None],
) -> str:
    """The table of all runs on all test sets, as text; everything else is left in `out`.

    files: source and references of one test set, in place of those that the runs' configs name. warn: told of lines
    that are cut.
    """
    hardware.set_up(threads)
    where = hardware.choose_device(device)
    systems = _systems(paths, checkpoint, where, warn)
    tests, notes = _tests(systems, files)
    notes += _differences(systems)
    out = out or _default_out(systems)
    _folder(out / "hypotheses")  # an error now, not after hours
    results = {
        test: {system.name: _measure(system, pairs, test) for system in systems} for test, pairs in tests.items()
    }
    for test, pairs in tests.items():
        for system in systems:
            texts = (translation.text for translation in results[test][system.name].translations)
            write_lines(out / "hypotheses" / f"{system.name}.{test}.txt", texts)
        drawn = choose_sentences(pairs, [results[test][system.name].translations for system in systems], heatmaps)
        _draw(systems, pairs, test, results[test], drawn, out)
    summary = _summary(systems, results, checkpoint, where)
    write_lines(out / "results.json", json.dumps(summary, indent=1, ensure_ascii=False).split("\n"))
    where_to = [f"results    {out / 'results.json'}", f"texts      {out / 'hypotheses'}"]
    if heatmaps:
        where_to.append(f"heatmaps   {out / 'heatmaps'}")
    return "\n".join([_table(systems, results), *(f"note: {note}" for note in notes), "", *where_to])


def choose_sentences(pairs: TextPairs, translations: Sequence[Sequence[Translation]], count: int) -> list[int]:
    """Lines worth a picture: half spread over the lengths, half where the runs' translations differ most.

    One run: all spread over the lengths. Lines without a source are left out, and those too long for a picture.
    """
    lines = [
        line
        for line, source in enumerate(pairs.sources)
        if source.strip() and all(map(_can_be_drawn, [source, *(texts[line].text for texts in translations)]))
    ]
    by_length = sorted(lines, key=lambda line: (len(pairs.sources[line]), line))
    spread = min(len(lines), count if len(translations) == 1 else (count + 1) // 2)
    # The middles of equal parts, so that one picture shows a sentence of middle length.
    chosen = [by_length[int((part + 0.5) * len(lines) / spread)] for part in range(spread)]
    rest = [line for line in lines if line not in set(chosen)]
    rest.sort(key=lambda line: (_agreement([texts[line].text for texts in translations]), line))
    return sorted(chosen + rest[: max(0, min(count, len(lines)) - len(chosen))])


def _can_be_drawn(text: str) -> bool:
    # Twice as many words take 15 s to draw, and nobody reads them.
    return len(text) <= 1000 and len(text.split()) <= 100


def _agreement(texts: Sequence[str]) -> float:
    """How much of the first of several translations the least like of the others shares with it, by words: 0 to 1."""
    first = texts[0].split()
    return min((difflib.SequenceMatcher(None, first, text.split()).ratio() for text in texts[1:]), default=1.0)


def _systems(
    paths: Sequence[Path], checkpoint: Checkpoint, device: torch.device, warn: Callable[[str], None]
) -> list[System]:
    runs = [Run(path) for path in paths]
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("a run is given twice; each is compared with the others, so name it once")
    names = [run.name for run in runs]
    if len(set(names)) < len(names):  # runs of one name in several folders
        names = [str(path).strip("/").replace("/", "-") for path in paths]
    return [
        System(name, run, Translator.load(run, checkpoint, device, warn), run.weights(checkpoint)[1])
        for name, run in zip(names, runs, strict=True)
    ]


def _tests(systems: Sequence[System], files: tuple[Path, Path] | None) -> tuple[dict[str, TextPairs], list[str]]:
    """The test sets by name, and notes on those that are not every run's."""
    if files:
        pairs = _read_test(FilePair(source=str(files[0]), target=str(files[1])))
        return {files[0].name.removesuffix(".gz").partition(".")[0]: pairs}, []
    own = [system.run.tests() for system in systems]
    tests = {name: pairs for name, pairs in own[0].items() if all(pairs == others.get(name) for others in own)}
    others = sorted({name for named in own for name in named} - tests.keys())
    if not tests:
        raise InputError(
            "no test set that is the same for all runs (a config names its own: [data.test.NAME] source, target)"
            + (f"; different: {', '.join(others)}" if others else "")
            + "; give one with --source FILE --target FILE"
        )
    return tests, [f"test set {name} is not the same for every run, and is left out" for name in others]


def _read_test(files: FilePair) -> TextPairs:
    pairs = read_pairs(files)
    if not pairs.sources:
        raise InputError(f"{Path(files.source).absolute()}: the file is empty, so there is nothing to score")
    return pairs


def _differences(systems: Sequence[System]) -> list[str]:
    """What must be said before figures are compared."""
    notes = []
    if len({system.translator.subwords.digest() for system in systems}) > 1:
        notes.append("the runs have different subwords: compare nats a character, not perplexities")
    if len({json.dumps(system.run.facts()["training_text"], sort_keys=True) for system in systems}) > 1:
        notes.append("the runs were trained on different text")
    if len({(s.translator.search.beam_size, s.translator.search.length_penalty) for s in systems}) > 1:
        notes.append("the runs' searches differ in beam size or length penalty")
    languages = {
        (system.run.config().data.source_language, system.run.config().data.target_language) for system in systems
    }
    if len(languages) > 1:
        raise InputError(f"the runs translate between different languages: {sorted(languages)}")
    return notes


def _default_out(systems: Sequence[System]) -> Path:
    if len(systems) == 1:
        return systems[0].run.path / "evaluation"
    return Path("runs") / "-vs-".join(system.name for system in systems)


def _measure(system: System, pairs: TextPairs, test: str) -> Result:
    loss, per_character = likelihood(system.translator, pairs)
    started = time.perf_counter()
    translations = system.translator.translate(pairs.sources, bar=f"{system.name}, {test}")
    seconds = time.perf_counter() - started
    texts = [translation.text for translation in translations]
    return Result(
        scores.bleu(texts, pairs.targets, system.run.config().data.target_language),
        scores.chrf(texts, pairs.targets),
        math.exp(min(loss, 700)),
        per_character,
        len(texts) / seconds,
        translations,
    )


def _draw(
    systems: Sequence[System],
    pairs: TextPairs,
    test: str,
    results: dict[str, Result],
    lines: Sequence[int],
    out: Path,
) -> None:
    panels: list[list[Panel]] = [[] for _ in lines]
    sources = [pairs.sources[line] for line in lines]
    for system in systems:
        translations = [results[system.name].translations[line] for line in lines]
        extraction = system.translator.model.default_extraction
        if extraction is None:
            for row, source, translation in zip(panels, sources, translations, strict=True):
                note = "this model has no attention"
                row.append(Panel(system.name, source.split(), translation.text.split(), [], note))
            continue
        found = system.translator.align_translations(sources, translations, extraction, "punctuation")
        for row, attention in zip(panels, found, strict=True):
            title = f"{system.name}: {extraction}"
            row.append(Panel(title, attention.source_words, attention.target_words, attention.weights.tolist()))
    for row, line in zip(panels, lines, strict=True):
        figure = draw_heatmaps(row, CAPTION.format(reference=pairs.targets[line]))
        for suffix in ("png", "svg"):
            _folder(out / "heatmaps")
            save_figure(figure, out / "heatmaps" / f"{test}-{line + 1:05d}.{suffix}")


def _folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.absolute()}: results cannot be written there: {error.strerror}") from None


def _summary(
    systems: Sequence[System], results: dict[str, dict[str, Result]], checkpoint: Checkpoint, device: torch.device
) -> dict[str, Any]:
    runs = {}
    for system in systems:
        progress, facts, search = system.run.progress(), system.run.facts(), system.translator.search
        runs[system.name] = {
            "path": str(system.run.path),
            "model": system.run.config().model.kind,
            "checkpoint": checkpoint,
            "updates": system.updates,
            "training_seconds": progress.seconds,
            "training_updates": progress.update,
            "parameters": facts["parameters"],
            "embedding_parameters": facts["embedding_parameters"],
            "beam_size": search.beam_size,
            "length_penalty": search.length_penalty,
            "tests": {
                test: {
                    "sentences": len(by_name[system.name].translations),
                    "bleu": by_name[system.name].bleu.value,
                    "bleu_signature": by_name[system.name].bleu.signature,
                    "chrf": by_name[system.name].chrf.value,
                    "chrf_signature": by_name[system.name].chrf.signature,
                    "length_ratio": by_name[system.name].bleu.length_ratio,
                    "perplexity": by_name[system.name].perplexity,
                    "nats_per_character": by_name[system.name].nats_per_character,
                    "sentences_per_second": by_name[system.name].sentences_per_second,
                }
                for test, by_name in results.items()
            },
        }
    return {"machine": hardware.describe(device), "runs": runs}


def _table(systems: Sequence[System], results: dict[str, dict[str, Result]]) -> str:
    """The runs as rows, a block a test set, the signatures under it."""
    widest = max(len("run"), *(len(system.name) for system in systems))
    lines = []
    for test, by_name in results.items():
        lines.append(f"{test}, {len(next(iter(by_name.values())).translations):,} sentences")
        lines.append(
            f"{'run':{widest}}   BLEU  chrF++     ppl  nats/char  length  sent/s  parameters  updates  training"
        )
        for system in systems:
            result, progress = by_name[system.name], system.run.progress()
            lines.append(
                f"{system.name:{widest}} {result.bleu.value:6.1f} {result.chrf.value:7.1f} {result.perplexity:7.2f} "
                f"{result.nats_per_character:10.3f} {result.bleu.length_ratio:7.3f} "
                f"{result.sentences_per_second:7.0f} {system.run.facts()['parameters']:11,} "
                f"{system.updates:8,} {clock(progress.seconds):>9}"
            )
        lines.append("")
    signatures = dict.fromkeys(
        [f"BLEU    {result.bleu.signature}" for by_name in results.values() for result in by_name.values()]
        + [f"chrF++  {result.chrf.signature}" for by_name in results.values() for result in by_name.values()]
    )
    return "\n".join([*lines, *signatures])
