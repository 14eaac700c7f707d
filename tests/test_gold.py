"""Gold files, and what links are worth against them."""

import pytest

from nmt.alignment import split_words
from nmt.config import InputError
from nmt.gold import Gold, Worth, check_gold, diagonal, oracle, read_gold, worth

GOLD = Gold(frozenset({(0, 0), (1, 1)}), frozenset({(0, 0), (1, 1), (2, 1)}))


def test_worth_by_hand():
    assert worth([{(0, 0), (1, 1)}], [GOLD]) == Worth(1, 1, 0)
    assert worth([{(0, 0), (1, 1), (2, 1)}], [GOLD]) == Worth(1, 1, 0)  # possible links are no errors
    assert worth([{(5, 5)}], [GOLD]) == Worth(0, 0, 1)
    assert worth([{(0, 0), (3, 3)}], [GOLD]) == Worth(0.5, 0.5, pytest.approx(1 - (1 + 1) / (2 + 2)))
    assert worth([{(0, 0), (2, 1)}], [GOLD]) == Worth(1, 0.5, pytest.approx(1 - (1 + 2) / (2 + 2)))
    assert worth([set()], [GOLD]) == Worth(1, 0, 1)
    assert worth([], []) == Worth(1, 1, 0)
    # Over all lines, not a mean over them.
    assert worth([{(0, 0), (1, 1)}, {(5, 5)}], [GOLD, GOLD]).precision == pytest.approx(2 / 3)


def test_oracle_is_the_best_of_one_link_a_target_word():
    gold = Gold(frozenset({(0, 0), (1, 0), (2, 1)}), frozenset({(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)}))
    assert oracle(gold) == {(0, 0), (2, 1), (4, 2)}
    assert worth([oracle(gold)], [gold]).error_rate == pytest.approx(1 - (2 + 3) / (3 + 3))


def test_diagonal():
    assert diagonal(3, 3) == {(0, 0), (1, 1), (2, 2)}
    assert diagonal(2, 4) == {(0, 0), (0, 1), (1, 2), (1, 3)}
    assert diagonal(0, 2) == set()


def test_gold_files(tmp_path):
    path = tmp_path / "gold"
    path.write_text("0-0 1p2\n\n3-1 2?0\n")
    gold = read_gold(path)
    assert gold[0] == Gold(frozenset({(0, 0)}), frozenset({(0, 0), (1, 2)}))
    assert gold[1] == Gold(frozenset(), frozenset())
    assert gold[2] == Gold(frozenset({(3, 1)}), frozenset({(3, 1), (2, 0)}))
    path.write_text("1-1 3p2\n")
    assert read_gold(path, first=1) == [Gold(frozenset({(0, 0)}), frozenset({(0, 0), (2, 1)}))]
    assert read_gold(path, first=1, target_first=True) == [Gold(frozenset({(0, 0)}), frozenset({(0, 0), (1, 2)}))]
    path.write_text("0-0\n1:2\n")
    with pytest.raises(InputError, match="line 2: '1:2'"):
        read_gold(path)
    path.write_text("1-1\n0-2\n")
    with pytest.raises(InputError, match="line 2: '0-2', but words are counted from 1"):
        read_gold(path, first=1)


def test_gold_of_other_lines_or_words_is_refused(tmp_path):
    source, target = split_words("a b"), split_words("x")
    check_gold([Gold(frozenset(), frozenset({(1, 0)}))], [source], [target], tmp_path)
    with pytest.raises(InputError, match="1 lines of gold links, but 2 pairs"):
        check_gold([GOLD], [source, source], [target, target], tmp_path)
    for link in ((2, 0), (0, 1)):
        with pytest.raises(InputError, match=r"line 1: a link of words .*there are 2 and 1; .*--gold-first 1"):
            check_gold([Gold(frozenset(), frozenset({link}))], [source], [target], tmp_path)
