"""What `nmt translate` can be asked for beside one translation a line."""

import json
from typing import Any

import pytest

from nmt.lines import read_lines, write_lines
from tests.place import Place, refused


def test_the_best_of_n_are_told_with_line_score_and_links(place: Place, give: Any) -> None:
    sources = read_lines(place.path / "nasty.de")

    def told(*options: str) -> list[dict[str, Any]]:
        outcome = give("translate", "runs/transformer", "--format", "jsonl", *options, stdin=place.path / "nasty.de")
        assert outcome.code == 0
        return [json.loads(line) for line in outcome.lines]

    usual = give("translate", "runs/transformer", stdin=place.path / "nasty.de").lines
    best, both = told(), told("--n-best", "2", "--links")
    assert [one["text"] for one in best] == list(usual)
    assert [one["line"] for one in best] == list(range(1, len(sources) + 1))
    assert [(one["line"], one["text"]) for one in both if one["rank"] == 1] == [(o["line"], o["text"]) for o in best]
    second = [one for one in both if one["rank"] == 2]
    assert len(both) == len(usual) + len(second) and len(second) > 5
    firsts = {one["line"]: one["score"] for one in best}
    assert all(one["score"] <= firsts[one["line"]] for one in second)

    asked = ["--n-best", "2", "--links"]
    outcome = give("translate", "runs/transformer", *asked, stdin=place.path / "nasty.de")
    rows = [line.split("\t") for line in outcome.lines]
    for one, (line, score, text, links) in zip(both, rows, strict=True):
        assert (one["line"], one["text"]) == (int(line), text) and one["score"] == pytest.approx(float(score))
        assert links == " ".join(f"{source}-{target}" for source, target in one["links"])
        assert all(source < len(one["source_words"]) for source, _ in one["links"])
        assert all(target < len(one["target_words"]) for _, target in one["links"])
    aligned = give("align", "runs/transformer", "--source", "nasty.de")
    assert list(aligned.lines) == [links for one, (*_, links) in zip(both, rows, strict=True) if one["rank"] == 1]


def test_translations_begin_as_asked(place: Place, give: Any) -> None:
    count = len(read_lines(place.path / "plain.de"))
    prefixes = ["red", "", "the dog the dog the dog the dog"] * count
    write_lines(place.path / "prefixes", prefixes[:count])
    asked = ["--prefix", "prefixes", "--no-repeat-ngram-size", "2"]
    outcome = give("translate", "runs/transformer", *asked, stdin=place.path / "plain.de")
    assert len(outcome.lines) == count
    assert all(line.startswith(prefix) for line, prefix in zip(outcome.lines, prefixes, strict=False))
    write_lines(place.path / "prefixes", prefixes[: count - 1])
    refused(give("translate", "runs/rnn", *asked, stdin=place.path / "plain.de"), "prefixes", f"{count - 1} lines")
    write_lines(place.path / "prefixes", prefixes[: count + 1])
    outcome = give("translate", "runs/rnn", *asked, stdin=place.path / "plain.de")
    assert outcome.code == 2 and len(outcome.lines) == count
    assert "prefixes: has more lines than were translated" in outcome.error


def test_a_prefix_is_kept_as_far_as_the_model_can_say_it(place: Place, give: Any) -> None:
    write_lines(place.path / "prefixes", ["the 猫 dog"])
    write_lines(place.path / "given", ["der Hund"])
    outcome = give("translate", "runs/rnn", "--prefix", "prefixes", stdin=place.path / "given")
    assert outcome.lines[0].startswith("the") and "line 1: the prefix 'the 猫 dog'" in outcome.error


def test_a_prefix_longer_than_a_line_may_be_is_cut_and_named(place: Place, give: Any) -> None:
    write_lines(place.path / "prefixes", ["", "the dog " * 200])
    write_lines(place.path / "given", ["der Hund", "der Hund"])
    outcome = give("translate", "runs/rnn", "--prefix", "prefixes", stdin=place.path / "given")
    assert outcome.lines[1].startswith("the dog the dog") and len(outcome.lines) == 2
    assert "line 2: a prefix of " in outcome.error and "search.max_length = 100" in outcome.error


def test_options_say_how_long_and_how_varied_translations_are(place: Place, give: Any) -> None:
    def words(*options: str) -> list[list[str]]:
        outcome = give("translate", "runs/transformer", *options, stdin=place.path / "plain.de")
        return [line.split() for line in outcome.lines]

    usual, longer, varied = words(), words("--min-length", "12"), words("--no-repeat-ngram-size", "1")
    assert sum(map(len, longer)) > sum(map(len, usual))
    assert all(len(set(line)) == len(line) for line in varied)


def test_what_is_drawn_follows_from_seed_and_line(place: Place, give: Any) -> None:
    def drawn(*options: str, file: str = "nasty.de") -> list[str]:
        outcome = give("translate", "runs/transformer", "--sample", *options, stdin=place.path / file)
        assert outcome.code == 0
        return list(outcome.lines)

    usual = drawn("--temperature", "2")
    assert usual == drawn("--temperature", "2", "--seed", "1") != drawn("--temperature", "2", "--seed", "2")
    write_lines(place.path / "first", read_lines(place.path / "nasty.de")[:9])
    assert drawn("--temperature", "2", file="first") == usual[:9]
    greedy = give("translate", "runs/transformer", "--beam-size", "1", stdin=place.path / "nasty.de").lines
    assert drawn("--top-k", "1") == list(greedy)
    assert len(drawn("--n-best", "7", file="first")) > 9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--n-best", "3"], "--beam-size 3"),
        (["--n-best", "2", "--format", "text"], "--format tsv or jsonl"),
        (["--links"], "--format tsv or jsonl"),
        (["--seed", "3"], "--sample"),
        (["--sample", "--beam-size", "3"], "--n-best"),
        (["--prefix", "nowhere"], "nowhere"),
    ],
)
def test_options_without_effect_are_refused(place: Place, give: Any, options: list[str], said: str) -> None:
    refused(give("translate", "runs/rnn", *options, stdin=place.path / "plain.de"), said)


def test_links_need_something_to_read_them_from(place: Place, give: Any) -> None:
    for runs in (["runs/plain"], ["runs/rnn", "runs/transformer"]):
        outcome = give("translate", *runs, "--links", "--format", "tsv", stdin=place.path / "plain.de")
        refused(outcome, "--links: there is no attention")
