"""Where to read attention: models that look where we say, one layer at the same word and one along the diagonal."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from nmt.alignment import Words, split_words
from nmt.choosing import candidates, choose, scan
from nmt.gold import Gold
from nmt.models.base import Extraction
from nmt.subwords import Pieces
from nmt.translator import Pair

LINES = ["a b c d", "e f g", "h i j k l", "m n", "o p q r"]
SOURCES, TARGETS = ([split_words(line) for line in lines] for lines in (LINES, [line[::-1] for line in LINES]))
SAME_WORD = 1  # the layer that looks there


def pieces(text: str) -> Pieces:
    """A piece a word."""
    return Pieces([5] * len(text.split()), split_words(text).spans, text)


def translator() -> Any:
    """Layer 0 looks along the diagonal, layer 1 at the same word or else at the end; its norms count for nothing."""

    def attentions(pairs: Sequence[Pair]) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        for row, (source, target) in enumerate(pairs):
            words, others = source.text.split(), target.text.split()
            weights = np.zeros((2, 1, len(others) + 1, len(words) + 1))
            for place, other in enumerate(others):
                weights[0, 0, place, min(place, len(words) - 1)] = 1
                weights[1, 0, place, words.index(other) if other in words else -1] = 1
            weights[:, :, -1, -1] = 1
            for layer in (0, 1):
                yield layer, row, weights[layer], np.ones((len(words) + 1, 1, 1))

    vocabulary = SimpleNamespace(encode_pieces=pieces)
    return SimpleNamespace(
        model=SimpleNamespace(attention_layers=2, attention_heads=1),
        subwords=SimpleNamespace(source=vocabulary, target=vocabulary),
        cut_pairs=lambda sources, targets: list(zip(sources, targets, strict=True)),
        attentions=attentions,
    )


def test_every_way_to_read_is_a_candidate() -> None:
    assert len(set(candidates(translator()))) == 2 * 1 * 2 * 2
    several: Any = SimpleNamespace(model=SimpleNamespace(attention_layers=3, attention_heads=4))
    assert len(set(candidates(several))) == 3 * (1 + 4) * 2 * 2


def test_two_directions_choose_the_words_and_not_the_diagonal() -> None:
    choice = choose(translator(), translator(), SOURCES, TARGETS)
    assert choice.forward.layer == choice.backward.layer == SAME_WORD
    assert choice.forward.shift == choice.backward.shift == 0
    assert (choice.agreement, choice.by_chance) == (1, 0)


def test_a_scan_finds_what_gold_says() -> None:
    def reversed_links(words: Words) -> frozenset[tuple[int, int]]:
        return frozenset((len(words) - 1 - place, place) for place in range(len(words)))

    gold = [Gold(links, links) for links in map(reversed_links, SOURCES)]
    found = scan(translator(), SOURCES, TARGETS, gold)
    assert found[Extraction(SAME_WORD)].error_rate == 0
    assert all(found[way].error_rate > 0.5 for way in found if way.layer != SAME_WORD or way.shift)
