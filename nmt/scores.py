"""BLEU and chrF++ by sacreBLEU, with signatures, intervals and tests; what is plainly wrong with translations.

Text in, numbers out. A group is the outputs of one recipe's runs, each the hypotheses of a whole test set in order; a
single system is a group of one.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEUScore
from sacrebleu.metrics.chrf import CHRFScore
from sacrebleu.significance import PairedTest, Result

from nmt.config import InputError

Group = Sequence[Sequence[str]]  # hypotheses of each run

# `13a` splits at spaces and punctuation, which means nothing where words are not separated by spaces.
TOKENISERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab", "th": "char", "lo": "char", "km": "char", "my": "char"}

SEED = 12345  # of resampling: sacreBLEU's own
LONGEST_LOOP = 8  # words

logging.getLogger("sacrebleu").setLevel(logging.WARNING)  # it tells of each step of a test on stderr


@dataclass(frozen=True)
class Score:
    """A figure of a whole test set, and how it was computed."""

    value: float  # 0 to 100
    signature: str  # sacreBLEU's; scores of different signatures cannot be compared


@dataclass(frozen=True)
class Bleu:
    """A BLEU score."""

    value: float  # 0 to 100
    signature: str
    length_ratio: float  # tokens of the hypotheses over those of the references


def bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> Bleu:
    """Corpus BLEU (Papineni et al. 2002) of detokenised text; the tokeniser follows the target's language."""
    _check(hypotheses, references)
    metric = _bleu(language)
    result = metric.corpus_score(list(hypotheses), [list(references)])
    return Bleu(result.score, str(metric.get_signature()), result.sys_len / max(1, result.ref_len))


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus chrF++ (Popović 2017)."""
    _check(hypotheses, references)
    metric = _Chrf(word_order=2)
    result = metric.corpus_score(list(hypotheses), [list(references)])
    return Score(result.score, str(metric.get_signature()))


def sentence_scores(hypotheses: Sequence[str], references: Sequence[str], language: str) -> list[tuple[float, float]]:
    """BLEU (of the n-gram orders that a sentence has) and chrF++ of each sentence."""
    bleu_metric, chrf_metric = _bleu(language, effective_order=True), _Chrf(word_order=2)
    return [
        (bleu_metric.sentence_score(own, [wanted]).score, chrf_metric.sentence_score(own, [wanted]).score)
        for own, wanted in zip(hypotheses, references, strict=True)
    ]


@dataclass(frozen=True)
class Intervals:
    """Half the widths of 95 % intervals by bootstrap over the sentences (Koehn 2004)."""

    bleu: float
    chrf: float


class _Bleu(BLEU):
    """BLEU whose scores are Python's floats all: its own interval cannot take NumPy's among them, as of bad systems."""

    def _compute_score_from_stats(self, stats: list[int]) -> BLEUScore:
        found: BLEUScore = super()._compute_score_from_stats(stats)
        found.score = float(found.score)
        return found


class _Chrf(CHRF):
    """The same of chrF++."""

    def _compute_score_from_stats(self, stats: list[int]) -> CHRFScore:
        found: CHRFScore = super()._compute_score_from_stats(stats)
        found.score = float(found.score)
        return found


@dataclass(frozen=True)
class PValues:
    """How likely a difference at least as large is by chance: of two systems that are as good as each other."""

    bleu: float
    chrf: float


def samples(sentences: int) -> int:
    """How often a test set is drawn anew: 1,000 times, as sacreBLEU does, and less often over 10,000 sentences.

    sacreBLEU holds the counts of all sentences of all samples: 10,000 take 1 GB.
    """
    return min(1000, max(100, 10**7 // max(1, sentences)))


def intervals(hypotheses: Sequence[str], references: Sequence[str], language: str) -> Intervals:
    """The intervals of a system's BLEU and chrF++, as `sacrebleu --confidence` gives them."""
    found = [
        metric.corpus_score(list(hypotheses), [list(references)], n_bootstrap=samples(len(references)))
        for metric in (_bleu(language), _Chrf(word_order=2))
    ]
    return Intervals(*(float(score._ci) for score in found))


def p_values(
    baseline: Sequence[str], others: Sequence[Sequence[str]], references: Sequence[str], language: str
) -> list[PValues]:
    """Each system against a baseline, by paired bootstrap (Koehn 2004), as `sacrebleu --paired-bs` gives them.

    But for equal scores: any difference is at least as large as none, so p is 1, where sacreBLEU gives equal systems
    its least.
    """
    named: list[tuple[str, Sequence[str]]] = [
        (str(number), list(hypotheses)) for number, hypotheses in enumerate([baseline, *others])
    ]
    metrics: dict[str, Metric] = {"BLEU": _bleu(language), "chrF++": _Chrf(word_order=2)}
    _, results = PairedTest(named, metrics, [list(references)], test_type="bs", n_samples=samples(len(references)))()
    columns = [cast(list[Result], column) for name, column in results.items() if name != "System"]
    found = [
        [1.0 if own.score == first.score else cast(float, own.p_value) for own in rest] for first, *rest in columns
    ]
    return [PValues(of_bleu, of_chrf) for of_bleu, of_chrf in zip(*found, strict=True)]


@dataclass(frozen=True)
class GroupBleu:
    """BLEU of a group: the mean over its runs."""

    value: float
    low: float  # of the 95 % interval, by resampling runs and sentences
    high: float


def group_bleu(group: Group, references: Sequence[str], language: str) -> GroupBleu:
    """A group's mean BLEU with its interval; of a group of one that of `intervals`, up to its middle."""
    found = np.sort(_resampled(group, references, language))
    cut = len(found) // 40
    value = float(np.mean([bleu(hypotheses, references, language).value for hypotheses in group]))
    return GroupBleu(value, float(found[cut]), float(found[-cut - 1]))


def group_p_value(first: Group, second: Group, references: Sequence[str], language: str) -> float:
    """How likely a difference of two groups' mean BLEU at least as large is by chance, by paired bootstrap.

    Sentences are drawn anew each time, the same for both, and runs of each group: so the answer is about the recipes,
    while a test of two runs is about the sentences alone. For groups of one it is `p_values`. Few runs make it too sure
    of itself: draws among three differ by a third less than recipes do.
    """
    means = [np.mean([bleu(own, references, language).value for own in group]) for group in (first, second)]
    if means[0] == means[1]:
        return 1.0
    found = [_resampled(group, references, language, stream) for stream, group in enumerate((first, second))]
    differences = np.abs(found[1] - found[0])
    beyond = differences - differences.mean() > abs(means[1] - means[0])
    return float(beyond.sum() + 1) / (len(beyond) + 1)


def _resampled(group: Group, references: Sequence[str], language: str, stream: int = 0) -> NDArray[np.float64]:
    """(samples,) a group's mean BLEU over sentences and runs that are drawn with replacement.

    stream: draws of runs differ between streams, those of sentences do not.
    """
    count = samples(len(references))
    drawn = np.random.default_rng(SEED).choice(len(references), size=(count, len(references)), replace=True)
    times = np.stack([np.bincount(row, minlength=len(references)) for row in drawn])  # how often each has a sentence
    of_runs = np.stack([_bleu_of_counts(times @ _counts(own, references, language)) for own in group])
    runs = np.random.default_rng([SEED, stream]).choice(len(group), size=(len(group), count), replace=True)
    # of_runs: (runs, samples), and as many runs are drawn for each sample
    means: NDArray[np.float64] = of_runs[runs, np.arange(count)].mean(axis=0)
    return means


def _counts(hypotheses: Sequence[str], references: Sequence[str], language: str) -> NDArray[np.float64]:
    """(sentences, 10) what BLEU adds up: its right n-grams, all n-grams, and both lengths."""
    metric = _bleu(language, effective_order=True)  # of which sacreBLEU reminds at each sentence; counts are the same
    scores = [metric.sentence_score(own, [wanted]) for own, wanted in zip(hypotheses, references, strict=True)]
    return np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores], float)


def _bleu_of_counts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(·,) BLEU of sums (·, 10)."""
    return np.array(
        [
            BLEU.compute_bleu(row[:4].tolist(), row[4:8].tolist(), int(row[8]), int(row[9]), smooth_method="exp").score
            for row in counts
        ]
    )


@dataclass(frozen=True)
class Faults:
    """What is plainly wrong with translations: shares, 0 to 1, of the lines that have a source."""

    empty: float  # no text
    copied: float  # the source again, where the reference is another text
    looping: float  # a phrase three times in a row, where the reference has none


def faults(sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str], language: str) -> Faults:
    """How many translations are empty, copied or caught in a loop."""
    rows = [row for row in zip(sources, hypotheses, references, strict=True) if row[0].strip()]
    empty = sum(not own.strip() for _, own, _ in rows)
    copied = sum(own.strip() == source.strip() != wanted.strip() for source, own, wanted in rows)
    looping = sum(_loops(own, language) and not _loops(wanted, language) for _, own, wanted in rows)
    return Faults(*(count / max(1, len(rows)) for count in (empty, copied, looping)))


def has_spaces(language: str) -> bool:
    """Whether a language puts spaces between words; by sacreBLEU's tokenisers, so unknown ones do."""
    return _tokeniser(language) in ("13a", "ko-mecab")


def _loops(text: str, language: str) -> bool:
    found = text.split() if has_spaces(language) else list("".join(text.split()))
    return any(
        found[start : start + size] == found[start + size : start + 2 * size] == found[start + 2 * size :][:size]
        for size in range(1, LONGEST_LOOP + 1)
        for start in range(len(found) - 3 * size + 1)
    )


def _tokeniser(language: str) -> str:
    return TOKENISERS.get(language.lower().split("-")[0].split("_")[0], "13a")


def _bleu(language: str, *, effective_order: bool = False) -> BLEU:
    try:
        return _Bleu(tokenize=_tokeniser(language), effective_order=effective_order)
    except (ImportError, RuntimeError):  # sacreBLEU's tokenisers for Japanese and Korean are extras of it
        extra = language.lower()[:2]
        raise InputError(
            f"BLEU for target language {language!r} needs sacreBLEU's tokeniser {_tokeniser(language)}: "
            f"pip install 'sacrebleu[{extra}]'"
        ) from None


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    # sacreBLEU cuts to the shorter of both without a word, and fails on none.
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses, but {len(references)} references")
    if not references:
        raise InputError("a test set without lines has no score")
