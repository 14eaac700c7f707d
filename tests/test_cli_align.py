"""`nmt align` and `nmt teach` from end to end."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest

from nmt.alignment import Words, to_words
from nmt.lines import read_lines, write_lines
from nmt.subwords import Pieces
from tests.chromium import Scripts
from tests.place import Place, refused

PLAIN = ["--source", "plain.de", "--target", "plain.en"]
NASTY_FILES = ["--source", "nasty.de", "--target", "nasty.en"]


@pytest.fixture(scope="module")
def gold(place: Place) -> str:
    """The links of plain.de and plain.en, whose target is the source backwards."""
    lines = [len(line.split()) for line in read_lines(place.path / "plain.de")]
    write_lines(
        place.path / "plain.gold", [" ".join(f"{length - 1 - j}-{j}" for j in range(length)) for length in lines]
    )
    return "plain.gold"


@pytest.fixture(scope="module")
def reverse(place: Place) -> str:
    """A run of the other direction."""
    from nmt.cli import main

    sides = [
        f"data.{key}={{source='{name}.en', target='{name}.de'}}"
        for key, name in (("train", "train"), ("valid", "valid"))
    ]
    languages = ["data.source_language='en'", "data.target_language='de'", "data.test={}"]
    assert main(["train", "transformer.toml", *sides, *languages, "--run", "runs/reverse"]) == 0
    return "runs/reverse"


@pytest.mark.parametrize("form", ["pharaoh", "soft", "jsonl"])
@pytest.mark.parametrize("target", [True, False])
def test_a_line_a_line(place: Place, give: Any, form: str, target: bool) -> None:
    for files in (PLAIN, NASTY_FILES):
        own = files if target else files[:2]
        outcome = give("align", "runs/transformer", *own, "--format", form)
        sources = read_lines(place.path / files[1])
        assert outcome.code == 0 and len(outcome.lines) == len(sources)
        assert outcome.error.startswith("read from: layer 2, mean of heads, shift 0")
        if form != "jsonl":
            continue
        translated = give("translate", "runs/transformer", stdin=place.path / files[1]).lines
        for source, other, line in zip(sources, translated, outcome.lines, strict=True):
            found = json.loads(line)
            assert found["source"]["text"] == source
            if not target and "\ufffd" not in other:
                assert found["target"]["text"] == other
            for side in ("source", "target"):
                text = found[side]["text"]
                assert [text[start:end] for start, end in found[side]["spans"]] == found[side]["words"]


def test_formats_agree(place: Place, give: Any) -> None:
    links = [line.split() for line in give("align", "runs/rnn", *PLAIN).lines]
    soft = [
        [row.split(",") for row in line.split(" ")]
        for line in give("align", "runs/rnn", *PLAIN, "--format", "soft").lines
    ]
    full = [json.loads(line) for line in give("align", "runs/rnn", *PLAIN, "--format", "jsonl").lines]
    for own, rows, found in zip(links, soft, full, strict=True):
        assert own == [f"{i}-{j}" for i, j in found["links"]]
        np.testing.assert_allclose(np.array(rows, float), np.array(found["weights"])[:, :-1], atol=1e-4)


def test_npz_is_numpys(place: Place, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    from nmt.cli import main

    assert main(["align", "runs/rnn", *PLAIN, "--format", "npz"]) == 0
    with np.load(io.BytesIO(capfdbinary.readouterr().out)) as archive:
        assert len(archive.files) == 25
        assert archive["line-1"].shape[1] == 1 + len(read_lines(place.path / "plain.de")[0].split())


def test_a_threshold_gives_all_links_of_so_much_weight(place: Place, give: Any) -> None:
    full = [json.loads(line) for line in give("align", "runs/rnn", *PLAIN, "--format", "jsonl").lines]
    over = give("align", "runs/rnn", *PLAIN, "--threshold", "0.2").lines
    for found, line in zip(full, over, strict=True):
        target, source = np.nonzero(np.array(found["weights"])[:, :-1] >= 0.2)
        assert set(line.split()) == {f"{i}-{j}" for i, j in zip(source, target, strict=True)}


def test_attention_is_read_where_one_says(place: Place, give: Any) -> None:
    found = {}
    for options in (["--layer", "1"], ["--layer", "2"], ["--layer", "2", "--head", "1"], ["--layer", "2", "--norms"]):
        outcome = give("align", "runs/transformer", *PLAIN, "--format", "soft", *options)
        assert outcome.code == 0
        found[" ".join(options)] = outcome.out
    assert len(set(found.values())) == 4
    assert found["--layer 2"] == give("align", "runs/transformer", *PLAIN, "--format", "soft").out  # the default
    refused(give("align", "runs/transformer", *PLAIN, "--layer", "3"), "--layer 3: the model has 2")
    refused(give("align", "runs/transformer", *PLAIN, "--layer", "1", "--head", "3"), "--head 3: the model has 2")
    refused(give("align", "runs/transformer", *PLAIN, "--head", "1"), "give --layer")


def test_gold_tells_what_links_are_worth(place: Place, give: Any, gold: str, reverse: str) -> None:
    outcome = give("align", "runs/rnn", *PLAIN, "--gold", gold)
    assert outcome.code == 0 and outcome.lines[0].split() == ["error", "rate", "precision", "recall"]
    assert [line.split("  ")[0] for line in outcome.lines[1:]] == [
        "links",
        "diagonal",
        "best of one link a target word",
    ]
    assert outcome.lines[-1].split()[-3:] == ["0.0%", "100.0%", "100.0%"]
    both = give("align", "runs/transformer", *PLAIN, "--gold", gold, "--reverse", reverse, "--combine", "union")
    assert [line.split("  ")[0] for line in both.lines[1:4]] == ["one direction", "the reverse", "union"]
    scanned = give("align", "runs/transformer", *PLAIN, "--gold", gold, "--scan")
    rates = [float(line.split()[-3].rstrip("%")) for line in scanned.lines[1:]]
    assert len(rates) == 2 * 3 * 2 * 2 and rates == sorted(rates)
    refused(give("align", "runs/rnn", *PLAIN, "--gold", gold, "--gold-first", "1"), place.path / gold, "counted from 1")
    refused(give("align", "runs/rnn", "--source", "valid.de", "--target", "valid.en", "--gold", gold), "25", "15")
    valid = ["--source", "valid.de", "--target", "valid.en"]
    refused(give("align", "runs/transformer", *valid, "--gold", gold, "--scan"), "25", "15")
    refused(give("align", "runs/rnn", *PLAIN[:2], "--gold", gold), "--gold", "give --target FILE")
    refused(give("align", "runs/rnn", *PLAIN, "--scan"), "--gold")


def test_gold_of_lines_that_are_cut_is_judged(place: Place, give: Any, reverse: str) -> None:
    for side in ("de", "en"):
        write_lines(place.path / f"endless.{side}", ["der Hund", "rot " * 30_000])
    write_lines(place.path / "endless.gold", ["0-0", "9-9 29999-29999"])
    given = ["--source", "endless.de", "--target", "endless.en", "--gold", "endless.gold"]
    for options in ([], ["--reverse", reverse], ["--reverse", reverse, "--combine", "soft"], ["--scan"]):
        outcome = give("align", "runs/transformer", *given, *options)
        assert outcome.code == 0 and "line 2: " in outcome.error and "cut to search.max_length" in outcome.error
    assert give("align", "runs/rnn", *given, "--page", "endless.html").code == 0


def test_two_directions_choose_where_to_read(place: Place, give: Any, reverse: str) -> None:
    outcome = give("align", "runs/transformer", *PLAIN, "--reverse", reverse, "--choose")
    assert outcome.code == 0 and len(outcome.lines) == 3
    chosen = json.loads((place.path / "runs" / "transformer" / "extraction.json").read_text())
    said = f"layer {chosen['layer'] + 1}, "
    assert outcome.lines[1].startswith(f"runs/transformer: {said}")
    assert give("align", "runs/transformer", *PLAIN).error.startswith(f"read from: {said}")
    for name in ("transformer", "reverse"):
        (place.path / "runs" / name / "extraction.json").unlink()
    refused(give("align", "runs/transformer", *PLAIN, "--choose"), "--reverse")


def test_runs_of_opposite_directions_are_no_ensemble(place: Place, give: Any, reverse: str) -> None:
    refused(give("translate", "runs/transformer", reverse, stdin=place.path / "plain.de"), "en to de", "de to en")


def test_heatmaps_are_drawn(place: Place, give: Any, reverse: str) -> None:
    write_lines(place.path / "two.de", ["der Hund", "der " * 200])
    write_lines(place.path / "two.en", ["the dog", "the"])
    files = ["--source", "two.de", "--target", "two.en", "--reverse", reverse, "--heatmaps", "drawn"]
    outcome = give("align", "runs/transformer", *files)
    assert outcome.code == 0 and "drawn: 1" in outcome.out and "line 2: too long for a picture" in outcome.error
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert {path.name for path in (place.path / "drawn").iterdir()} == {f"line-00001.{suffix}" for suffix in starts}
    for suffix, start in starts.items():
        assert (place.path / "drawn" / f"line-00001.{suffix}").read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--heatmaps", "drawn", "--scan"], "not allowed with"),
        (["--format", "soft", "--page", "page.html"], "not allowed with"),
        (["--heatmaps", "drawn", "--gold", "plain.gold"], "leave --gold out"),
        (["--choose", "--gold", "plain.gold"], "leave --gold out"),
        (["--format", "jsonl", "--gold", "plain.gold"], "one of the two"),
        (["--scan", "--gold", "plain.gold", "--layer", "1"], "leave --layer"),
        (["--scan", "--gold", "plain.gold", "--threshold", "0.3"], "leave --layer"),
        (["--scan", "--gold", "plain.gold", "--reverse", "runs/reverse"], "leave --reverse out"),
        (["--choose", "--threshold", "0.3"], "leave --layer"),
        (["--format", "grid", "--threshold", "0.3"], "leave --reverse"),
        (["--format", "soft", "--reverse", "runs/reverse"], "leave --reverse"),
        (["--combine", "union"], "give --reverse RUN"),
        (["--gold-first", "1"], "give --gold FILE"),
        (["--gold-reversed"], "give --gold FILE"),
        (["--beside", "runs/rnn"], "give --page"),
    ],
)
def test_no_option_is_passed_over(give: Any, options: list[str], said: str) -> None:
    outcome = give("align", "runs/transformer", *PLAIN, *options)
    assert outcome.code == 2 and said in outcome.error


def test_words_may_be_given(place: Place, give: Any) -> None:
    lines = read_lines(place.path / "plain.de")
    write_lines(place.path / "letters.de", [" ".join(line.replace(" ", "")) for line in lines])
    outcome = give("align", "runs/rnn", *PLAIN, "--source-words", "letters.de", "--format", "jsonl")
    assert [json.loads(line)["source"]["words"] for line in outcome.lines] == [
        list(line.replace(" ", "")) for line in lines
    ]
    write_lines(place.path / "other.de", [*lines[:-1], "anders"])
    refused(
        give("align", "runs/rnn", *PLAIN, "--source-words", "other.de"), place.path / "other.de", "line 25", "spaces"
    )
    write_lines(place.path / "other.de", lines[:-1])
    refused(give("align", "runs/rnn", *PLAIN, "--source-words", "other.de"), place.path / "other.de", "24", "25")
    refused(give("align", "runs/rnn", *PLAIN[:2], "--target-words", "letters.de"), "--target-words", "--target")


def data_of(page: str) -> dict[str, Any]:
    """What a page shows."""
    return json.loads(next(text for text in Scripts(page).data if text.startswith('{"title"')))


def links_of(data: dict[str, Any], system: int, reading: str) -> list[str]:
    names = [each["name"] for each in data["systems"][system]["readings"]]
    return [each["systems"][system]["readings"][names.index(reading)]["links"] for each in data["sentences"]]


def test_a_page_shows_what_the_command_prints(place: Place, give: Any, gold: str, reverse: str) -> None:
    both = ["--reverse", reverse, "--combine", "union", "--gold", gold]
    outcome = give("align", "runs/transformer", *PLAIN, "--beside", "runs/rnn", *both, "--page", "page.html")
    assert outcome.code == 0 and outcome.lines == ["page     page.html"]
    data = data_of((place.path / "page.html").read_text(encoding="utf-8"))
    assert [(each["name"], each["reverse"]) for each in data["systems"]] == [
        ("transformer", False),
        ("rnn", False),
        ("reverse", True),
    ]
    assert data["combined"] == "union" and data["sort"] == "error" and data["notes"] == []
    printed = give("align", "runs/transformer", *PLAIN, *both[:4]).lines
    assert [each["combined"]["links"] for each in data["sentences"]] == printed
    assert links_of(data, 0, "layer 2, mean of heads, shift 0") == give("align", "runs/transformer", *PLAIN).lines
    assert links_of(data, 1, "layer 1, mean of heads, shift 0") == give("align", "runs/rnn", *PLAIN).lines
    chosen = ["--layer", "1", "--head", "2", "--shift", "1"]
    assert links_of(data, 0, "layer 1, head 2, shift 1") == give("align", "runs/transformer", *PLAIN, *chosen).lines
    backwards = give("align", reverse, PLAIN[0], PLAIN[3], PLAIN[2], PLAIN[1]).lines
    turned = [" ".join(sorted("-".join(link.split("-")[::-1]) for link in line.split())) for line in backwards]
    assert [" ".join(sorted(line.split())) for line in links_of(data, 2, "layer 2, mean of heads, shift 0")] == turned
    judged = give("align", "runs/transformer", *PLAIN, *both).lines[1:5]
    worths = {row[0]: row[1].replace(" ", "") for row in data["worths"]["rows"]}
    assert list(worths.values()) == [
        judged[0].split()[-3],
        give("align", "runs/rnn", *PLAIN, "--gold", gold).lines[1].split()[-3],
        *(line.split()[-3] for line in judged[1:]),
    ]


def test_a_page_holds_the_weights(place: Place, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    from nmt.cli import main

    for name, layers, heads in (("rnn", 1, 1), ("transformer", 2, 2)):
        assert main(["align", f"runs/{name}", *PLAIN, "--page", "page.html"]) == 0
        data = data_of((place.path / "page.html").read_text(encoding="utf-8"))
        capfdbinary.readouterr()
        assert main(["align", f"runs/{name}", *PLAIN, "--format", "npz"]) == 0
        archive = np.load(io.BytesIO(capfdbinary.readouterr().out))
        assert data["sort"] == "crossing" and data["worths"] is None
        for each in data["sentences"]:
            [part] = each["systems"]
            source, target = (
                Pieces([0] * len(own), own, each[side])
                for own, side in zip(part["pieces"], ("source", "target"), strict=True)
            )
            words = Words(each["source"], each["words"][0]), Words(each["target"], each["words"][1])
            size = len(target.ids), len(source.ids) + 1
            own = np.frombuffer(base64.b64decode(part["own"]), np.uint8).reshape(size) / 255
            expected = archive[f"line-{each['line']}"]
            np.testing.assert_allclose(
                to_words(own, source, target, words).weights, expected, atol=len(source.ids) / 510
            )
            every = np.frombuffer(base64.b64decode(part["attention"]), np.uint8)
            every = every.reshape(layers, heads, size[0] + 1, size[1]) / 255
            np.testing.assert_allclose(every[-1, :, :-1].mean(0), own, atol=1 / 255)  # both rounded
            np.testing.assert_allclose(every.sum(-1), 1, atol=size[1] / 510)


def test_a_page_of_what_the_model_says_itself(place: Place, give: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmt.alignment_page.MOST_PAIRS", 20)
    outcome = give("align", "runs/rnn", *NASTY_FILES[:2], "--page", "page.html")
    assert outcome.code == 0
    data = data_of((place.path / "page.html").read_text(encoding="utf-8"))
    sources = read_lines(place.path / "nasty.de")
    assert [each["source"] for each in data["sentences"]] == sources[:20]
    printed = give("align", "runs/rnn", *NASTY_FILES[:2]).lines
    assert links_of(data, 0, "layer 1, mean of heads, shift 0") == printed[:20]
    assert data["notes"] == [f"the page shows the first 20 of {len(sources)} pairs"]
    monkeypatch.setattr("nmt.alignment_page.MOST_BYTES", 500)
    assert give("align", "runs/rnn", *PLAIN, "--page", "page.html").code == 0
    data = data_of((place.path / "page.html").read_text(encoding="utf-8"))
    weights = sum(
        len(base64.b64decode(p[key])) for s in data["sentences"] for p in s["systems"] for key in ("own", "attention")
    )
    assert 0 < weights <= 500 and 0 < len(data["sentences"]) < 20


def test_what_is_no_page_is_refused(place: Place, give: Any, gold: str, reverse: str) -> None:
    refused(give("align", "runs/rnn", *PLAIN, "--beside", "runs/transformer"), "--beside", "--page")
    page = ["align", "runs/rnn", *PLAIN, "--page", "refused.html"]
    refused(give(*page, "--beside", "runs/rnn"), "twice")
    refused(give(*page, "--beside", reverse), "en to de", "de to en", "--reverse")
    refused(give(*page, "--beside", "runs/plain"), "no attention")
    refused(give(*page, "--format", "soft"), "--format")
    refused(give(*page, "--gold", gold, "--scan"), "--scan")
    valid = ["--source", "valid.de", "--target", "valid.en"]
    refused(give("align", "runs/rnn", *valid, "--gold", gold, "--page", "refused.html"), "25", "15")
    refused(give("align", "runs/rnn", *PLAIN, "--page", "nowhere/page.html"), "nowhere", "cannot be written")
    assert not (place.path / "refused.html").exists()


@pytest.mark.parametrize("name", ["rnn", "transformer", "plain"])
def test_a_run_is_taught_to_align(
    place: Place, give: Any, gold: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nmt.teaching.UPDATES", 150)
    run = f"runs/{name}"
    before = give("translate", run, stdin=place.path / "plain.de").out
    scores = give("score", run, *PLAIN).out
    outcome = give("teach", run)
    assert outcome.code == 0 and outcome.lines[0].startswith("teaching on 120 of 120 pairs")
    assert give("translate", run, stdin=place.path / "plain.de").out == before
    assert give("score", run, *PLAIN).out == scores
    judged = give("align", run, *PLAIN, "--gold", gold)
    assert judged.error.startswith("read from: trained aligner")
    assert float(judged.lines[1].split()[-3].rstrip("%")) < 25  # of a model that was hardly trained
    for files in (PLAIN, NASTY_FILES, NASTY_FILES[:2]):
        assert len(give("align", run, *files).lines) == len(read_lines(place.path / files[1]))
    assert give("align", run, *PLAIN, "--page", "page.html").lines == ["page     page.html"]
    data = data_of((place.path / "page.html").read_text(encoding="utf-8"))
    assert links_of(data, 0, "trained aligner") == give("align", run, *PLAIN).lines
    last = give("align", run, *PLAIN, "--checkpoint", "last")  # other weights, to which it does not belong
    assert "trained aligner" not in last.error
    assert give("evaluate", run, *PLAIN, "--heatmaps", "1", "--out", "judged").code == 0
    (place.path / run / "checkpoints" / "aligner.safetensors").unlink()


def test_two_aligners_are_helped_by_attention(
    place: Place, give: Any, reverse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nmt.teaching.UPDATES", 20)
    for run in ("runs/transformer", "runs/plain", reverse):
        assert give("teach", run).code == 0
    both = ["align", "runs/transformer", *PLAIN, "--reverse", reverse]
    helps = ["--combine", "grow-diag-final-attention"]
    plain, helped = ([set(line.split()) for line in give(*both, *options).lines] for options in ([], helps))
    assert helped != plain and all(fewer <= more for fewer, more in zip(plain, helped, strict=True))
    lacking = ["align", "runs/plain", *PLAIN, "--reverse", reverse]
    assert give(*lacking).code == 0
    refused(give(*lacking, *helps), "runs/plain has no attention")
    for run in ("runs/transformer", "runs/plain", reverse):
        (place.path / run / "checkpoints" / "aligner.safetensors").unlink()


def test_lines_are_numbered_through(place: Place, give: Any, reverse: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmt.inspection.CHUNK", 2)
    lines = ["der Hund"] * 5 + ["rot " * 3000]
    write_lines(place.path / "numbered.de", lines)
    write_lines(place.path / "numbered.en", ["the dog"] * 6)
    for more in (["--target", "numbered.en"], ["--target", "numbered.en", "--reverse", reverse], []):
        outcome = give("align", "runs/rnn", "--source", "numbered.de", *more)
        said = [line for line in outcome.error.split("\n") if "cut to" in line]
        assert outcome.code == 0 and said and all(line.startswith("line 6: ") for line in said)


def test_links_of_another_program_teach(place: Place, give: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmt.teaching.UPDATES", 150)
    sources = read_lines(place.path / "train.de")
    write_lines(place.path / "given", [" ".join(f"0-{j}" for j in range(len(line.split()))) for line in sources])
    outcome = give("teach", "runs/rnn", "--links", "given")
    assert outcome.code == 0 and "by given" in outcome.lines[0]
    links = [link for line in give("align", "runs/rnn", *PLAIN).lines for link in line.split()]
    assert sum(link.startswith("0-") for link in links) > 0.9 * len(links) > 0  # as it was taught, sense or not
    (place.path / "runs" / "rnn" / "checkpoints" / "aligner.safetensors").unlink()
    write_lines(place.path / "given", ["0-0"])
    outcome = give("teach", "runs/rnn", "--links", "given")
    assert outcome.code == 2 and f"{place.path / 'given'}: 1 lines of links" in outcome.error and "120" in outcome.error
    write_lines(place.path / "given", ["0-0"] * 119 + ["9-0"])
    outcome = give("teach", "runs/rnn", "--links", "given")
    assert outcome.code == 2 and "line 120 of the links: 9-0" in outcome.error
    assert not (place.path / "runs" / "rnn" / "checkpoints" / "aligner.safetensors").exists()
