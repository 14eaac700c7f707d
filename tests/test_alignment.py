"""From pieces to words to links to an error rate."""

import pytest
import torch

from nmt.alignment import (
    Gold,
    diagonal,
    error_rate,
    extract,
    links,
    membership,
    oracle,
    pharaoh,
    read_gold,
    split_words,
    to_words,
)
from nmt.config import InputError
from nmt.models.base import Extraction
from nmt.subwords import Pieces


def pieces(text: str, *ends: int) -> Pieces:
    """A text in pieces that end at the given characters."""
    return Pieces(list(range(5, 5 + len(ends))), list(zip((0, *ends), ends, strict=False)), text)


SOURCE = pieces("Die Haustür, rot!", 3, 7, 9, 11, 16, 17)  # Die| Hau|st|ür|, rot|!
TARGET = pieces("the red front door", 3, 7, 18)  # the| red| front door


def words(text: str, split="punctuation") -> list[str]:
    return [text[start:end] for start, end in split_words(text, split)]


def test_words():
    assert words("Sie's don't 3.5, Haus-Tür. (Ja!)") == [
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
    assert words("a  b\u00a0c", "space") == ["a", "b", "c"]
    assert words("don 't , &apos;", "space") == ["don", "'t", ",", "&apos;"]
    assert words(" \t") == []


def test_membership_is_by_characters():
    shares = membership(SOURCE, split_words(SOURCE.text))
    assert words(SOURCE.text) == ["Die", "Haustür", ",", "rot", "!"]
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
    shares = membership(text, split_words(text.text))
    assert shares.argmax(1).tolist() == [0, 1, 1, 1, 1]
    assert shares.sum(1).tolist() == [1] * 5
    assert membership(Pieces([5], [(0, 1)], " "), []).shape == (1, 0)


def test_merging_keeps_the_mass():
    weights = torch.rand(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(1)
    attention = to_words(weights, SOURCE, TARGET)
    assert attention.target_words == ["the", "red", "front", "door"]
    assert attention.weights.shape == (4, 6)
    torch.testing.assert_close(attention.weights.sum(1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(attention.weights[:2, -1], weights[:2, -1])  # </s> is never renormalised away
    torch.testing.assert_close(attention.weights[0, 1], weights[0, 1:4].sum())  # summed over a source word's pieces
    torch.testing.assert_close(attention.weights[2], attention.weights[3])  # both words lie in one target piece


def test_target_pieces_of_a_word_are_averaged():
    weights = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(1)
    attention = to_words(weights, pieces("a b c", 1, 3, 5), pieces("xyz w", 2, 3, 5))
    torch.testing.assert_close(attention.weights[0], weights[:2].mean(0))
    torch.testing.assert_close(attention.weights[1], weights[2])


def test_extraction_chooses_head_and_row():
    weights = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(extract(weights, Extraction(0)), weights.mean(0)[:3])
    torch.testing.assert_close(extract(weights, Extraction(0, head=1)), weights[1, :3])
    torch.testing.assert_close(extract(weights, Extraction(0, head=1, shift=1)), weights[1, 1:])


def test_links_are_the_argmax_and_none_at_the_end_of_sentence():
    weights = torch.tensor([[0.1, 0.2, 0.1, 0.0, 0.0, 0.6], [0, 0, 0, 1, 0, 0], [0, 0.9, 0.1, 0, 0, 0]])
    attention = to_words(torch.eye(7)[:3], SOURCE, TARGET)
    found = links(type(attention)(attention.source_words, ["x", "y", "z"], weights))
    assert found == [(1, 2), (3, 1)]  # no link for x; sorted by source, then target
    assert pharaoh(found) == "1-2 3-1"
    assert pharaoh([]) == ""


def test_no_words_no_links():
    nothing = to_words(torch.zeros(0, 1), Pieces([], [], ""), Pieces([], [], " "))
    assert links(nothing) == []
    only_target = to_words(torch.ones(3, 1), Pieces([], [], ""), TARGET)
    assert only_target.weights.tolist() == [[1.0]] * 4
    assert links(only_target) == []
    assert links(to_words(torch.zeros(0, 7), SOURCE, Pieces([], [], ""))) == []


def test_error_rate_by_hand():
    gold = [Gold(frozenset({(0, 0), (1, 1)}), frozenset({(0, 0), (1, 1), (2, 1)}))]
    assert error_rate([{(0, 0), (1, 1)}], gold) == 0
    assert error_rate([{(0, 0), (1, 1), (2, 1)}], gold) == 0  # possible links are no errors
    assert error_rate([{(5, 5)}], gold) == 1
    assert error_rate([{(0, 0), (3, 3)}], gold) == pytest.approx(1 - (1 + 1) / (2 + 2))
    assert error_rate([set()], gold) == 1


def test_oracle_is_the_best_of_one_link_a_target_word():
    gold = Gold(frozenset({(0, 0), (1, 0), (2, 1)}), frozenset({(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)}))
    assert oracle(gold) == {(0, 0), (2, 1), (4, 2)}
    assert error_rate([oracle(gold)], [gold]) == pytest.approx(1 - (2 + 3) / (3 + 3))


def test_diagonal():
    assert diagonal(3, 3) == {(0, 0), (1, 1), (2, 2)}
    assert diagonal(2, 4) == {(0, 0), (0, 1), (1, 2), (1, 3)}
    assert diagonal(0, 2) == set()


def test_gold_files(tmp_path):
    path = tmp_path / "gold"
    path.write_text("0-0 1p2\n\n3-1\n")
    gold = read_gold(path)
    assert gold[0] == Gold(frozenset({(0, 0)}), frozenset({(0, 0), (1, 2)}))
    assert gold[1] == Gold(frozenset(), frozenset())
    path.write_text("0-0\n1:2\n")
    with pytest.raises(InputError, match="line 2: '1:2'"):
        read_gold(path)
