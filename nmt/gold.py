"""Gold alignments: read, and what links are worth against them."""

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from nmt.alignment import Link, Words
from nmt.config import InputError
from nmt.lines import read_lines


@dataclass(frozen=True)
class Gold:
    """What an annotator linked in a pair."""

    sure: frozenset[Link]
    possible: frozenset[Link]  # sure ones included


def read_gold(path: Path, *, first: int = 0, target_first: bool = False) -> list[Gold]:
    """The gold links of each line: `i-j` sure, `ipj` or `i?j` possible.

    first: the number of a line's first word. target_first: the target word is named first.
    """
    gold = []
    for number, line in enumerate(read_lines(path), 1):
        sure, possible = set(), set()
        for item in line.split():
            match = re.fullmatch(r"(\d{1,9})([-p?])(\d{1,9})", item)
            if match is None:
                raise InputError(f"{path.absolute()}, line {number}: {item!r} is no link; expected i-j, ipj or i?j")
            link = (int(match[1]) - first, int(match[3]) - first)
            if min(link) < 0:
                raise InputError(f"{path.absolute()}, line {number}: {item!r}, but words are counted from {first}")
            link = link[::-1] if target_first else link
            possible.add(link)
            if match[2] == "-":
                sure.add(link)
        gold.append(Gold(frozenset(sure), frozenset(possible)))
    return gold


def check_gold(gold: Sequence[Gold], sources: Sequence[Words], targets: Sequence[Words], path: Path) -> None:
    """Raise InputError where gold links words that a pair does not have."""
    if len(gold) != len(sources):
        raise InputError(f"{path.absolute()}: {len(gold):,} lines of gold links, but {len(sources):,} pairs")
    for number, (own, source, target) in enumerate(zip(gold, sources, targets, strict=True), 1):
        sizes = len(source), len(target)
        for link in own.possible:
            if link[0] >= sizes[0] or link[1] >= sizes[1]:
                raise InputError(
                    f"{path.absolute()}, line {number}: a link of words {link[0]} and {link[1]} (from 0), but there "
                    f"are {sizes[0]} and {sizes[1]}; is it of other words (--words), counted from 1 (--gold-first 1), "
                    "or of the other direction (--gold-reversed)?"
                )


@dataclass(frozen=True)
class Worth:
    """What links are worth against gold, over all lines (Och & Ney 2003); shares, 0 to 1."""

    precision: float  # of the links, those that are possible
    recall: float  # of the sure links, those that were found
    error_rate: float  # 1 - (|A∩S| + |A∩P|) / (|A| + |S|)


def worth(found: Sequence[Set[Link]], gold: Sequence[Gold]) -> Worth:
    """Precision, recall and error rate of links; 1, 1 and 0 where there is nothing to find and nothing found."""
    sure_hits = sum(len(a & g.sure) for a, g in zip(found, gold, strict=True))
    hits = sum(len(a & g.possible) for a, g in zip(found, gold, strict=True))
    links, sure = sum(map(len, found)), sum(len(g.sure) for g in gold)
    return Worth(
        hits / links if links else 1.0,
        sure_hits / sure if sure else 1.0,
        1 - (sure_hits + hits) / (links + sure) if links + sure else 0.0,
    )


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
