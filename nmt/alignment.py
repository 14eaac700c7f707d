"""From attention to words, from words to links, and links of two directions to one; how all of them are written."""

import json
import re
import unicodedata
import zipfile
from bisect import bisect_left
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from operator import itemgetter
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from nmt.models.base import Extraction
from nmt.subwords import Pieces

Link = tuple[int, int]  # word of the source, word of the target, from 0
Span = tuple[int, int]  # characters of a line, from and up to
WordSplit = Literal["punctuation", "space"]
Combination = Literal["intersection", "union", "grow-diag", "grow-diag-final-and", "grow-diag-final-attention", "soft"]
Matrix = NDArray[np.float64]

# A word with what is written within it ("don't", "3.5", "Haus-Tür"), or one other character that is no space.
_WORD = {"punctuation": re.compile(r"\w+(?:[-'’.,]\w+)*|[^\w\s]"), "space": re.compile(r"\S+")}

SHADES = " ░▒▓█"
MOST_WORDS = 8192  # of a line, more are left out: two such lines have a matrix of 0.5 GB
NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


@dataclass(frozen=True)
class Words:
    """A line and the words in it, or the first of them where the line was cut."""

    text: str
    spans: list[Span]

    @property
    def texts(self) -> list[str]:
        """The words themselves."""
        return [self.text[start:end] for start, end in self.spans]

    def __len__(self) -> int:
        return len(self.spans)


@dataclass(frozen=True)
class Least:
    """The least weights of links, which may grow to words that have none (Koehn et al. 2005, section 3)."""

    weight: float  # of any link
    beside: float | None = None  # of one beside a link, of a word that has none otherwise; None: nothing grows


# Geometric mean of two directions' weights: error rates over 0.1, 0.2 and 0.3 of the attention of the toy corpus's RNN
# 21.5, 13.1, 19.9 %, of its Transformer 19.0, 11.0, 15.1 %.
AGREED = Least(0.2)


@dataclass(frozen=True)
class WordAttention:
    """What a model looked at, by words."""

    source: Words
    target: Words
    weights: Matrix  # (target words, source words + 1): each row sums to 1; the last column is </s>
    least: Least | None = None  # weight of a link; None: a target word's link is the one with the most weight


def split_words(line: str, split: WordSplit = "punctuation") -> Words:
    """The words of a line: with punctuation apart, or what stands between spaces."""
    return Words(line, [match.span() for match in _WORD[split].finditer(line)])


def given_words(line: str, tokenised: str) -> Words:
    """The words of a line as a tokenised copy of it has them, which differs in nothing but spaces.

    Raises ValueError, saying where the two differ.
    """
    spans, at = [], 0
    for word in tokenised.split():
        start = end = at
        for place, character in enumerate(word):
            while end < len(line) and line[end].isspace():
                end += 1
            if line[end : end + 1] != character:
                raise ValueError(f"{line[end : end + 20]!r} is not {word[place:]!r}")
            start, end = end if place == 0 else start, end + 1
        spans.append((start, end))
        at = end
    if line[at:].strip():
        raise ValueError(f"{line[at : at + 20].strip()!r} is not there")
    return Words(line, spans)


def membership(pieces: Pieces, words: Sequence[Span]) -> Matrix:
    """(pieces, words) the share of each piece that belongs to each word: by characters; rows sum to 1.

    A piece that covers no character of a word (a space, say) belongs to the word behind it, at the end of the line to
    the last. Without words there is nothing to belong to.
    """
    starts, ends = np.array(pieces.offsets, dtype=np.float64).reshape(-1, 2).T
    word_starts, word_ends = np.array(words, dtype=np.float64).reshape(-1, 2).T
    shared = np.minimum(ends[:, None], word_ends) - np.maximum(starts[:, None], word_starts)
    shared = shared.clip(0)  # (pieces, words)
    if len(words):
        [outside] = np.nonzero(~shared.any(1))
        behind = np.searchsorted(word_ends, starts[outside], side="right")
        shared[outside, np.minimum(behind, len(words) - 1)] = 1
    return np.asarray(shared / shared.sum(1, keepdims=True).clip(1e-12))


def extract(weights: Matrix, products: Matrix | None, extraction: Extraction) -> Matrix:
    """(T, S) of one sentence's weights (H, T + 1, S) of the extraction's layer; T target pieces without </s>.

    products (S, H, H): the layer's value products, where the extraction weighs norms, whose rows are then made to sum
    to 1 again.
    """
    rows = weights[:, extraction.shift : extraction.shift + weights.shape[1] - 1]  # (H, T, S)
    if extraction.norms:
        assert products is not None
        if extraction.head is None:
            norms = np.sqrt(np.einsum("hts,shk,kts->ts", rows, products, rows, optimize=True).clip(0))
        else:
            norms = rows[extraction.head] * np.sqrt(products[:, extraction.head, extraction.head])
        return np.asarray(norms / norms.sum(1, keepdims=True).clip(1e-12))
    return np.asarray(rows.mean(0) if extraction.head is None else rows[extraction.head])


def to_words(
    weights: Matrix, source: Pieces, target: Pieces, into: tuple[Words, Words], least: Least | None = None
) -> WordAttention:
    """Word attention of piece attention (T, S), whose last column is </s>, for the words of both lines.

    Summed over the pieces of a source word, averaged over those of a target word, so that rows still sum to 1. Words
    behind the end of pieces that were cut are left out.
    """
    source_words, target_words = _reached(into[0], source), _reached(into[1], target)
    into_target = membership(target, target_words.spans)  # (T, target words)
    into_source = membership(source, source_words.spans)  # (S - 1, source words)
    rows = (into_target / into_target.sum(0).clip(1e-12)).T @ weights  # (target words, S)
    merged = np.concatenate([rows[:, :-1] @ into_source, rows[:, -1:]], axis=1)
    return WordAttention(source_words, target_words, merged, least)


def _reached(words: Words, pieces: Pieces) -> Words:
    spans = words.spans[:MOST_WORDS]
    return Words(words.text, spans[: bisect_left(spans, len(pieces.text), key=itemgetter(0))])


def links(attention: WordAttention) -> set[Link]:
    """All pairs of words with the least weights of links; where none are set, of each target word the source word with
    the most weight, unless that is `</s>`, or the target word has no piece, and so no weight.
    """
    weights = attention.weights
    if attention.least is not None:
        return _over(weights[:, :-1], attention.least)
    best = weights.argmax(1).tolist() if len(attention.target) else []
    return {
        (source, target)
        for target, source in enumerate(best)
        if source != len(attention.source) and weights[target, source] > 0
    }


def _over(weights: Matrix, least: Least) -> set[Link]:
    found = _pairs(weights >= least.weight)
    return found if least.beside is None else _grow(found, _pairs(weights >= least.beside))


def _pairs(linked: NDArray[np.bool_]) -> set[Link]:
    target, source = np.nonzero(linked)
    return set(zip(source.tolist(), target.tolist(), strict=True))


def turned(found: Set[Link]) -> set[Link]:
    """The links of the other direction as those of this one."""
    return {(source, target) for target, source in found}


def combine(
    forward: WordAttention, backward: WordAttention, how: Combination, looked: Matrix | None = None
) -> set[Link]:
    """The links of two directions of a language pair, of which the second reads the first's target as its source.

    grow-diag and grow-diag-final-and: Koehn et al. 2005, section 3, as Moses has them. grow-diag-final-attention: the
    same, and each word that has no link yet linked to where both models look most, by the agreement of their
    attention (`looked`), if that is at least AGREED. soft: where the geometric mean of both weights is at least the
    forward direction's least of a link, or AGREED.
    """
    if how == "soft":
        return _over(agreement(forward, backward), AGREED if forward.least is None else forward.least)
    ahead, back = links(forward), turned(links(backward))
    if how == "intersection":
        return ahead & back
    if how == "union":
        return ahead | back
    found = _grow(ahead & back, ahead | back)
    if how != "grow-diag":
        for direction in (ahead, back):
            for i, j in sorted(direction, key=lambda link: (link[1], link[0])):
                if all(i != own for own, _ in found) and all(j != own for _, own in found):
                    found.add((i, j))
    if how == "grow-diag-final-attention":
        assert looked is not None
        found |= _most_agreed(found, looked)
    return found


def agreement(forward: WordAttention, backward: WordAttention) -> Matrix:
    """(target words, source words) the geometric mean of the weights of two directions, `</s>` left out.

    Of the words that both have, where they cut a line at different places.
    """
    ahead, back = forward.weights[:, :-1], backward.weights[:, :-1].T
    rows, columns = np.minimum(ahead.shape, back.shape)
    return np.asarray(np.sqrt(ahead[:rows, :columns] * back[:rows, :columns]))


def _most_agreed(found: Set[Link], agreed: Matrix) -> set[Link]:
    """The link of each word that has none with the word of the greatest agreement (target words, source words)."""
    if not agreed.size:
        return set()
    sources, targets = {i for i, _ in found}, {j for _, j in found}
    best = {(i, j) for j, i in enumerate(agreed.argmax(1).tolist()) if j not in targets}
    best |= {(i, j) for i, j in enumerate(agreed.argmax(0).tolist()) if i not in sources}
    return {(i, j) for i, j in best if agreed[j, i] >= AGREED.weight}


def _grow(seeds: Set[Link], union: Set[Link]) -> set[Link]:
    """With neighbours from the union, also diagonal ones, whose source or target word has no link yet, and theirs."""
    found = set(seeds)
    sources, targets = {i for i, _ in found}, {j for _, j in found}
    growing = True
    while growing:
        growing = False
        for i, j in sorted(found, key=lambda link: (link[1], link[0])):
            for down, right in NEIGHBOURS:
                link = (i + down, j + right)
                if link in union and link not in found and (link[0] not in sources or link[1] not in targets):
                    found.add(link)
                    sources.add(link[0])
                    targets.add(link[1])
                    growing = True
    return found


# ---- how they are written


def pharaoh(found: Set[Link]) -> str:
    """`i-j` of each link, by source, then target."""
    return " ".join(f"{source}-{target}" for source, target in sorted(found))


def soft(attention: WordAttention) -> str:
    """For each target word its weights on the source words, as Marian and fairseq write them; `</s>` is left out."""
    return " ".join(",".join(f"{weight:.4g}" for weight in row) for row in attention.weights[:, :-1].tolist())


def grid(attention: WordAttention) -> str:
    """A heatmap for a terminal: source words on top, a line a target word, darker where there is more weight."""
    columns = [*attention.source.texts, "</s>"]
    sizes = [max(2, _columns_of(word)) for word in columns]
    margin = max(map(_columns_of, attention.target.texts), default=0)
    lines = [" " * margin + "".join(f"  {_filled(word, size)}" for word, size in zip(columns, sizes, strict=True))]
    for word, row in zip(attention.target.texts, attention.weights.tolist(), strict=True):
        cells = (2 * SHADES[min(int(weight * len(SHADES)), len(SHADES) - 1)] for weight in row)
        shaded = "".join(f"  {cell:{size}}" for cell, size in zip(cells, sizes, strict=True))
        lines.append(" " * (margin - _columns_of(word)) + word + shaded)
    return "\n".join(line.rstrip() for line in lines)


def _filled(word: str, size: int) -> str:
    return word + " " * (size - _columns_of(word))


def _columns_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.category(character) in ("Mn", "Me", "Cf") for character in text)


def as_json(attention: WordAttention, found: Set[Link], read: str) -> str:
    """A line of JSON: both texts, where their words begin and end, weights (`</s>` last), links, and what was read."""
    line = {
        side: {"text": words.text, "words": words.texts, "spans": words.spans}
        for side, words in (("source", attention.source), ("target", attention.target))
    }
    weights = [[round(weight, 4) for weight in row] for row in attention.weights.tolist()]
    return json.dumps({**line, "weights": weights, "links": sorted(found), "read": read}, ensure_ascii=False)


def write_npz(file: IO[bytes], attentions: Iterable[WordAttention]) -> None:
    """Write the weights of each line, `</s>` last, as an archive of NumPy's: arrays line-1, line-2 and so on."""
    with zipfile.ZipFile(file, "w") as archive:  # line by line, as they come
        for number, own in enumerate(attentions, 1):
            with archive.open(f"line-{number}.npy", "w") as part:
                np.lib.format.write_array(part, own.weights)
