"""The page: what one reads and does on it, in a real browser, and what an evaluation puts on it."""

import base64
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect

from nmt.alignment import Matrix, Words, split_words, to_words
from nmt.heatmaps import heatmap
from nmt.report import report_page
from nmt.runs import Run
from nmt.subwords import Pieces
from nmt.translator import Translator
from tests.chromium import CONTRASTS, Reader, Scripts, background, reading
from tests.heatmaps import described_readings, drawn, matrix, pieces_of, point, readings_of, some_bytes, weights_of
from tests.place import Place

NAMES = ["rnn", "rnn-deep", "transformer"]
ATTENTIONS = [(1, 1), (2, 3), (0, 0)]  # layers and heads of each; the last is a file of translations
LACKING = "A file of translations tells of no attention."
ATTACK = "</script><script>alert(1)</script> <!-- <img src=x onerror=alert(2)> <b>&amp;\u2028$style"
PAIRS = [  # source, reference, and the translations of three systems
    ("Der Hund schläft.", "The dog sleeps.", ["The dog sleeps.", "The cat sleeps.", "The sleeps."]),
    ("Собака спит дома.", "The dog sleeps at home.", ["The dog at home.", "A dog sleeps at home.", ""]),
    ("狗在家里睡觉。", "小狗在家裡睡覺。", ["小狗在家睡覺。", "狗在家裡。", "犬は家で寝ています。"]),
    ("कुत्ता घर पर सोता है।", "कुत्ता घर में सो रहा है।", ["कुत्ता घर में है।", "बिल्ली घर में सो रही है।", "है।"]),
    ("الكلب ينام في البيت.", "ينام الكلب في المنزل.", ["الكلب ينام في المنزل.", "القط في المنزل.", "ينام"]),
    ("Ein 👩‍👩‍👧 und ein 🐕!", "A 👩‍👩‍👧 and a 🐕!", ["A 👩‍👩‍👧 and a 🐈!", "A family and a 🐕!", "🐕"]),
    (ATTACK, ATTACK, [ATTACK, "<script>alert(3)</script>", "Nothing."]),
]
LINKS = [[0, 0, 90], [0, 2, 20], [2, 2, 80]]  # of the first two words, one of them twice


def cut(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]+", text)


def some_alignment(source: str, target: str) -> dict[str, Any]:
    parts = cut(source), cut(target)
    links = [link for link in LINKS if link[0] < len(parts[0]) and link[1] < len(parts[1])]
    return {"source": parts[0], "target": parts[1], "links": links}


def some_weights(line: int, system: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Pieces and words of source and translation, and bytes of what the system looked at."""
    source, _, texts = PAIRS[line % len(PAIRS)]
    both = source, texts[system]
    read, written = (pieces_of(text, 3 + system) for text in both)
    draw, size = np.random.default_rng([line, system]), (len(written.ids), len(read.ids) + 1)
    attention = some_bytes(draw, *ATTENTIONS[system], size[0] + 1, size[1])
    return ((read, written), tuple(map(split_words, both))), some_bytes(draw, *size), attention


def some_heatmap(line: int, system: int) -> dict[str, Any]:
    (pieces, words), own, attention = some_weights(line, system)
    return {**heatmap(pieces, own.tobytes(), attention.tobytes()), "words": [side.spans for side in words]}


def weights(line: int, system: int, reading: int, *, by_words: bool) -> Matrix:
    """What the heatmap of a line, counted from 1, must show."""
    (pieces, words), own, attention = some_weights(line - 1, system)
    return weights_of(own, attention, pieces, words, reading, by_words=by_words)


def some_sentence(line: int) -> dict[str, Any]:
    source, reference, texts = PAIRS[line % len(PAIRS)]
    systems = [
        {
            "text": text,
            "chrf": (37 * line + 11 * i * line) % 101 + 0.25,
            "bleu": 13 * line % 97 + 0.5,
            "alignment": some_alignment(source, text) if i < 2 else None,  # a file of translations has none
            "heatmap": some_heatmap(line, i) if i < 2 else None,
        }
        for i, text in enumerate(texts)
    ]
    words = len(source.split())
    return {"line": line + 1, "source": source, "reference": reference, "words": words, "systems": systems}


def some_table(*rows: list[str]) -> dict[str, Any]:
    columns = [{"title": "", "help": "", "number": False}, {"title": "BLEU", "help": "by sacreBLEU", "number": True}]
    return {"columns": columns, "rows": list(rows)}


def some_test(name: str, sentences: int) -> dict[str, Any]:
    values = [{"value": 50.5, "low": 47.5, "high": 53.5}, {"value": 40.5}, None]
    return {
        "name": name,
        "sentences_count": sentences,
        "scores": some_table(*([name, f"{40 + i}.0 ± 1.2"] for i, name in enumerate(NAMES))),
        "signatures": ["BLEU    nrefs:1|case:mixed"],
        "differences": some_table(["rnn − rnn-deep", "-1.0"]),
        "buckets": [
            {
                "title": "BLEU by source length (words)",
                "help": "With 95 % intervals",
                "labels": ["1–10", "11–20", "21 and more"],
                "counts": [1234, 17, 0],
                "count_unit": "sentences",
                "series": [{"name": name, "values": values} for name in NAMES],
            }
        ],
        "ngrams": [{"title": "What rnn alone gets right", "table": some_table([ATTACK, "7"])}],
        "sentences": [some_sentence(line) for line in range(sentences)],
    }


def some_data(sentences: int = len(PAIRS)) -> dict[str, Any]:
    points = [
        {"update": 100 * i, "tokens": 40_000 * i, "minutes": i / 2, "bleu": 3.0 * i, "loss": 7 / i}
        for i in range(1, 11)
    ]
    return {
        "title": "rnn, rnn-deep and transformer",
        "verdict": ["rnn-deep is better than rnn on test: BLEU 41.0 against 40.0, p = 0.001.", "On long, too."],
        "made": "2026-11-25 10:12",
        "machine": "python 3.11.7 · CPU, 2 threads",
        "notes": ["the runs have different subwords"],
        "systems": [
            {
                "name": name,
                "description": f"the {name} of the tests",
                "layers": layers,
                "heads": heads,
                **({"readings": described_readings(layers, heads)} if layers else {"readings": [], "lacking": LACKING}),
            }
            for name, (layers, heads) in zip(NAMES, ATTENTIONS, strict=True)
        ],
        "runs": some_table(["rnn", "1,000"], ["rnn-deep", "2,000"]),
        "curves": [{"name": name, "points": points} for name in NAMES[:2]],
        "tests": [some_test("test", sentences), some_test("long", 3)],
    }


@pytest.fixture
def reader(browser: Browser, tmp_path: Path) -> Iterator[Reader]:
    with reading(browser, tmp_path, report_page) as reader:
        yield reader


def sentence(page: Page, line: int) -> Locator:
    return page.locator("article").filter(has=page.get_by_role("heading", name=re.compile(rf"^Line {line} ")))


def texts(page: Page, line: int) -> list[str]:
    """Source, reference and translations, as they stand."""
    return sentence(page, line).locator(".text").evaluate_all("boxes => boxes.map(box => box.textContent)")


def lines(page: Page) -> list[int]:
    """Of the sentences shown, in their order."""
    headings = page.locator("article h3").all_text_contents()
    return [int(re.findall(r"[\d,]+", heading)[0].replace(",", "")) for heading in headings]


def word(page: Page, line: int, row: int, text: str) -> Locator:
    words = sentence(page, line).locator(".text").nth(row).locator(".word")
    return words.filter(has_text=re.compile(f"^{text}$"))


def heatmaps(page: Page, line: int) -> Locator:
    return sentence(page, line).locator("details.heatmaps")


def panel(page: Page, line: int, place: int) -> Locator:
    return sentence(page, line).locator("svg.panel").nth(place)


def open_heatmaps(page: Page, line: int) -> None:
    heatmaps(page, line).get_by_text("Heatmaps", exact=True).click()
    expect(panel(page, line, 0)).to_be_visible()


def choose(page: Page, **choices: str) -> None:
    for name, value in choices.items():
        page.locator(f"#sentences [name={name}]").select_option(value)


def lit(page: Page) -> list[tuple[int, str, int]]:
    """Row, word and weight of what is lit up."""
    found = page.locator(".word.lit").evaluate_all(
        """words => words.map(word => [
            [...word.closest("article").querySelectorAll(".text")].indexOf(word.closest(".text")),
            word.textContent, Number(word.dataset.weight)])"""
    )
    return [tuple(each) for each in found]


def test_the_file_holds_everything_and_names_nothing_else() -> None:
    data = some_data()
    page = report_page(data)
    found = Scripts(page)
    assert found.loading == []
    assert found.tags.count("script") == 2 and not {"link", "img", "iframe", "b"} & set(found.tags)
    own = page.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert "://" not in own and "@import" not in own and "url(" not in own
    assert json.loads(next(text for text in found.data if text.startswith('{"title"'))) == json.loads(json.dumps(data))


def test_figures_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        report_page(some_data() | {"verdict": [float("nan")]})


def test_texts_of_all_scripts_are_shown_as_they_are_and_do_not_run(reader: Reader) -> None:
    page = reader.open(some_data())
    for line, (source, reference, translations) in enumerate(PAIRS, 1):
        assert texts(page, line) == [source, reference, *translations]
    assert page.locator("#tests td, #tests th").get_by_text(ATTACK).count() == 2
    directions = sentence(page, 5).locator(".text").evaluate_all("all => all.map(x => getComputedStyle(x).direction)")
    assert directions == ["rtl"] * 5
    assert page.evaluate("document.scripts.length") == 2
    expect(sentence(page, 2).locator(".text").nth(4)).to_have_class("text empty")


def test_the_policy_lets_no_other_script_run(reader: Reader) -> None:
    page = reader.open(some_data())
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    assert page.evaluate("window.ran") is None
    assert "Content Security Policy" in reader.seen.pop()


def test_the_verdict_stands_first_and_the_tables_say_what_they_are(reader: Reader) -> None:
    page = reader.open(some_data())
    assert page.title() == "rnn, rnn-deep and transformer"
    expect(page.locator("#verdict p").first).to_have_text(some_data()["verdict"][0])
    assert page.locator("#verdict p").first.locator(".name").all_text_contents() == ["rnn-deep", "rnn"]
    expect(page.get_by_text("the runs have different subwords")).to_be_visible()
    scores = page.get_by_role("region", name="Scores, test")
    expect(scores.get_by_role("columnheader", name="BLEU")).to_be_visible()
    expect(scores.get_by_role("rowheader", name="transformer")).to_be_visible()
    assert page.locator("th:not([scope])").count() == 0
    expect(page.get_by_text("BLEU: by sacreBLEU.").first).to_be_visible()
    page.get_by_text("What the figures mean").click()
    expect(page.get_by_text("How often a difference this large")).to_be_visible()
    levels = page.locator("h1, h2, h3").evaluate_all("all => all.map(heading => Number(heading.tagName[1]))")
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))


def test_a_chart_shows_values_intervals_and_counts(reader: Reader) -> None:
    page = reader.open(some_data())
    chart = page.get_by_role("img", name="BLEU by source length (words)").first
    # 3 systems, 2 buckets that are not empty, the first with an interval
    assert chart.locator("title").count() == 6 and chart.locator(".whisker").count() == 3
    for text in ("1–10", "1,234", "21", "more", "0"):
        expect(chart.get_by_text(text, exact=True).first).to_be_visible()
    place = "line => ['y1', 'y2'].map(name => Number(line.getAttribute(name)))"
    low, high = chart.locator(".whisker").first.evaluate(place)
    middle = chart.locator("g path[transform]").first.evaluate("path => path.transform.baseVal[0].matrix.f")
    assert (low - middle) / (middle - high) == pytest.approx(1, abs=0.01)  # 50.5 lies in the middle of its interval
    figure = page.locator("figure").first
    figure.get_by_text("Figures as a table").click()
    cells = figure.get_by_role("row", name=re.compile("^1–10")).locator("td").all_text_contents()
    assert cells == ["1,234", *["50.5 (47.5 to 53.5)"] * 3]


def test_curves_switch_their_axes_and_say_so_in_the_address(reader: Reader) -> None:
    page = reader.open(some_data())
    curves = page.locator("#curves")
    expect(curves.get_by_role("img", name="BLEU over updates")).to_be_visible()
    assert curves.locator("title").first.text_content() == "rnn: 3 after 100 updates"
    page.get_by_label("loss").check()
    page.get_by_label("minutes").check()
    expect(curves.get_by_role("img", name="loss over minutes")).to_be_visible()
    assert curves.locator("title").first.text_content() == "rnn: 7 after 0.5 minutes"
    assert page.url.endswith("#y=loss&x=minutes")
    # Loss falls: further down on the page is a larger y.
    heights = (
        curves.locator("g")
        .first.locator("path[transform]")
        .evaluate_all("all => all.map(path => path.transform.baseVal[0].matrix.f)")
    )
    assert heights == sorted(heights) and len(set(heights)) == 10


def test_a_system_has_one_colour_and_shape_everywhere(reader: Reader) -> None:
    page = reader.open(some_data())
    for system, name in enumerate(NAMES):
        marks = page.locator(f".name:has-text('{name}')").evaluate_all(
            """(all, name) => all.filter(each => each.textContent === name).map(each =>
                getComputedStyle(each.querySelector("svg")).color + each.querySelector("path").getAttribute("d"))""",
            name,
        )
        assert len(marks) > 10 and len(set(marks)) == 1
        drawn = page.locator(f".chart .s{system} path[transform]").first
        assert drawn.evaluate("path => getComputedStyle(path).fill + path.getAttribute('d')") == marks[0]


def test_what_differs_from_the_reference_is_marked(reader: Reader) -> None:
    page = reader.open(some_data())
    rows = sentence(page, 1).locator(".text")
    assert [rows.nth(row).locator("mark").all_text_contents() for row in (2, 3, 4)] == [[], ["cat"], []]
    assert [rows.nth(row).locator(".gap").count() for row in (2, 3, 4)] == [0, 0, 1]  # "dog" is missing
    assert rows.nth(1).locator("u").count() == 0  # each word of the reference is in some translation
    assert sentence(page, 6).locator("mark").all_text_contents() == ["🐈", "family"]
    chinese = sentence(page, 3).locator(".text")
    assert chinese.nth(2).locator("mark").count() == 0 and chinese.nth(2).locator(".gap").count() == 1
    style = rows.nth(3).locator("mark").evaluate("mark => getComputedStyle(mark).textDecorationLine")
    assert style == "underline"  # seen without colours


def test_sentences_are_sorted(reader: Reader) -> None:
    data = some_data(20)
    page = reader.open(data)
    sentences = data["tests"][0]["sentences"]
    assert lines(page) == [each["line"] for each in sentences]

    def disagreement(each: dict[str, Any]) -> float:
        scores = [system["chrf"] for system in each["systems"]]
        return max(scores) - min(scores)

    page.get_by_label("Sort by").select_option("disagreement")
    assert lines(page) == [each["line"] for each in sorted(sentences, key=disagreement, reverse=True)]
    page.get_by_label("Sort by").select_option("length")
    assert lines(page) == [each["line"] for each in sorted(sentences, key=lambda each: each["words"])]
    page.get_by_label("Sort by").select_option("chrF++")
    page.get_by_label("Whose chrF++").select_option("rnn-deep")
    page.get_by_label("Order").select_option("highest first")
    scores = {each["line"]: each["systems"][1]["chrf"] for each in sentences}
    assert lines(page) == sorted(scores, key=lambda line: -scores[line])


def test_sentences_are_filtered_and_the_address_keeps_the_choice(reader: Reader) -> None:
    data = some_data(20)
    page = reader.open(data)
    count = page.locator("#count")
    expect(count).to_have_text("20 of 20 sentences")
    page.get_by_label("Lines, from").fill("4")
    page.get_by_label("Lines, to").fill("12")
    assert lines(page) == list(range(4, 13))
    page.get_by_label("Words, to").fill("3")
    page.get_by_label("Disagreement, from").fill("20")
    kept = lines(page)
    expect(count).to_have_text(f"{len(kept)} of 20 sentences")
    assert 0 < len(kept) < 9
    address = page.url
    page.get_by_role("link", name="Training").click()
    page.wait_for_url(address)  # the link is still one to these sentences
    for each in data["tests"][0]["sentences"]:
        scores = [system["chrf"] for system in each["systems"]]
        wanted = 4 <= each["line"] <= 12 and each["words"] <= 3 and max(scores) - min(scores) >= 20
        assert wanted == (each["line"] in kept)

    again = reader.open(data, "#" + page.url.partition("#")[2])
    assert lines(again) == kept
    assert again.get_by_label("Lines, from").input_value() == "4"
    again.get_by_role("button", name="Show all").click()
    expect(again.locator("#count")).to_have_text("20 of 20 sentences")
    assert "#" not in again.url
    again.get_by_role("combobox", name="Test set").select_option("long")
    expect(again.locator("#count")).to_have_text("3 of 3 sentences")
    reader.open(data, "#sort=nonsense&of=9&words-from=x")  # is no error


def test_search_finds_words_in_all_texts(reader: Reader) -> None:
    page = reader.open(some_data())
    searches = {"HUND": [1], "家里": [3], "المنزل": [5], "sleeps cat": [1], "</SCRIPT>": [7], "nowhere": []}
    for typed, expected in searches.items():
        page.keyboard.press("/")
        page.keyboard.press("ControlOrMeta+A")
        page.keyboard.type(typed)
        assert lines(page) == expected
        found = page.evaluate("[...CSS.highlights.get('found')].map(range => range.toString().toLowerCase())")
        assert set(found) == (set(typed.lower().split()) if expected else set())
        page.keyboard.press("Escape")


@pytest.mark.parametrize("by", ["pointer", "keys"])
def test_a_word_lights_up_its_counterparts_in_all_systems(reader: Reader, by: str) -> None:
    page = reader.open(some_data())

    def reach(row: int, text: str) -> None:
        target = word(page, 1, row, text)
        if by == "pointer":
            target.hover()
            return
        sentence(page, 1).focus()
        for _ in range(20):
            page.keyboard.press("ArrowRight")
            if target.evaluate("word => word === document.activeElement"):
                return
        raise AssertionError(f"{text} was not reached")

    reach(0, "Der")  # linked to the first word with 90, to the second with 20
    assert lit(page) == [(2, "The", 90), (2, "dog", 20), (3, "The", 90), (3, "cat", 20)]
    strengths = page.locator(".lit").evaluate_all("all => all.map(word => getComputedStyle(word).backgroundColor)")
    assert strengths[0] == strengths[2] != strengths[1] == strengths[3]
    reach(3, "cat")  # comes from Hund and a little from Der: so the other system's words of these
    assert lit(page) == [(0, "Der", 20), (0, "Hund", 80), (2, "The", 18), (2, "dog", 64)]
    if by == "keys":
        page.keyboard.press("Escape")
    else:
        page.locator("h1").hover()
    assert lit(page) == []


def test_a_source_cut_otherwise_is_linked_by_its_letters(reader: Reader) -> None:
    data = some_data()
    alignment = data["tests"][0]["sentences"][0]["systems"][1]["alignment"]
    alignment |= {"source": ["Der Hund", " schläft."], "links": [[0, 2, 50]]}
    page = reader.open(data)
    word(page, 1, 3, "cat").hover()
    assert [each for each in lit(page) if each[0] == 0] == [(0, "Der", 50), (0, "Hund", 50)]


def test_keys_move_between_sentences_and_words(reader: Reader) -> None:
    page = reader.open(some_data())

    def focused() -> str:
        return page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent")

    for key, expected in [("j", "Line 1,"), ("j", "Line 2,"), ("ArrowDown", "Line 3,"), ("k", "Line 2,")]:
        page.keyboard.press(key)
        assert focused().startswith(expected)
    for key in ("j", "j", "j"):
        page.keyboard.press(key)
    page.keyboard.press("ArrowLeft")
    assert focused() == "الكلب"
    page.keyboard.press("ArrowLeft")  # the next word of a text that runs to the left
    assert focused() == "ينام"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("/")
    page.keyboard.type("jk")
    assert page.get_by_label("Search").input_value() == "jk"
    for _ in "jk":
        page.keyboard.press("Backspace")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement === document.body")
    assert page.locator("article[tabindex='0']").count() == 1  # one stop of Tab for all sentences


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_and_the_toggle_and_can_be_read(reader: Reader, scheme: str) -> None:
    page = reader.open(some_data(), color_scheme=scheme)
    toggle = page.get_by_role("button", name="Dark")
    before = background(page)
    assert toggle.get_attribute("aria-pressed") == str(scheme == "dark").lower()
    toggle.click()
    assert background(page) != before
    assert toggle.get_attribute("aria-pressed") == str(scheme == "light").lower()
    toggle.click()
    assert background(page) == before
    open_heatmaps(page, 1)
    point(panel(page, 1, 0), 0, 0)
    word(page, 1, 0, "Der").hover()
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 200 and min(contrasts)[0] >= 4.5, min(contrasts)


def test_a_narrow_screen_does_not_scroll_sideways(reader: Reader) -> None:
    data = some_data()
    data["systems"][2]["name"] = "a-transformer-of-a-very-long-name-and-then-some-more"
    data["tests"][0]["sentences"][0]["source"] += "ß" * 300
    data["tests"][0]["scores"] = {
        "columns": [{"title": f"column {i}", "help": "", "number": True} for i in range(12)],
        "rows": [[f"figure {i}" for i in range(12)]],
    }
    for test in data["tests"]:
        for series in test["buckets"][0]["series"]:
            series["name"] = series["name"].replace("transformer", data["systems"][2]["name"], 1)
    page = reader.open(data, viewport={"width": 360, "height": 700})
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    choose(page, layer="all", head="all")
    sentence(page, 1).scroll_into_view_if_needed()
    expect(sentence(page, 1).locator("svg.panel")).to_have_count(9)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    scores = page.get_by_role("region", name="Scores, test")
    assert scores.evaluate("box => box.scrollWidth > box.clientWidth")  # the table scrolls within itself
    assert sentence(page, 2).evaluate("box => box.scrollWidth <= box.clientWidth")


def test_a_thousand_sentences_are_drawn_as_they_are_reached(reader: Reader) -> None:
    page = reader.open(some_data(1000))
    expect(page.locator("#count")).to_have_text("1,000 of 1,000 sentences")
    first = len(lines(page))
    assert first < 100
    page.get_by_label("Lines, from").fill("990")
    assert lines(page) == list(range(990, 1001))
    expect(page.locator("#more")).to_be_hidden()
    page.get_by_label("Lines, from").fill("")
    assert len(lines(page)) < 200
    sentence(page, first).focus()
    expect(sentence(page, first + 1)).to_be_attached()
    page.keyboard.press("j")
    expect(sentence(page, first + 1)).to_be_focused()
    page.get_by_label("Lines, from").fill("851")
    for _ in range(200):  # however fast one scrolls, the end comes
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        if page.locator("#more").is_hidden():
            break
    assert lines(page) == list(range(851, 1001))
    page.get_by_label("Lines, from").fill("801")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert lines(page) == list(range(801, 1001))  # paper does not scroll


def test_one_system_without_curves_or_alignments_is_a_page_too(reader: Reader) -> None:
    data = some_data()
    data["systems"], data["curves"], data["runs"]["rows"], data["notes"] = data["systems"][:1], [], [], []
    data["tests"] = data["tests"][:1]
    test = data["tests"][0]
    test |= {"differences": None, "buckets": [], "ngrams": []}
    for each in test["sentences"]:
        each["systems"] = [each["systems"][0] | {"alignment": None, "heatmap": None}]
    page = reader.open(data)
    assert texts(page, 1) == ["Der Hund schläft.", "The dog sleeps.", "The dog sleeps."]
    expect(page.get_by_role("heading", name="Training")).to_be_hidden()
    for label in ("Test set", "Whose chrF++", "Disagreement", "Heatmaps"):
        expect(page.locator("#choices").get_by_text(label, exact=True)).to_be_hidden()
    expect(page.locator("#readings")).to_be_hidden()
    expect(page.get_by_text("That is not yet an alignment")).to_be_hidden()
    page.keyboard.press("j")
    page.keyboard.press("ArrowRight")  # no word to go to
    page.keyboard.press("h")  # no heatmap either
    assert page.locator(".word, .heatmaps").count() == 0


# ---- heatmaps


@pytest.mark.parametrize("units", ["words", "pieces"])
@pytest.mark.parametrize("choice", [(None, None, 0), (1, None, 1), (2, None, 0), (2, 3, 0), (2, 3, 1)])
def test_heatmaps_show_the_weights_of_python(
    reader: Reader, units: str, choice: tuple[int | None, int | None, int]
) -> None:
    page = reader.open(some_data(), "#heatmaps=open")
    layer, head, shift = choice
    choose(page, units=units)
    if layer is not None:
        choose(page, layer=str(layer), head=str(head or "mean"), shift=str(shift))
    for line in range(1, len(PAIRS) + 1):
        sentence(page, line).scroll_into_view_if_needed()
        for system in (0, 1):
            every = readings_of(*ATTENTIONS[system])
            own = every.index((layer, head, shift if layer else None)) if (layer, head, shift) in every else 0
            expected = weights(line, system, own, by_words=units == "words")
            shown = panel(page, line, system)
            expect(shown).to_have_attribute("aria-label", re.compile(f" {len(expected)} rows"))
            np.testing.assert_allclose(matrix(drawn(shown), expected), expected, atol=0.0051)
            if layer is not None and own == 0:
                expect(sentence(page, line).locator("figcaption").nth(system)).to_contain_text("as its links are read")


def test_a_heatmap_is_of_the_systems_own_translation_in_any_script(reader: Reader) -> None:
    page = reader.open(some_data(), "#heatmaps=open")
    for line, (source, _, translations) in enumerate(PAIRS, 1):
        sentence(page, line).scroll_into_view_if_needed()
        expect(sentence(page, line).locator("svg.panel")).to_have_count(2)
        for system in (0, 1):
            shown = drawn(panel(page, line, system))
            short = [text if len(text) <= 18 else f"{text[:18]}…" for text in split_words(source).texts]
            assert shown["columns"] == [*short, "</s>"]
            assert shown["rows"] == split_words(translations[system]).texts
        expect(sentence(page, line).locator(".lacking")).to_have_text(f"transformer{LACKING}")
    assert page.evaluate("document.scripts.length") == 2
    expect(page.get_by_text("That is not yet an alignment")).to_be_visible()


def test_heatmaps_are_drawn_when_they_are_opened(reader: Reader) -> None:
    data = some_data()
    for each in data["tests"][0]["sentences"][3:]:
        each["systems"] = [system | {"heatmap": None} for system in each["systems"]]
    page = reader.open(data)
    assert page.locator("article svg.panel").count() == 0
    expect(page.locator("#readings")).to_be_hidden()  # nothing is there to choose for
    open_heatmaps(page, 2)
    expect(page.locator("#readings")).to_be_visible()
    assert page.locator("article svg.panel").count() == 2 == sentence(page, 2).locator("svg.panel").count()
    places = [box["x"] for box in (panel(page, 2, i).bounding_box() for i in (0, 1)) if box]
    assert places[0] < places[1]  # beside each other
    heatmaps(page, 2).get_by_text("Heatmaps", exact=True).click()
    expect(panel(page, 2, 0)).to_be_hidden()
    assert heatmaps(page, 4).count() == 0 and len(lines(page)) == 7
    choose(page, heatmaps="open")
    expect(page.locator("article svg.panel")).to_have_count(6)
    choose(page, heatmaps="only")
    assert lines(page) == [1, 2, 3]
    expect(page.locator("article svg.panel")).to_have_count(6)
    assert page.url.endswith("#heatmaps=only")
    choose(page, heatmaps="closed")
    expect(page.locator("article svg.panel:visible")).to_have_count(0)
    again = reader.open(some_data())
    assert again.locator("[name=heatmaps] option").all_text_contents() == ["closed", "open"]  # all have them


def test_other_heatmaps_are_chosen_where_one_reads(reader: Reader) -> None:
    page = reader.open(some_data(40))
    sentence(page, 25).focus()
    page.keyboard.press("h")
    before = sentence(page, 25).bounding_box()
    choose(page, layer="2", head="2", shift="1")
    expected = weights(25, 1, readings_of(2, 3).index((2, 2, 1)), by_words=True)
    expect(sentence(page, 25).locator("figcaption").nth(1)).to_contain_text("layer 2, head 2, shift 1")
    np.testing.assert_allclose(matrix(drawn(panel(page, 25, 1)), expected), expected, atol=0.0051)
    assert sentence(page, 25).bounding_box() == before
    choose(page, layer="all", head="all")
    expect(sentence(page, 25).locator("svg.panel")).to_have_count(1 + 2 * 4)  # mean and heads of two layers
    expected = weights(25, 1, readings_of(2, 3).index((2, 3, 1)), by_words=True)
    np.testing.assert_allclose(matrix(drawn(panel(page, 25, 8)), expected), expected, atol=0.0051)
    address = page.url.partition("#")[2]
    assert address == "layer=all&head=all&shift=1"
    again = reader.open(some_data(40), f"#{address}")
    open_heatmaps(again, 1)
    expect(sentence(again, 1).locator("svg.panel")).to_have_count(9)
    choose(again, layer="own")
    expect(again.locator("[name=head]")).to_be_disabled()
    expect(sentence(again, 1).locator("svg.panel")).to_have_count(2)
    reader.open(some_data(), "#heatmaps=nonsense&layer=7&units=x")  # is no error


def test_a_weight_is_told_under_the_pointer(reader: Reader) -> None:
    page = reader.open(some_data(), "#layer=2&head=all")
    open_heatmaps(page, 5)
    own = [weights(5, 1, readings_of(2, 3).index((2, head, 0)), by_words=True) for head in (None, 1, 2, 3)]
    point(panel(page, 5, 2), 1, 2)  # of the second system the first head: the second word, the third of the source
    expect(page.locator("#tip")).to_have_text(f"في → في {own[1][1, 2]:.2f}")
    found = sentence(page, 5).locator("figcaption .value").all_text_contents()
    assert found == ["", *(f"{each[1, 2]:.2f}" for each in own)]  # the first system has written something else
    assert [drawn(panel(page, 5, place))["cursor"] for place in range(5)] == [None, *[[1, 2]] * 4]
    assert panel(page, 5, 0).locator("text.here").all_text_contents() == ["في"]  # but has read the same
    places = """[...CSS.highlights.get("here")].map(range =>
        [[...document.querySelectorAll("article:nth-of-type(5) .text")].findIndex(box =>
            box.contains(range.startContainer)), range.toString()])"""
    assert page.evaluate(places) == [[0, "في"], [3, "في"]]
    assert lit(page) == []
    word(page, 5, 0, "الكلب").hover()  # words light up as they do without heatmaps
    assert [row for row, _, _ in lit(page)] == [2, 2, 3, 3]
    expect(page.locator("#tip")).to_be_hidden()
    assert page.evaluate("CSS.highlights.has('here')") is False


def test_keys_lead_through_heatmaps(reader: Reader) -> None:
    page = reader.open(some_data())
    tip = page.locator("#tip")
    page.keyboard.press("j")
    page.keyboard.press("h")
    expect(panel(page, 1, 0)).to_be_focused()
    expect(tip).to_contain_text("Der → The")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowUp"):  # the last leads nowhere
        page.keyboard.press(key)
    expect(tip).to_have_text(f"Hund → The {weights(1, 0, 0, by_words=True)[0, 1]:.2f}")
    page.keyboard.press("Tab")
    expect(panel(page, 1, 1)).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(tip).to_have_text(f"Hund → cat {weights(1, 1, 0, by_words=True)[1, 1]:.2f}")
    page.keyboard.press("Escape")
    expect(sentence(page, 1)).to_be_focused()
    expect(tip).to_be_hidden()
    page.keyboard.press("ArrowRight")  # words, as without heatmaps
    expect(word(page, 1, 0, "Der")).to_be_focused()
    page.keyboard.press("h")
    expect(panel(page, 1, 0)).to_be_hidden()
    expect(sentence(page, 1)).to_be_focused()


def test_a_thousand_sentences_draw_the_heatmaps_that_are_seen(reader: Reader) -> None:
    page = reader.open(some_data(1000), "#heatmaps=open&layer=all&head=all")
    sentence(page, 1).scroll_into_view_if_needed()
    expect(panel(page, 1, 0)).to_be_visible()
    assert page.locator("article:has(svg.panel)").count() < len(lines(page))
    page.get_by_label("Lines, from").fill("981")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("article:has(svg.panel)").count() == len(lines(page)) == 20  # paper does not scroll


# ---- what an evaluation puts on it


def evaluated(give: Any, out: Path, *words: str) -> dict[str, Any]:
    """What the page of an evaluation shows."""
    assert give("evaluate", *words, "--heatmaps", "0", "--out", str(out)).code == 0
    page = Scripts((out / "report.html").read_text(encoding="utf-8"))
    found: dict[str, Any] = json.loads(next(text for text in page.data if text.startswith('{"title"')))
    return found


def bytes_in(each: dict[str, Any]) -> int:
    """How many weights a sentence holds."""
    found = [system["heatmap"] for system in each["systems"] if system["heatmap"]]
    return sum(len(base64.b64decode(own[key])) for own in found for key in ("own", "attention"))


def disagreement(each: dict[str, Any]) -> float:
    found = [system["chrf"] for system in each["systems"]]
    return max(found) - min(found)


def test_heatmaps_hold_what_the_translator_gives(place: Place, give: Any, tmp_path: Path) -> None:
    data = evaluated(give, tmp_path, "runs/rnn", "runs/plain", "runs/transformer")
    assert [(each["layers"], each["heads"]) for each in data["systems"]] == [(1, 1), (0, 0), (2, 2)]
    assert data["systems"][1]["lacking"] == "This model has no attention." and data["systems"][1]["readings"] == []
    for system, name in ((0, "rnn"), (2, "transformer")):
        translator = Translator.load(Run(place.path / "runs" / name), "best", torch.device("cpu"), lambda message: None)
        names = [reading["name"] for reading in data["systems"][system]["readings"]]
        assert names[0] == str(translator.extraction) in names[1:]
        for test in data["tests"]:
            assert all(each["systems"][1]["heatmap"] is None for each in test["sentences"])
            sources = [each["source"] for each in test["sentences"]]
            translations = translator.translate(sources)
            aligned = translator.align_translations(list(map(split_words, sources)), translations, "punctuation")
            written = [translator.subwords.target.decode_pieces(translation.ids) for translation in translations]
            read = list(map(translator.subwords.source.encode_pieces, sources))
            attentions: dict[int, list[np.ndarray]] = defaultdict(list)  # of a row each layer's
            for _, row, own, _ in translator.attentions(list(zip(read, written, strict=True))):
                attentions[row].append(own)
            for row, (each, attention) in enumerate(zip(test["sentences"], aligned, strict=True)):
                text, part = each["systems"][system]["text"], each["systems"][system]["heatmap"]
                lines = zip(part["pieces"], (each["source"], text), strict=True)
                source, target = (Pieces([0] * len(own), own, line) for own, line in lines)
                words = Words(each["source"], part["words"][0]), Words(text, part["words"][1])
                own = np.frombuffer(base64.b64decode(part["own"]), np.uint8)
                own = own.reshape(len(target.ids), len(source.ids) + 1) / 255
                found = to_words(own, source, target, words).weights
                np.testing.assert_allclose(found, attention.weights, atol=(1 + len(source.ids)) / 510 + 1e-6)
                expected = np.stack(attentions[row])
                every = np.frombuffer(base64.b64decode(part["attention"]), np.uint8).reshape(expected.shape)
                np.testing.assert_allclose(every / 255, expected, atol=1 / 510 + 1e-6)


def test_heatmaps_are_of_those_that_tell_the_systems_apart(
    place: Place, give: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = "runs/rnn", "runs/transformer"
    data = evaluated(give, tmp_path, *runs)
    assert not any("heatmaps" in note for note in data["notes"])
    full = [test["sentences"] for test in data["tests"]]
    assert all(bytes_in(each) for each in full[0])
    most = sum(map(bytes_in, full[0]))  # half of it for each of two test sets
    monkeypatch.setattr("nmt.report.MOST_BYTES", most)
    data = evaluated(give, tmp_path, *runs)
    held = [sum(map(bytes_in, test["sentences"])) for test in data["tests"]]
    assert 0 < held[0] <= most / 2 and 0 < held[1] <= most - held[0]
    chosen = [any(system["heatmap"] for system in each["systems"]) for each in data["tests"][0]["sentences"]]
    for each, has in zip(full[0], chosen, strict=True):
        before = [
            other
            for other, own in zip(full[0], chosen, strict=True)
            if own and (-disagreement(other), other["line"]) < (-disagreement(each), each["line"])
        ]
        # What is left out would not fit behind those on which the systems disagree more.
        assert has == (sum(map(bytes_in, before)) + bytes_in(each) <= most // 2)
    said = "plain: heatmaps of {} of 25 sentences, those {}"
    assert said.format(sum(chosen), "on which the systems disagree most") in data["notes"]
    data = evaluated(give, tmp_path, "runs/rnn", "--test", "plain")
    assert data["notes"] == []  # the rnn alone holds less
    monkeypatch.setattr("nmt.report.MOST_BYTES", most // 20)
    data = evaluated(give, tmp_path, "runs/rnn", "--test", "plain")
    chosen = [bytes_in(each) > 0 for each in data["tests"][0]["sentences"]]
    assert said.format(sum(chosen), "that come first") in data["notes"] and chosen[0] and not all(chosen)


def test_a_file_of_translations_has_no_heatmap(place: Place, give: Any, tmp_path: Path) -> None:
    data = evaluated(give, tmp_path, "runs/rnn", "--test", "plain", "--system", "other=plain.en")
    assert data["systems"][1]["lacking"] == LACKING
    for each in data["tests"][0]["sentences"]:
        assert each["systems"][0]["heatmap"] and each["systems"][1]["heatmap"] is None
    data = evaluated(give, tmp_path, "runs/plain", "--test", "plain")
    assert data["notes"] == [] and not any(map(bytes_in, data["tests"][0]["sentences"]))
