"""The page of alignments: what one sees and does on it, in a real browser."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from nmt.alignment import Matrix, Words, split_words
from nmt.alignment_page import alignment_page, crossing
from nmt.subwords import Pieces
from tests.chromium import CONTRASTS, Reader, Scripts, background, reading
from tests.heatmaps import described_readings, drawn, matrix, pieces_of, point, readings_of, some_bytes, weights_of

ATTACK = "</script><script>alert(1)</script> <!-- <img src=x onerror=alert(2)> &amp;\u2028$style"
PAIRS = [  # source, target, and the words of those that no space tells
    ("Der Hund schläft, weil es regnet.", "The dog sleeps because it rains.", None),
    ("犬は家で寝ています。", "Der Hund schläft zu Hause.", "犬 は 家 で 寝て います 。"),
    ("Der Hund schläft zu Hause.", "الكلب ينام في البيت.", None),
    ("👩‍👩‍👧 und 𝔄: 🐕!", "A 👩‍👩‍👧 and 𝔄, 🐕!", None),
    (ATTACK, "<script>alert(3)</script>", None),
    ("", "nothing", None),
]
SYSTEMS = [("rnn", False, 1, 1), ("transformer", False, 2, 3), ("back", True, 2, 2)]  # name, reverse, layers, heads


def words_of(text: str, given: str | None) -> Words:
    from nmt.alignment import given_words

    return split_words(text) if given is None else given_words(text, given)


class Made:
    """Data of a page, and the same as the arrays that it was made of."""

    def __init__(self, pairs: list[Any] = PAIRS, *, gold: bool = True, systems: list[Any] = SYSTEMS) -> None:
        draw = np.random.default_rng(1)
        self.systems = systems
        self.words = [(words_of(source, given), split_words(target)) for source, target, given in pairs]
        self.pieces: list[list[tuple[Pieces, Pieces]]] = []
        self.bytes: list[list[tuple[np.ndarray, np.ndarray]]] = []
        sentences = []
        for row, words in enumerate(self.words):
            parts: list[dict[str, Any]] = []
            self.pieces.append([])
            self.bytes.append([])
            for place, (_, reverse, layers, heads) in enumerate(systems):
                read, written = [pieces_of(side.text, 3 + place) for side in (words[::-1] if reverse else words)]
                size = len(written.ids), len(read.ids) + 1
                own = some_bytes(draw, *size)
                attention = some_bytes(draw, layers, heads, size[0] + 1, size[1])
                self.pieces[-1].append((read, written))
                self.bytes[-1].append((own, attention))
                judged = [self.judged(row, place, i, gold) for i in range(len(readings_of(layers, heads)))]
                parts.append(
                    {
                        "pieces": [read.offsets, written.offsets],
                        "own": base64.b64encode(own.tobytes()).decode(),
                        "attention": base64.b64encode(attention.tobytes()).decode(),
                        "readings": judged,
                    }
                )
            some = min(map(len, words))
            sentences.append(
                {
                    "line": row + 1,
                    "source": words[0].text,
                    "target": words[1].text,
                    "words": [side.spans for side in words],
                    "gold": {"sure": "0-0 1-1", "possible": "1-0"} if gold and some > 1 else None,
                    "disagreement": (31 * row + 7) % 17 / 17 if len(systems) > 1 else None,
                    "systems": parts,
                    "combined": self.judged(row, 7, 0, gold) if len(systems) > 1 else None,
                }
            )
            if gold and some < 2:
                sentences[-1]["gold"] = {"sure": "", "possible": ""}
        self.data = {
            "title": " beside ".join(name for name, *_ in systems),
            "made": "2026-11-25 10:12",
            "facts": [f"{len(pairs)} pairs of lines: a.de and a.en."],
            "notes": ["the page shows the first 6 of 7 pairs"],
            "worths": {"columns": [{"title": "", "help": "", "number": False}], "rows": [["rnn"]]} if gold else None,
            "systems": [
                {
                    "name": name,
                    "description": f"the {name} of the tests",
                    "reverse": reverse,
                    "layers": layers,
                    "heads": heads,
                    "readings": [
                        {**reading, "error": 0.25 if gold else None} for reading in described_readings(layers, heads)
                    ],
                }
                for name, reverse, layers, heads in systems
            ],
            "combined": "grow-diag" if len(systems) > 1 else None,
            "sort": "error" if gold else "disagreement" if len(systems) > 1 else "crossing",
            "sentences": sentences,
        }

    def judged(self, row: int, place: int, reading: int, gold: bool) -> dict[str, Any]:
        """Made-up links and what they are worth."""
        source, target = map(len, self.words[row])
        links = [(j % source, j) for j in range(0, target, 2)] if source else []
        seed = 31 * row + 17 * place + 7 * reading
        return {
            "links": " ".join(f"{i}-{j}" for i, j in links),
            "error": seed % 101 / 101 if gold else None,
            "crossing": seed % 103 / 103,
        }

    def weights(self, row: int, place: int, reading: int, *, by_words: bool) -> Matrix:
        """What the page has to show, rows of the target: by nmt.alignment, from what the page was given."""
        reverse, (own, attention) = self.systems[place][1], self.bytes[row][place]
        words = self.words[row][::-1] if reverse else self.words[row]
        found = weights_of(own, attention, self.pieces[row][place], words, reading, by_words=by_words)
        return found.T if reverse else found

    def reading(self, place: int, layer: int, head: int | None, shift: int) -> int:
        return readings_of(*self.systems[place][2:]).index((layer, head, shift))


@pytest.fixture
def reader(browser: Browser, tmp_path: Path) -> Iterator[Reader]:
    with reading(browser, tmp_path, alignment_page) as reader:
        yield reader


def article(page: Page, line: int) -> Locator:
    return page.locator("article").filter(has=page.get_by_role("heading", name=re.compile(rf"^Line {line}\b")))


def lines(page: Page) -> list[int]:
    """Of the sentences shown, in their order."""
    headings = page.locator("article h3").all_text_contents()
    return [int(re.findall(r"\d+", heading)[0]) for heading in headings]


def panel(page: Page, line: int, place: int) -> Locator:
    return article(page, line).locator("svg.panel").nth(place)


def captions(page: Page, line: int) -> list[str]:
    return article(page, line).locator("figcaption .value").all_text_contents()


def choose(page: Page, **choices: str) -> None:
    for name, value in choices.items():
        page.locator(f"#choices [name={name}]").select_option(value)


def test_the_file_holds_everything_and_names_nothing_else() -> None:
    data = Made().data
    page = alignment_page(data)
    found = Scripts(page)
    assert found.loading == []
    assert found.tags.count("script") == 2 and not {"link", "img", "iframe", "b"} & set(found.tags)
    own = page.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert "://" not in own and "@import" not in own and "url(" not in own
    assert json.loads(next(text for text in found.data if text.startswith('{"title"'))) == json.loads(json.dumps(data))


def test_texts_of_all_scripts_are_shown_as_they_are_and_do_not_run(reader: Reader) -> None:
    page = reader.open(Made().data, "#sort=line&order=up")
    for line, (source, target, _) in enumerate(PAIRS, 1):
        assert article(page, line).locator(".text").all_text_contents() == [source, target]
    assert page.evaluate("document.scripts.length") == 2
    for line, (source, target, given) in enumerate(PAIRS[:4], 1):
        shown = drawn(panel(page, line, 0))
        assert shown["columns"] == [*words_of(source, given).texts, "</s>"]  # each word one text, so that it is shaped
        assert shown["rows"] == split_words(target).texts
    direction = "boxes => boxes.map(box => getComputedStyle(box).direction)"
    assert article(page, 3).locator(".text").evaluate_all(direction) == ["ltr", "rtl"]
    expect(page.get_by_text("That is not yet an alignment")).to_be_visible()
    expect(page.get_by_text("the first 6 of 7 pairs")).to_be_visible()


def test_labels_stand_within_their_heatmap(reader: Reader) -> None:
    page = reader.open(Made().data, "#sort=line&order=up")
    outside = """panels => panels.flatMap(panel => [...panel.querySelectorAll("text")].filter(text => {
        const [own, all] = [text, panel].map(each => each.getBoundingClientRect());
        return own.left < all.left - 1 || own.top < all.top - 1 || own.right > all.right + 1
    }).map(text => text.textContent))"""
    assert page.locator("article svg.panel").evaluate_all(outside) == []


@pytest.mark.parametrize("units", ["words", "pieces"])
@pytest.mark.parametrize("choice", [(None, None, 0), (1, None, 1), (2, 2, 0), (2, 2, 1)])
def test_weights_are_those_of_python(reader: Reader, units: str, choice: tuple[int | None, int | None, int]) -> None:
    made, (layer, head, shift) = Made(), choice
    page = reader.open(made.data, "#sort=line&order=up")
    choose(page, units=units)
    if layer is not None:
        choose(page, layer=str(layer), head=str(head or "mean"), shift=str(shift))
    for row in range(len(PAIRS)):
        for place, (_, _, layers, heads) in enumerate(SYSTEMS):
            has = layer is not None and layer <= layers and (head or 1) <= heads and (head is None or heads > 1)
            own = made.reading(place, layer, head, shift) if has and layer is not None else 0
            expected = made.weights(row, place, own, by_words=units == "words")
            np.testing.assert_allclose(matrix(drawn(panel(page, row + 1, place)), expected), expected, atol=0.0051)
    if layer is None:  # both directions, always by words
        ahead, back = made.weights(2, 0, 0, by_words=True), made.weights(2, 2, 0, by_words=True)
        expected = np.sqrt(ahead[:, :-1] * back[:-1])
        np.testing.assert_allclose(matrix(drawn(panel(page, 3, 3)), expected), expected, atol=0.0051)
    else:
        assert article(page, 1).locator("svg.panel").count() == 3


def test_the_browser_computes_as_python_does(reader: Reader) -> None:
    made = Made()
    page = reader.open(made.data)
    for row in range(len(PAIRS)):
        for place, (_, _, layers, heads) in enumerate(SYSTEMS):
            for own in range(len(readings_of(layers, heads))):
                for by_words in (True, False):
                    expected = made.weights(row, place, own, by_words=by_words)
                    script = """([row, place, own, byWords]) => {
                        const [system, sentence] = [data.systems[place], data.sentences[row]];
                        const [part, reading] = [sentence.systems[place], system.readings[own]];
                        return gridOf(system, part, sentence.words, reading, byWords).weights;
                    }"""
                    found = page.evaluate(script, [row, place, own, by_words])
                    np.testing.assert_allclose(np.reshape(found, expected.shape), expected, atol=1e-9)


def test_gold_is_outlined_and_links_are_dots(reader: Reader) -> None:
    made = Made()
    page = reader.open(made.data, "#sort=line&order=up")
    for place in range(3):
        shown = drawn(panel(page, 1, place))
        assert shown["sure"] == [[0, 0, 0, 0], [1, 1, 1, 1]] and shown["possible"] == [[0, 1, 0, 1]]
        links = made.data["sentences"][0]["systems"][place]["readings"][0]["links"]  # source-target
        assert sorted(f"{column}-{row}" for row, column in shown["links"]) == sorted(links.split())
    dashes = "rect => getComputedStyle(rect).strokeDasharray"
    assert panel(page, 1, 0).locator("rect.sure").first.evaluate(dashes) == "none"
    assert panel(page, 1, 0).locator("rect.possible").first.evaluate(dashes) != "none"
    choose(page, units="pieces")  # "Der" has the first two pieces of three characters, one of which is empty ...
    read, written = made.pieces[0][0]
    shown = drawn(panel(page, 1, 0))
    assert [read.offsets[:2], written.offsets[:2]] == [[(0, 0), (0, 3)]] * 2
    assert shown["sure"][0] == [0, 0, 1, 1]
    assert shown["sure"][1] == [2, 2, 3, 3]  # ... and " Hund" the next two
    again = reader.open(Made(gold=False).data)
    assert again.locator("article .sure, article .possible").count() == 0
    expect(again.get_by_text("sure link of the gold")).to_be_hidden()


def test_the_error_rate_stands_beside_each_heatmap(reader: Reader) -> None:
    made = Made()
    page = reader.open(made.data, "#sort=line&order=up&layer=2&head=1")
    part = made.data["sentences"][0]["systems"][1]["readings"][made.reading(1, 2, 1, 0)]
    said = f"error {100 * part['error']:.1f} %, crossing {100 * part['crossing']:.1f} %"
    expect(article(page, 1).locator("figcaption").nth(1)).to_contain_text(said)
    expect(article(page, 1).locator("figcaption").nth(0)).to_contain_text("as its links are read")  # has one layer
    expect(article(page, 1).locator("figcaption").nth(0)).to_contain_text("trained aligner")
    page.get_by_text("Error rate of each layer and head").click()
    row = page.get_by_role("region", name="Error rates of transformer").get_by_role("row").nth(1)
    assert row.locator("th, td").all_text_contents() == ["layer 1, predicting", *["25.0 %"] * 4]


def test_a_cell_is_told_under_the_pointer_and_lit_in_all_heatmaps(reader: Reader) -> None:
    made = Made()
    page = reader.open(made.data, "#sort=line&order=up")
    weights = [made.weights(2, place, 0, by_words=True) for place in range(3)]
    height = article(page, 3).evaluate("article => article.clientHeight")
    point(panel(page, 3, 1), 1, 2)  # target word 2, source word 3
    assert article(page, 3).evaluate("article => article.clientHeight") == height  # nothing moves away
    expect(page.locator("#tip")).to_have_text(f"schläft → ينام {weights[1][1, 2]:.2f}")
    both = np.sqrt(weights[0][1, 2] * weights[2][1, 2])
    found = list(map(float, captions(page, 3)))
    np.testing.assert_allclose(found, [*(own[1, 2] for own in weights), both], atol=0.006)
    assert [drawn(panel(page, 3, place))["cursor"] for place in range(4)] == [[1, 2]] * 4
    labels = panel(page, 3, 1).locator("text.here")
    assert labels.all_text_contents() == ["ينام", "schläft"]
    marked = "[...CSS.highlights.get('here')].map(range => range.toString())"
    assert page.evaluate(marked) == ["schläft", "ينام"]
    point(panel(page, 4, 0), 1, 0)  # characters beyond JavaScript's
    expect(page.locator("#tip")).to_contain_text("👩 → 👩")
    assert page.evaluate(marked) == ["👩", "👩"]
    assert captions(page, 3) == [""] * 4
    last = len(weights[1][0]) - 1
    point(panel(page, 3, 1), 0, last)
    expect(page.locator("#tip")).to_contain_text("</s> → الكلب")
    assert [drawn(panel(page, 3, place))["cursor"] for place in range(4)] == [[0, last], [0, last], None, None]
    page.locator("h2").hover()
    expect(page.locator("#tip")).to_be_hidden()
    assert page.locator("svg.lit").count() == 0


def test_pieces_of_one_run_light_those_of_another_that_lie_there(reader: Reader) -> None:
    made = Made()
    page = reader.open(made.data, "#sort=line&order=up&units=pieces")
    point(panel(page, 1, 0), 3, 4)
    (read, written), (others_read, others_written) = made.pieces[0][0], made.pieces[0][1]

    def over(pieces: Pieces, span: tuple[int, int]) -> int:
        return next(i for i, (start, end) in enumerate(pieces.offsets) if start <= sum(span) / 2 < end)

    expected = [over(others_written, written.offsets[3]), over(others_read, read.offsets[4])]
    assert drawn(panel(page, 1, 1))["cursor"] == expected


def test_keys_move_between_sentences_heatmaps_and_cells(reader: Reader) -> None:
    made = Made()
    page = reader.open(made.data, "#sort=line&order=up")
    tip = page.locator("#tip")
    for key in ("j", "j", "ArrowDown", "k"):
        page.keyboard.press(key)
    expect(article(page, 2)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(panel(page, 2, 0)).to_be_focused()
    expect(tip).to_contain_text("犬 → Der")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowUp"):  # the last leads nowhere
        page.keyboard.press(key)
    weight = made.weights(1, 0, 0, by_words=True)[0, 1]
    expect(tip).to_have_text(f"は → Der {weight:.2f}")
    page.keyboard.press("Tab")
    expect(panel(page, 2, 1)).to_be_focused()
    expect(tip).to_contain_text("は → Der")  # the cell that was lit there, too
    assert panel(page, 2, 1).evaluate("panel => getComputedStyle(panel).outlineStyle") == "solid"
    page.keyboard.press("Escape")
    expect(article(page, 2)).to_be_focused()
    expect(tip).to_be_hidden()
    page.keyboard.press("/")
    page.keyboard.type("jk")
    assert page.get_by_label("Search").input_value() == "jk"


def test_every_layer_and_head_is_shown_at_once(reader: Reader) -> None:
    made = Made()
    page = reader.open(made.data, "#sort=line&order=up")
    assert page.get_by_label("Head").is_disabled()
    choose(page, layer="all", head="all")
    names = article(page, 1).locator("figcaption > span:first-child").all_text_contents()
    of_transformer = [f"layer {layer}, {head}" for layer in (1, 2) for head in ("mean", "head 1", "head 2", "head 3")]
    assert names[1:9] == of_transformer  # 8 are small and need no name of the run
    assert names[0] == "rnn" and len(names) == 1 + 8 + 6
    own = made.weights(0, 1, made.reading(1, 2, 3, 0), by_words=True)
    np.testing.assert_allclose(matrix(drawn(panel(page, 1, 8)), own), own, atol=0.0051)
    point(panel(page, 1, 8), 0, 1)
    expect(page.locator("#tip")).to_have_text(f"Hund → The {own[0, 1]:.2f}")
    assert page.url.endswith("#layer=all&head=all&sort=line&order=up")
    again = reader.open(made.data, "#" + page.url.partition("#")[2])
    assert article(again, 1).locator("svg.panel").count() == 15
    again.get_by_role("button", name="Reset").click()
    expect(article(again, 1).locator("svg.panel")).to_have_count(4)
    assert "#" not in again.url
    reader.open(made.data, "#sort=nonsense&of=9&layer=7&units=x")  # is no error


def test_sentences_are_sorted(reader: Reader) -> None:
    made = Made()
    page = reader.open(made.data)
    sentences = made.data["sentences"]

    def by(value: Any, highest: bool = True) -> list[int]:
        return [each["line"] for each in sorted(sentences, key=value, reverse=highest)]

    assert lines(page) == by(lambda each: each["combined"]["error"])  # of both directions, the worst first
    choose(page, order="up")
    assert lines(page) == by(lambda each: each["combined"]["error"], highest=False)
    page.get_by_label("Whose links").select_option("rnn")
    assert lines(page) == by(lambda each: each["systems"][0]["readings"][0]["error"], highest=False)
    choose(page, sort="disagreement")
    assert lines(page) == by(lambda each: each["disagreement"])
    choose(page, sort="crossing", of="1", layer="2", head="3", shift="1")  # of what is shown
    own = made.reading(1, 2, 3, 1)
    assert lines(page) == by(lambda each: each["systems"][1]["readings"][own]["crossing"])
    choose(page, sort="line")
    assert lines(page) == [1, 2, 3, 4, 5, 6]
    page = reader.open(Made(gold=False).data)
    assert page.get_by_label("Sort by").input_value() == "disagreement"
    assert "error rate" not in page.get_by_label("Sort by").inner_text()
    page = reader.open(Made(gold=False, systems=SYSTEMS[1:2]).data)
    assert page.get_by_label("Sort by").input_value() == "crossing"
    assert lines(page) == by(lambda each: made.judged(each["line"] - 1, 0, 0, False)["crossing"])
    expect(page.get_by_label("Whose links")).to_be_hidden()


def test_search_finds_words_in_both_texts(reader: Reader) -> None:
    page = reader.open(Made().data, "#sort=line&order=up")
    searches = {"HUND": [1, 2, 3], "家": [2], "البيت": [3], "𝔄 🐕": [4], "</SCRIPT>": [5], "nowhere": []}
    for typed, expected in searches.items():
        page.get_by_label("Search").fill(typed)
        assert lines(page) == expected
    expect(page.locator("#count")).to_have_text("0 of 6 sentences")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(reader: Reader, scheme: str) -> None:
    page = reader.open(Made().data, color_scheme=scheme)
    toggle = page.get_by_role("button", name="Dark")
    assert toggle.get_attribute("aria-pressed") == str(scheme == "dark").lower()
    before = background(page)
    toggle.click()
    assert background(page) != before
    toggle.click()
    for summary in page.locator("summary").all():
        summary.click()
    point(panel(page, 1, 0), 0, 0)
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 100 and min(contrasts)[0] >= 4.5, min(contrasts)


def test_a_narrow_screen_does_not_scroll_sideways(reader: Reader) -> None:
    words = " ".join(f"Wort{i}" for i in range(60))
    page = reader.open(
        Made([(words, words, None), ("ß" * 300, "x", None)]).data, viewport={"width": 360, "height": 700}
    )
    for layer, head in (("own", "mean"), ("all", "all")):
        choose(page, layer=layer, **({"head": head} if layer == "all" else {}))
        assert page.evaluate("document.documentElement.scrollWidth") == 360
    box = article(page, 1).locator(".heatmap").first
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")  # a long sentence scrolls within itself
    choose(page, layer="own")
    panel(page, 1, 0).focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#tip")).to_contain_text("Wort40 → Wort0")
    at = page.locator("#tip").bounding_box()
    assert at is not None and at["x"] >= 0 and at["x"] + at["width"] <= 360
    cursor = panel(page, 1, 0).locator(".cursor").bounding_box()
    assert cursor is not None and 0 <= cursor["x"] < 360  # it has been scrolled to


def test_paper_shows_the_heatmaps_whole(reader: Reader) -> None:
    words = " ".join(f"Wort{i}" for i in range(30))
    page = reader.open(Made([(words, words, None)]).data, viewport={"width": 760, "height": 700})
    page.emulate_media(media="print")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator("#choices")).to_be_hidden()
    at = panel(page, 1, 0)
    box = at.bounding_box()
    assert box is not None and box["width"] == float(at.get_attribute("width") or 0)
    assert article(page, 1).locator(".heatmap").first.evaluate("box => getComputedStyle(box).overflowX") == "visible"


def test_two_hundred_sentences_are_small_and_drawn_as_they_are_reached(reader: Reader) -> None:
    words = "Ein Mann in einem blauen Hemd steht auf einer Leiter und putzt ein Fenster ."
    made = Made([(words, words, None)] * 200, systems=[("rnn", False, 1, 1), ("transformer", False, 4, 4)])
    page = reader.open(made.data, "#sort=line&order=up&layer=all&head=all")
    assert len(reader.file.read_bytes()) < 10e6
    expect(page.locator("#count")).to_have_text("200 of 200 sentences")
    first = len(lines(page))
    assert first < 100
    article(page, first).focus()
    page.keyboard.press("j")
    expect(article(page, first + 1)).to_be_focused()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert lines(page) == list(range(1, 201))  # paper does not scroll


def test_links_cross_where_words_move() -> None:
    assert crossing({(0, 0), (1, 1), (2, 2)}) == crossing({(0, 0)}) == crossing(set()) == 0
    assert crossing({(0, 2), (1, 1), (2, 0)}) == 1
    assert crossing({(0, 0), (1, 2), (2, 1)}) == pytest.approx(1 / 3, abs=1e-3)
    assert crossing({(0, 0), (0, 1)}) == 0  # one word with two links crosses nothing
