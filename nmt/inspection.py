"""Pairs of lines aligned as a reader asks: by which words, in one direction or two, and what that is worth."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nmt.alignment import (
    Combination,
    Link,
    WordAttention,
    Words,
    WordSplit,
    combine,
    given_words,
    links,
    split_words,
    turned,
)
from nmt.config import InputError
from nmt.gold import Gold, Worth, diagonal, oracle, worth
from nmt.lines import read_lines
from nmt.translator import Translation, Translator

CHUNK = 1000  # lines whose attention is held at a time


@dataclass(frozen=True)
class Aligned:
    """A pair of lines with what one direction looked at, or two, and the links that come of it."""

    forward: WordAttention
    backward: WordAttention | None  # of the reverse direction: its source is the other's target
    links: set[Link]


def line_words(lines: Sequence[str], split: WordSplit, tokenised: Path | None, name: str) -> list[Words]:
    """The words of each line: split, or as a tokenised file of as many lines has them; `name`: where they are from."""
    if tokenised is None:
        return [split_words(line, split) for line in lines]
    copies = read_lines(tokenised)
    if len(copies) != len(lines):
        raise InputError(f"{tokenised.absolute()}: {len(copies):,} lines, but {name} has {len(lines):,}")
    found = []
    for number, (line, copy) in enumerate(zip(lines, copies, strict=True), 1):
        try:
            found.append(given_words(line, copy))
        except ValueError as error:
            raise InputError(
                f"{tokenised.absolute()}, line {number}: differs from {name} in more than spaces: {error}"
            ) from None
    return found


def align(
    translator: Translator,
    sources: Sequence[Words],
    targets: Sequence[Words],
    how: Combination,
    reverse: Translator | None,
) -> Iterator[Aligned]:
    """Each pair of lines, in order; how: links of both directions are combined, if there is a reverse."""
    for start in range(0, len(sources), CHUNK):
        own_sources, own_targets = sources[start : start + CHUNK], targets[start : start + CHUNK]
        forward = translator.align(own_sources, own_targets)
        backward = reverse.align(own_targets, own_sources) if reverse else [None] * len(own_sources)
        yield from _joined(forward, backward, how)


def align_translations(
    translator: Translator,
    sources: Sequence[Words],
    translations: Sequence[Translation],
    split: WordSplit,
    how: Combination,
    reverse: Translator | None,
) -> Iterator[Aligned]:
    """The same of what the translator found itself."""
    for start in range(0, len(sources), CHUNK):
        own = sources[start : start + CHUNK]
        forward = list(translator.align_translations(own, translations[start : start + CHUNK], split))
        backward = reverse.align([one.target for one in forward], own) if reverse else [None] * len(own)
        yield from _joined(forward, backward, how)


def _joined(
    forward: Iterable[WordAttention], backward: Iterable[WordAttention | None], how: Combination
) -> Iterator[Aligned]:
    for ahead, back in zip(forward, backward, strict=True):
        yield Aligned(ahead, back, links(ahead) if back is None else combine(ahead, back, how))


def judge(aligned: Iterable[Aligned], gold: Sequence[Gold], how: Combination) -> list[tuple[str, Worth]]:
    """What links are worth against gold, by name: of each direction and of both, the diagonal, the best possible."""
    lines = list(aligned)
    found = [("links", [line.links for line in lines])]
    if lines and lines[0].backward is not None:
        found = [
            ("one direction", [links(line.forward) for line in lines]),
            ("the reverse", [turned(links(line.backward)) for line in lines if line.backward is not None]),
            (how, [line.links for line in lines]),
        ]
    found.append(("diagonal", [diagonal(len(line.forward.source), len(line.forward.target)) for line in lines]))
    found.append(("best of one link a target word", [oracle(line) for line in gold]))
    return [(name, worth(own, gold)) for name, own in found]
