"""Where to read alignments from: every layer, head and shift against gold, or chosen without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from nmt.alignment import Link, Matrix, Words, extract, links, to_words, turned
from nmt.gold import Gold, Worth, worth
from nmt.models.base import Extraction
from nmt.translator import Translator


def candidates(translator: Translator) -> list[Extraction]:
    """Every layer, head or mean of heads, shift, and weights with and without norms; none without attention."""
    model = translator.model
    heads = [None, *range(model.attention_heads)] if model.attention_heads > 1 else [None]
    layers, shifts, norms = range(model.attention_layers), (0, 1), (False, True)
    return [Extraction(*choice) for choice in product(layers, heads, shifts, norms)]


def links_of_all(
    translator: Translator, sources: Sequence[Words], targets: Sequence[Words], extractions: Sequence[Extraction]
) -> dict[Extraction, list[set[Link]]]:
    """The links of each pair of lines by each extraction."""
    pairs = translator.cut_pairs(
        [translator.subwords.source.encode_pieces(words.text) for words in sources],
        [translator.subwords.target.encode_pieces(words.text) for words in targets],
    )
    found: dict[Extraction, list[set[Link]]] = {one: [set()] * len(sources) for one in extractions}
    for layer, row, weights, products in translator.attentions(pairs):
        for one in extractions:
            if one.layer == layer:
                read = extract(weights, products, one)
                found[one][row] = links(to_words(read, *pairs[row], (sources[row], targets[row])))
    return found


@dataclass(frozen=True)
class Choice:
    """Extractions of two directions that agree most, by F1 of their links, beyond what agrees by place alone."""

    forward: Extraction
    backward: Extraction
    agreement: float  # on pairs, 0 to 1
    by_chance: float  # on sources with the targets of other lines


def choose(forward: Translator, backward: Translator, sources: Sequence[Words], targets: Sequence[Words]) -> Choice:
    """Where to read the alignments of a language pair's two directions, without gold.

    Agreement alone would choose the diagonal, on which two directions agree whatever the sentences say: so that on
    mismatched pairs is taken off.
    """
    ahead, back = candidates(forward), candidates(backward)
    found = []
    for others in (targets, [*targets[1:], *targets[:1]]):
        of_ahead = links_of_all(forward, sources, others, ahead)
        of_back = {
            one: [turned(line) for line in lines]
            for one, lines in links_of_all(backward, others, sources, back).items()
        }
        found.append(_f1(list(of_ahead.values()), list(of_back.values())))
    agreement, by_chance = found
    row, column = np.unravel_index(int((agreement - by_chance).argmax()), agreement.shape)
    return Choice(ahead[row], back[column], float(agreement[row, column]), float(by_chance[row, column]))


def _f1(first: Sequence[Sequence[set[Link]]], second: Sequence[Sequence[set[Link]]]) -> Matrix:
    """(first, second) the F1 of each two ways to link the same lines."""
    numbers: dict[tuple[int, Link], int] = {}
    ways = []
    for way in (*first, *second):
        ways.append([numbers.setdefault((row, link), len(numbers)) for row, line in enumerate(way) for link in line])
    held = np.zeros((len(ways), max(1, len(numbers))))
    for row, own in enumerate(ways):
        held[row, own] = 1
    a, b = held[: len(first)], held[len(first) :]
    return np.asarray(2 * (a @ b.T) / (a.sum(1)[:, None] + b.sum(1)).clip(1))


def scan(
    translator: Translator, sources: Sequence[Words], targets: Sequence[Words], gold: Sequence[Gold]
) -> dict[Extraction, Worth]:
    """What each extraction is worth against gold."""
    found = links_of_all(translator, sources, targets, candidates(translator))
    return {one: worth(own, gold) for one, own in found.items()}
