"""Where translations differ, on texts whose answer is known by construction."""

import random

import pytest

from nmt.comparison import (
    FEWEST,
    Phrase,
    buckets_of_lengths,
    count_words,
    histogram,
    phrases,
    rare_words,
    words,
)


def test_words_stand_apart_from_punctuation_and_characters_where_there_are_no_spaces() -> None:
    assert words("Das Haus-Tor, ja.", "de") == ["Das", "Haus-Tor", ",", "ja", "."]
    assert words("我们 走。", "zh") == ["我", "们", "走", "。"]
    assert words(" ", "de") == words("", "zh") == []


def test_counted_words_are_all_words() -> None:
    lines = ["a b a.", "", "b a"]
    assert count_words(lines, "de") == {"a": 3, "b": 2, ".": 1}
    assert list(count_words(lines, "de")) == ["a", "b", "."]  # the most frequent first


@pytest.mark.parametrize("longest", [9, 28, 90])
def test_every_line_is_in_the_bucket_of_its_length(longest: int) -> None:
    draw = random.Random(longest)
    texts = [" ".join(["x"] * draw.randrange(longest + 1)) for _ in range(200)]
    buckets = buckets_of_lengths(texts, "de")
    assert sorted(line for bucket in buckets for line in bucket.lines) == list(range(200))
    assert len(buckets[-1].lines) >= FEWEST
    for bucket in buckets:
        low, _, high = bucket.label.removesuffix("+").partition("–")
        for line in bucket.lines:
            length = max(1, len(texts[line].split()))  # a line without words is in the first
            assert int(low) <= length and (not high or length <= int(high))
    assert (len({bucket.label for bucket in buckets})) == len(buckets)


def test_few_long_lines_are_joined() -> None:
    texts = ["x " * 4] * 50 + ["x " * 8] * 30 + ["x " * 30] * 3
    assert [(bucket.label, len(bucket.lines)) for bucket in buckets_of_lengths(texts, "de")] == [
        ("1–5", 50),
        ("6+", 33),
    ]
    assert [bucket.label for bucket in buckets_of_lengths(["x"] * 3, "de")] == ["1–5"]
    assert [bucket.label for bucket in buckets_of_lengths(["x " * 35] * 20, "de")] == ["31–35"]  # none shorter
    assert [bucket.label for bucket in buckets_of_lengths(["x " * 8] * 20 + ["x " * 39], "de")] == ["6+"]
    assert buckets_of_lengths([], "de") == []


def test_rare_words_by_how_often_they_were_seen() -> None:
    counts = {"often": 5000, "some": 12, "once": 1}
    references = ["often some never", "often once", "often"]
    perfect, lazy = references, ["often", "often often", ""]
    found = {rare.label: rare for rare in rare_words([perfect, lazy], references, counts, "de")}
    assert {label: rare.count for label, rare in found.items()} == {"0": 1, "1": 1, "10–99": 1, "1000+": 3}
    assert all(rare.f_measures[0] == 100 for rare in found.values())
    assert [rare.f_measures[1] for rare in found.values()] == [0, 0, 0, pytest.approx(200 * 2 / (3 + 3))]


def test_phrases_that_one_gets_right_and_the_other_does_not() -> None:
    references = ["the red dog runs", "a red dog sleeps", "the cat runs"]
    first, second = ["the red dog runs", "the red dog sleeps", "cat"], ["the dog runs", "a dog sleeps", "the cat runs"]
    found = phrases(first, second, references, "en")
    assert found[0] == Phrase("red dog", 2, (2, 0))  # of those right as often, the longer one
    assert found[1] == Phrase("red", 2, (2, 0))
    assert Phrase("the red dog runs", 1, (1, 0)) in found
    assert all(own.right[0] > own.right[1] for own in found)
    other = phrases(second, first, references, "en")
    assert {own.text for own in other} == {"a", "the", "the cat runs", "the cat", "cat runs", "runs"}
    assert phrases(first, first, references, "en") == []
    assert phrases(["我们走"], ["我走"], ["我们走"], "zh")[0].text == "我们走"


def test_a_histogram_counts_every_value_once() -> None:
    assert histogram([-5, 0, 0.5, 1, 9, 100], [0, 1, 10]) == [1, 2, 2, 1]
    assert histogram([], [0]) == [0, 0]
