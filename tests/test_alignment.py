"""From pieces to words to links, of one direction and of two."""

import io
import json
import random
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from nmt import alignment
from nmt.alignment import (
    Combination,
    Least,
    Link,
    WordAttention,
    Words,
    agreement,
    as_json,
    combine,
    extract,
    given_words,
    grid,
    links,
    membership,
    pharaoh,
    soft,
    split_words,
    to_words,
    write_npz,
)
from nmt.models.base import Extraction
from nmt.subwords import Pieces


def pieces(text: str, *ends: int) -> Pieces:
    """A text in pieces that end at the given characters."""
    return Pieces(list(range(5, 5 + len(ends))), list(zip((0, *ends), ends, strict=False)), text)


SOURCE = pieces("Die Haustür, rot!", 3, 7, 9, 11, 16, 17)  # Die| Hau|st|ür|, rot|!
TARGET = pieces("the red front door", 3, 7, 18)  # the| red| front door


def merged(weights: np.ndarray, source: Pieces, target: Pieces) -> WordAttention:
    return to_words(weights, source, target, (split_words(source.text), split_words(target.text)))


def attention(weights: list[list[float]]) -> WordAttention:
    """Weights of words that are called 0, 1 and so on."""
    array = np.array(weights, dtype=float)
    return WordAttention(
        *(split_words(" ".join(map(str, range(size)))) for size in (array.shape[1] - 1, len(array))), array
    )


def random_rows(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).random((rows, columns))
    return drawn / drawn.sum(1, keepdims=True)


def test_words_behind_the_end_of_cut_pieces_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    words, full = (split_words(SOURCE.text), split_words(TARGET.text)), random_rows(3, 7)
    expected = to_words(full, SOURCE, TARGET, words).weights
    # How many pieces are left, words that begin in them, and words that they hold whole.
    for count, begun, complete in ((6, 5, 5), (5, 4, 4), (4, 2, 2), (3, 2, 1), (2, 2, 1), (1, 1, 1), (0, 0, 0)):
        end = SOURCE.offsets[count - 1][1] if count else 0
        cut = Pieces(SOURCE.ids[:count], SOURCE.offsets[:count], SOURCE.text[:end])
        found = to_words(np.concatenate([full[:, :count], full[:, -1:]], axis=1), cut, TARGET, words)
        assert found.source == Words(SOURCE.text, words[0].spans[:begun])
        assert found.weights.shape == (4, begun + 1)
        np.testing.assert_allclose(found.weights[:, :complete], expected[:, :complete])
    monkeypatch.setattr(alignment, "MOST_WORDS", 2)
    found = merged(full, SOURCE, TARGET)
    assert len(found.source) == len(found.target) == 2 and found.weights.shape == (2, 3)


def test_a_word_without_a_piece_has_no_link() -> None:
    source, target = Pieces([5, 6], [(0, 1), (1, 3)], "a b"), Pieces([7], [(0, 1)], "x \ufffd")
    found = merged(np.array([[0.2, 0.7, 0.1]]), source, target)
    assert found.target.texts == ["x", "\ufffd"] and links(found) == {(1, 0)}


def test_two_directions_may_end_at_different_words() -> None:
    words = split_words("a b c"), split_words("x y z")
    whole, other = random_rows(3, 4), random_rows(3, 4, seed=1)
    forward, backward = WordAttention(*words, whole), WordAttention(*words[::-1], other)
    shorter = WordAttention(words[0], Words("x y z", words[1].spans[:2]), whole[:2])
    np.testing.assert_array_equal(agreement(shorter, backward), agreement(forward, backward)[:2])
    narrower = WordAttention(words[1], Words("a b c", words[0].spans[:2]), other[:2])
    np.testing.assert_array_equal(agreement(forward, narrower), agreement(forward, backward)[:, :2])
    for how in get_args(Combination):
        assert all(j < 2 or how != "soft" for _, j in combine(shorter, backward, how, agreement(shorter, backward)))


def test_words():
    assert split_words("Sie's don't 3.5, Haus-Tür. (Ja!)").texts == [
        "Sie's",
        "don't",
        "3.5",
        ",",
        "Haus-Tür",
        ".",
        "(",
        "Ja",
        "!",
        ")",
    ]
    assert split_words("a  b\u00a0c", "space").texts == ["a", "b", "c"]
    assert split_words("don 't , &apos;", "space").texts == ["don", "'t", ",", "&apos;"]
    assert len(split_words(" \t")) == 0


@pytest.mark.parametrize(
    ("line", "tokenised"),
    [
        ("Das Haus, rot!", "Das Haus , rot !"),
        ("don't", "do n't"),
        ("日本語です", "日本 語 です"),
        ("  a\u3000b ", "a b"),
        ("a b", "ab"),  # one word over a space
        ("", ""),
        (" ", ""),
    ],
)
def test_given_words_lie_in_the_line(line, tokenised):
    words = given_words(line, tokenised)
    assert words.text == line
    assert ["".join(text.split()) for text in words.texts] == tokenised.split()
    assert all(text == text.strip() for text in words.texts)


@pytest.mark.parametrize(("line", "tokenised"), [("a b", "a c"), ("a b", "a"), ("a", "a b"), ("", "a"), ("&", "&amp;")])
def test_given_words_of_another_text_are_refused(line, tokenised):
    with pytest.raises(ValueError, match="is not"):
        given_words(line, tokenised)


def test_membership_is_by_characters():
    shares = membership(SOURCE, split_words(SOURCE.text).spans)
    assert split_words(SOURCE.text).texts == ["Die", "Haustür", ",", "rot", "!"]
    expected = [
        [1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 0, 0.25, 0.75, 0],
        [0, 0, 0, 0, 1],
    ]
    assert shares.tolist() == expected


def test_pieces_without_a_character_of_a_word_belong_to_the_next():
    # The space alone, then the word; an empty piece; a space at the end.
    text = Pieces([5, 6, 7, 8, 9], [(0, 1), (1, 2), (2, 3), (3, 3), (4, 5)], "a b  ")
    shares = membership(text, split_words(text.text).spans)
    assert shares.argmax(1).tolist() == [0, 1, 1, 1, 1]
    assert shares.sum(1).tolist() == [1] * 5
    assert membership(Pieces([5], [(0, 1)], " "), []).shape == (1, 0)
    assert membership(Pieces([], [], ""), []).shape == (0, 0)


def test_merging_keeps_the_mass():
    weights = random_rows(3, 7)
    found = merged(weights, SOURCE, TARGET)
    assert found.target.texts == ["the", "red", "front", "door"]
    assert found.weights.shape == (4, 6)
    np.testing.assert_allclose(found.weights.sum(1), 1)
    np.testing.assert_allclose(found.weights[:2, -1], weights[:2, -1])  # </s> is never renormalised away
    np.testing.assert_allclose(found.weights[0, 1], weights[0, 1:4].sum())  # summed over a source word's pieces
    np.testing.assert_allclose(found.weights[2], found.weights[3])  # both words lie in one target piece


def test_target_pieces_of_a_word_are_averaged():
    weights = random_rows(3, 4)
    found = merged(weights, pieces("a b c", 1, 3, 5), pieces("xyz w", 2, 3, 5))
    np.testing.assert_allclose(found.weights[0], weights[:2].mean(0))
    np.testing.assert_allclose(found.weights[1], weights[2])


def test_extraction_chooses_head_and_row():
    weights = np.random.default_rng(0).random((2, 4, 3))
    np.testing.assert_allclose(extract(weights, None, Extraction(0)), weights.mean(0)[:3])
    np.testing.assert_allclose(extract(weights, None, Extraction(0, head=1)), weights[1, :3])
    np.testing.assert_allclose(extract(weights, None, Extraction(0, head=1, shift=1)), weights[1, 1:])


def test_norms_are_those_of_what_is_carried():
    draw = np.random.default_rng(0)
    weights, carried = draw.random((2, 4, 3)), draw.normal(size=(3, 2, 5))  # (H, T + 1, S); (S, H, D)
    products = carried @ carried.transpose(0, 2, 1)
    for head, heads in ((None, [0, 1]), (1, [1])):
        norms = np.array(
            [
                [np.linalg.norm(sum(weights[h, t + 1, s] * carried[s, h] for h in heads)) for s in range(3)]
                for t in range(3)
            ]
        )
        found = extract(weights, products, Extraction(0, head=head, shift=1, norms=True))
        np.testing.assert_allclose(found, norms / norms.sum(1, keepdims=True))


def test_links_are_the_argmax_and_none_at_the_end_of_sentence():
    found = attention([[0.1, 0.2, 0.1, 0.0, 0.0, 0.6], [0, 0, 0, 1, 0, 0], [0, 0.9, 0.1, 0, 0, 0]])
    assert links(found) == {(1, 2), (3, 1)}  # no link for the first
    assert links(replace(found, least=Least(0.1))) == {(0, 0), (1, 0), (2, 0), (3, 1), (1, 2), (2, 2)}
    assert links(replace(found, least=Least(0.95))) == {(3, 1)}
    assert pharaoh(links(found)) == "1-2 3-1"  # by source, then target
    assert pharaoh(set()) == ""


def test_no_words_no_links():
    nothing = merged(np.zeros((0, 1)), Pieces([], [], ""), Pieces([], [], " "))
    assert links(nothing) == links(replace(nothing, least=Least(0.1))) == set() and soft(nothing) == ""
    only_target = merged(np.ones((3, 1)), Pieces([], [], ""), TARGET)
    assert only_target.weights.tolist() == [[1.0]] * 4
    assert links(only_target) == links(replace(only_target, least=Least(0.1))) == set()
    only_source = merged(np.zeros((0, 7)), SOURCE, Pieces([], [], ""))
    assert links(only_source) == set()
    other = merged(np.zeros((0, 4)), TARGET, Pieces([], [], ""))
    for how in get_args(Combination):
        assert combine(only_target, other, how, agreement(only_target, other)) == set()


def one_hot(found: set[Link], sources: int, targets: int) -> WordAttention:
    """The attention whose links are these, at most one for each target word."""
    weights = np.zeros((targets, sources + 1))
    weights[:, -1] = 0.1
    for source, target in found:
        weights[target, source] = 0.9
    return attention(weights.tolist())


def test_two_directions():
    #    0 1 2 3 4   ahead: one source for each target; back: one target for each source
    ahead, back = {(0, 0), (1, 1), (2, 2), (2, 3), (4, 4)}, {(0, 0), (1, 1), (2, 2), (3, 2), (5, 5)}
    both = one_hot(ahead, 6, 6), one_hot({(j, i) for i, j in back}, 6, 6)
    assert combine(*both, "intersection") == {(0, 0), (1, 1), (2, 2)}
    assert combine(*both, "union") == ahead | back
    # (2, 3) and (3, 2) are neighbours of (2, 2); (4, 4) then is one of neither: diagonal to (3, 3), which is no link.
    grown = {(0, 0), (1, 1), (2, 2), (2, 3), (3, 2)}
    assert combine(*both, "grow-diag") == grown
    assert combine(*both, "grow-diag-final-and") == grown | {(4, 4), (5, 5)}


def grown_naively(ahead: set[Link], back: set[Link], *, final_and: bool) -> set[Link]:
    """As Moses has it, with a matrix."""
    size = 1 + max((max(link) for link in ahead | back), default=0)
    matrix = np.zeros((size, size), dtype=bool)
    for link in ahead & back:
        matrix[link] = True
    added = True
    while added:
        added = False
        for j in range(size):
            for i in range(size):
                if not matrix[i, j]:
                    continue
                for di, dj in ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)):
                    a, b = i + di, j + dj
                    if (a, b) in ahead | back and not matrix[a, b] and not (matrix[a].any() and matrix[:, b].any()):
                        matrix[a, b] = added = True
    for direction in (ahead, back) if final_and else ():
        for j in range(size):
            for i in range(size):
                if (i, j) in direction and not matrix[i].any() and not matrix[:, j].any():
                    matrix[i, j] = True
    return set(zip(*(axis.tolist() for axis in matrix.nonzero()), strict=True))


def test_growing_is_that_of_moses():
    draw = random.Random(0)
    for _ in range(300):
        sources, targets = draw.randint(1, 7), draw.randint(1, 7)
        ahead = {(draw.randrange(sources), j) for j in range(targets) if draw.random() < 0.8}
        back = {(i, draw.randrange(targets)) for i in range(sources) if draw.random() < 0.8}
        both = one_hot(ahead, sources, targets), one_hot({(j, i) for i, j in back}, targets, sources)
        for how, final_and in (("grow-diag", False), ("grow-diag-final-and", True)):
            found = combine(*both, how)
            assert ahead & back <= found <= ahead | back
            assert found == grown_naively(ahead, back, final_and=final_and)


def test_words_without_a_link_get_the_one_that_both_models_look_at():
    draw = np.random.default_rng(3)
    for _ in range(100):
        sources, targets = draw.integers(1, 7, size=2).tolist()
        both = [
            WordAttention(*words, random_rows(len(words[1]), len(words[0]) + 1))
            for words in (
                (split_words("a " * sources), split_words("b " * targets)),
                (split_words("b " * targets), split_words("a " * sources)),
            )
        ]
        looked = draw.random((targets, sources)) ** 2
        plain = combine(*both, "grow-diag-final-and")
        expected = set(plain)
        for j in range(targets):
            i = max(range(sources), key=lambda i: looked[j, i])
            if looked[j, i] >= 0.2 and all(j != other for _, other in plain):
                expected.add((i, j))
        for i in range(sources):
            j = max(range(targets), key=lambda j: looked[j, i])
            if looked[j, i] >= 0.2 and all(i != other for other, _ in plain):
                expected.add((i, j))
        assert combine(*both, "grow-diag-final-attention", looked) == expected


def test_soft_agreement_needs_both_directions():
    ahead = attention([[0.8, 0.1, 0.1], [0.5, 0.5, 0.0]])
    back = attention([[0.9, 0.0, 0.1], [0.1, 0.6, 0.3]])
    assert combine(ahead, back, "soft") == {(0, 0), (1, 1)}
    assert combine(back, ahead, "soft") == {(0, 0), (1, 1)}
    assert combine(replace(ahead, least=Least(0.05)), back, "soft") == {(0, 0), (1, 1), (1, 0)}


def test_a_lonely_word_is_linked_beside_a_link_by_less():
    found = attention([[0.5, 0.0, 0.0, 0.0, 0.5], [0.0, 0.2, 0.0, 0.0, 0.8], [0.0, 0.0, 0.0, 0.2, 0.8]])
    assert links(replace(found, least=Least(0.4))) == {(0, 0)}
    assert links(replace(found, least=Least(0.4, beside=0.15))) == {(0, 0), (1, 1)}  # 3-2 is beside none
    assert links(replace(found, least=Least(0.4, beside=0.25))) == {(0, 0)}
    assert links(replace(found, least=Least(0.6, beside=0.15))) == set()
    full = attention([[0.5, 0.2, 0.3], [0.2, 0.5, 0.3]])
    assert links(replace(full, least=Least(0.4, beside=0.15))) == {(0, 0), (1, 1)}  # no word is lonely


def test_each_direction_has_its_own_least_weight():
    # As where one run has an aligner and the other has not.
    ahead = replace(attention([[0.4, 0.4, 0.2], [0.1, 0.6, 0.3]]), least=Least(0.35))
    back = attention([[0.8, 0.1, 0.1], [0.45, 0.4, 0.15]])
    assert combine(ahead, back, "union") == {(0, 0), (1, 0), (1, 1)}
    assert combine(ahead, back, "intersection") == {(0, 0), (1, 0)}


def test_formats_say_what_was_found():
    found = merged(random_rows(3, 7), SOURCE, TARGET)
    rows = [[float(weight) for weight in row.split(",")] for row in soft(found).split(" ")]
    np.testing.assert_allclose(rows, found.weights[:, :-1], rtol=1e-3)
    line = json.loads(as_json(found, {(3, 1), (0, 0)}, "layer 1"))
    assert line["source"]["words"] == found.source.texts and line["links"] == [[0, 0], [3, 1]]
    start, end = line["target"]["spans"][2]
    assert TARGET.text[start:end] == line["target"]["words"][2] == "front"
    np.testing.assert_allclose(line["weights"], found.weights, atol=1e-4)
    file = io.BytesIO()
    write_npz(file, [found, merged(np.zeros((0, 1)), Pieces([], [], ""), Pieces([], [], ""))])
    with np.load(io.BytesIO(file.getvalue())) as archive:
        assert archive.files == ["line-1", "line-2"]
        np.testing.assert_array_equal(archive["line-1"], found.weights)
        assert archive["line-2"].shape == (0, 1)


def test_a_grid_for_the_terminal_is_read_by_columns():
    source, target = split_words("Die 猫 schläft"), split_words("the cat e\u0301e", "space")
    weights = np.array([[1, 0, 0, 0], [0, 0.5, 0.3, 0.2], [0, 0.1, 0.1, 0.8]])
    head, *rows = grid(WordAttention(source, target, weights)).split("\n")
    assert head == "     Die  猫  schläft  </s>"
    assert rows == [
        "the  ██",
        "cat       ▒▒  ░░       ░░",  # columns as a terminal shows them: 猫 takes two
        " e\u0301e                    ██",
    ]
    assert grid(attention(np.zeros((0, 3)).tolist() or [[0.0]])).count("\n") == 1


def test_words_know_their_place():
    assert Words("ab c", [(0, 2), (3, 4)]).texts == ["ab", "c"]
