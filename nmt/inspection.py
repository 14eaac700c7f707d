"""Pairs of lines aligned as a reader asks: by which words, in one direction or two, and what that is worth."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nmt.alignment import (
    Combination,
    Link,
    Matrix,
    WordAttention,
    Words,
    WordSplit,
    agreement,
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
    for first in range(0, len(sources), CHUNK):
        chunk = slice(first, first + CHUNK)
        yield from _Lines(sources[chunk], targets[chunk], first + 1).align(translator, how, reverse)


def align_translations(
    translator: Translator,
    sources: Sequence[Words],
    translations: Sequence[Translation],
    split: WordSplit,
    how: Combination,
    reverse: Translator | None,
) -> Iterator[Aligned]:
    """The same of what the translator found itself."""
    for first in range(0, len(sources), CHUNK):
        own = translations[first : first + CHUNK]
        targets = [split_words(translation.text, split) for translation in own]
        lines = _Lines(sources[first : first + CHUNK], targets, first + 1, own, split)
        yield from lines.align(translator, how, reverse)


@dataclass(frozen=True)
class _Lines:
    """Some pairs of lines."""

    sources: Sequence[Words]
    targets: Sequence[Words]
    first: int  # number of the first
    translations: Sequence[Translation] | None = None  # what the targets are, if the translator found them itself
    split: WordSplit = "punctuation"  # of the translations

    def align(self, translator: Translator, how: Combination, reverse: Translator | None) -> Iterator[Aligned]:
        if reverse is None:
            yield from (Aligned(one, None, links(one)) for one in self._forward(translator))
            return
        looked = self._looked(translator, reverse) if how == "grow-diag-final-attention" else [None] * len(self.sources)
        both = zip(self._forward(translator), self._backward(reverse), looked, strict=True)
        for forward, backward, agreed in both:
            yield Aligned(forward, backward, combine(forward, backward, how, agreed))

    def _forward(self, translator: Translator) -> Iterator[WordAttention]:
        if self.translations is None:
            return translator.align(self.sources, self.targets, first=self.first)
        return translator.align_translations(self.sources, self.translations, self.split, first=self.first)

    def _backward(self, reverse: Translator) -> Iterator[WordAttention]:
        return reverse.align(self.targets, self.sources, first=self.first)

    def _looked(self, translator: Translator, reverse: Translator) -> Iterable[Matrix]:
        """How far the attention of both directions agrees, of each pair of lines."""
        plain = [replace(own, aligner=None, warn=lambda message: None) for own in (translator, reverse)]
        return map(agreement, self._forward(plain[0]), self._backward(plain[1]))


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
