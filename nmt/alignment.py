"""From attention to words, from words to links, and the links' error rate against gold."""

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from nmt.config import InputError
from nmt.lines import read_lines
from nmt.models.base import Extraction
from nmt.subwords import Pieces

Link = tuple[int, int]  # word of the source, word of the target, from 0
Span = tuple[int, int]  # characters of a line, from and up to
WordSplit = Literal["punctuation", "space"]

# A word with what is written within it ("don't", "3.5", "Haus-Tür"), or one other character that is no space.
_WORD = {"punctuation": re.compile(r"\w+(?:[-'’.,]\w+)*|[^\w\s]"), "space": re.compile(r"\S+")}


@dataclass(frozen=True)
class WordAttention:
    """What a model looked at, by words."""

    source_words: list[str]
    target_words: list[str]
    weights: Tensor  # (target words, source words + 1): each row sums to 1; the last column is </s>


def split_words(line: str, split: WordSplit = "punctuation") -> list[Span]:
    """The characters that each word of a line covers: with punctuation apart, or split at spaces alone."""
    return [match.span() for match in _WORD[split].finditer(line)]


def membership(pieces: Pieces, words: Sequence[Span]) -> Tensor:
    """(pieces, words) the share of each piece that belongs to each word: by characters; rows sum to 1.

    A piece that covers no character of a word (a space, say) belongs to the word behind it, at the end of the line to
    the last. Without words there is nothing to belong to.
    """
    shares = torch.zeros(len(pieces.ids), len(words), dtype=torch.float64)
    first = 0
    for row, (start, end) in enumerate(pieces.offsets):
        while first < len(words) - 1 and words[first][1] <= start:
            first += 1
        for word in range(first, len(words)):
            if words[word][0] >= end:
                break
            shares[row, word] = max(0, min(end, words[word][1]) - max(start, words[word][0]))
        if words and not shares[row].any():
            shares[row, first] = 1.0
    return shares / shares.sum(1, keepdim=True).clamp_min(1e-12)


def extract(weights: Tensor, extraction: Extraction) -> Tensor:
    """(T, S) of one sentence's weights (H, T + 1, S) of the extraction's layer; T target pieces without </s>."""
    rows = weights.mean(0) if extraction.head is None else weights[extraction.head]  # (T + 1, S)
    return rows[extraction.shift : extraction.shift + len(rows) - 1]


def to_words(weights: Tensor, source: Pieces, target: Pieces, split: WordSplit = "punctuation") -> WordAttention:
    """Word attention of piece attention (T, S), whose last column is </s>.

    Summed over the pieces of a source word, averaged over those of a target word, so that rows still sum to 1.
    """
    source_spans, target_spans = split_words(source.text, split), split_words(target.text, split)
    into_target = membership(target, target_spans)  # (T, target words)
    into_source = membership(source, source_spans)  # (S - 1, source words)
    rows = (into_target / into_target.sum(0).clamp_min(1e-12)).T @ weights.double().cpu()  # (target words, S)
    words = torch.cat([rows[:, :-1] @ into_source, rows[:, -1:]], dim=1)
    return WordAttention(
        [source.text[start:end] for start, end in source_spans],
        [target.text[start:end] for start, end in target_spans],
        words,
    )


def links(attention: WordAttention) -> list[Link]:
    """For each target word the source word with the most weight, in Pharaoh's order; none where that is </s>."""
    best = attention.weights.argmax(1).tolist() if attention.target_words else []
    none = len(attention.source_words)
    return sorted((source, target) for target, source in enumerate(best) if source != none)


def pharaoh(found: Sequence[Link]) -> str:
    """`i-j` of each link, separated by spaces."""
    return " ".join(f"{source}-{target}" for source, target in found)


@dataclass(frozen=True)
class Gold:
    """What an annotator linked in a pair."""

    sure: frozenset[Link]
    possible: frozenset[Link]  # sure ones included


def read_gold(path: Path) -> list[Gold]:
    """The gold links of each line: `i-j` sure, `ipj` possible, from 0."""
    gold = []
    for number, line in enumerate(read_lines(path), 1):
        sure, possible = set(), set()
        for item in line.split():
            match = re.fullmatch(r"(\d+)([-p])(\d+)", item)
            if match is None:
                raise InputError(f"{path.absolute()}, line {number}: {item!r} is no link; expected i-j or ipj")
            link = (int(match[1]), int(match[3]))
            possible.add(link)
            if match[2] == "-":
                sure.add(link)
        gold.append(Gold(frozenset(sure), frozenset(possible)))
    return gold


def error_rate(found: Sequence[Set[Link]], gold: Sequence[Gold]) -> float:
    """The alignment error rate over all lines, 0 to 1 (Och & Ney 2003): 1 - (|A∩S| + |A∩P|) / (|A| + |S|)."""
    hits = sum(len(a & g.sure) + len(a & g.possible) for a, g in zip(found, gold, strict=True))
    size = sum(len(a) + len(g.sure) for a, g in zip(found, gold, strict=True))
    return 1 - hits / size if size else 0.0


def diagonal(source_words: int, target_words: int) -> set[Link]:
    """The links of a translation in which nothing moves: what any alignment must be better than."""
    if not source_words:
        return set()
    return {(int((j + 0.5) * source_words / target_words), j) for j in range(target_words)}


def oracle(gold: Gold) -> set[Link]:
    """The best links that one source word, or none, for each target word allows: the bound of `links`."""
    chosen: dict[int, Link] = {}
    for link in sorted(gold.possible, key=lambda link: (link not in gold.sure, link)):
        chosen.setdefault(link[1], link)
    return set(chosen.values())
