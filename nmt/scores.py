"""BLEU and chrF++ by sacreBLEU, with their signatures: text in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics import BLEU, CHRF

from nmt.config import InputError

# `13a` splits at spaces and punctuation, which means nothing where words are not separated by spaces.
TOKENISERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab", "th": "char", "lo": "char", "km": "char", "my": "char"}


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
    tokeniser = TOKENISERS.get(language.lower().split("-")[0].split("_")[0], "13a")
    try:
        metric = BLEU(tokenize=tokeniser)
    except (ImportError, RuntimeError):  # sacreBLEU's tokenisers for Japanese and Korean are extras of it
        extra = language.lower()[:2]
        raise InputError(
            f"BLEU for target language {language!r} needs sacreBLEU's tokeniser {tokeniser}: "
            f"pip install 'sacrebleu[{extra}]'"
        ) from None
    result = metric.corpus_score(list(hypotheses), [list(references)])
    return Bleu(result.score, str(metric.get_signature()), result.sys_len / max(1, result.ref_len))


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus chrF++ (Popović 2017)."""
    _check(hypotheses, references)
    metric = CHRF(word_order=2)
    result = metric.corpus_score(list(hypotheses), [list(references)])
    return Score(result.score, str(metric.get_signature()))


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    # sacreBLEU cuts to the shorter of both without a word, and fails on none.
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses, but {len(references)} references")
    if not references:
        raise InputError("a test set without lines has no score")
