"""Heatmaps: what is seen is what was given, and nothing written is lost."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from nmt.config import InputError
from nmt.plotting import NONE, WORDS, Panel, draw_heatmaps, save_figure

CAPTION = "Where the model looked when it predicted each word; not yet an alignment."
SOURCE = ["Gestern", "hat", "er", "Äpfel", "gekauft"]
TARGET = ["yesterday", "he", "bought", "apples"]
LOOKED = [0, 2, 4, 3]  # at the last word for the third: not monotone
STRANGE = ["$x_1$", "$", "\\frac{1", "a_b^c", "</script>", "--", "&amp;", "😀", "e\u0301", "%", "{}", "#"]


def some_weights(looked: Sequence[int], sources: int) -> np.ndarray:
    """Weights that are high where the model looked, and differ everywhere."""
    weights = np.random.default_rng(0).uniform(0.1, 0.3, size=(len(looked), sources + 1))
    weights[np.arange(len(looked)), looked] += 3
    return weights / weights.sum(axis=1, keepdims=True)


def some_panel(title: str = "runs/a, shift 0") -> Panel:
    return Panel(title, SOURCE, TARGET, some_weights(LOOKED, len(SOURCE)).tolist())


def words_of(labels: Sequence[Text]) -> list[str]:
    return [label.get_text() for label in labels]


def drawn_weights(axes: Axes) -> np.ndarray:
    """The weights that an eye finds in the row and the column of each pair of labels."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].astype(int)
    weights = np.zeros((len(axes.get_yticks()), len(axes.get_xticks())))
    for row, y in enumerate(axes.get_yticks()):
        for column, x in enumerate(axes.get_xticks()):
            across, up = axes.transData.transform((x, y))
            colour = pixels[len(pixels) - 1 - int(up), int(across)]
            colours = WORDS if column < weights.shape[1] - 1 else NONE
            scale = colours(np.linspace(0, 1, 256), bytes=True)[:, :3].astype(int)
            weights[row, column] = np.abs(scale - colour).sum(axis=1).argmin() / 255
    return weights


def texts_of(figure: Figure) -> Iterator[Text]:
    yield from figure.texts
    for axes in figure.axes:
        yield from (*axes.get_xticklabels(), *axes.get_yticklabels())


def assert_all_is_on_the_page(figure: Figure) -> None:
    renderer = FigureCanvasAgg(figure).get_renderer()
    page = figure.bbox.padded(1)
    for text in texts_of(figure):
        box = text.get_window_extent(renderer)
        assert page.x0 <= box.x0 <= box.x1 <= page.x1 and page.y0 <= box.y0 <= box.y1 <= page.y1, text


def test_the_picture_shows_the_weights() -> None:
    panel = some_panel()
    figure = draw_heatmaps([panel], CAPTION)
    axes = figure.axes[0]
    assert words_of(axes.get_yticklabels()) == TARGET  # a row a target word
    assert words_of(axes.get_xticklabels()) == [*SOURCE, "</s>"]

    data = np.hstack([np.asarray(mesh.get_array()) for mesh in axes.collections])
    np.testing.assert_array_equal(data, panel.weights)
    seen = drawn_weights(axes)
    np.testing.assert_allclose(seen, panel.weights, atol=0.02)  # 8 bits a colour
    assert seen.argmax(axis=1).tolist() == LOOKED
    for axis in (0, 1):  # a map shifted by one is another map
        assert np.abs(np.roll(data, 1, axis) - panel.weights).max() > 0.1
        assert np.abs(np.roll(seen, 1, axis) - panel.weights).max() > 0.1


def test_cells_are_square_and_words_stand_by_them() -> None:
    figure = draw_heatmaps([some_panel()], CAPTION)
    axes = figure.axes[0]
    renderer = FigureCanvasAgg(figure).get_renderer()
    to_pixels = axes.transData.transform
    cell = Bbox(to_pixels([(0, 1), (1, 0)]))
    assert cell.width == pytest.approx(cell.height)
    for row, label in enumerate(axes.get_yticklabels()):
        box = label.get_window_extent(renderer)
        (edge, upper), (_, lower) = to_pixels([(0, row), (0, row + 1)])
        assert lower < box.y0 and box.y1 < upper
        assert edge - cell.width / 2 < box.x1 < edge
    for column, label in enumerate(axes.get_xticklabels()):
        box = label.get_window_extent(renderer)
        middle, upper = to_pixels((axes.get_xticks()[column], 0))
        assert abs(box.x0 - middle) < cell.width / 2
        assert upper < box.y0 < upper + cell.height / 2
    words, none = (mesh.get_datalim(axes.transData) for mesh in axes.collections)
    assert words.x1 < none.x0  # </s> stands apart


def test_strange_words_are_neither_read_as_mathematics_nor_lost() -> None:
    long_word = "https://example.org/" + "ever/" * 20
    panels = [
        Panel("$a_b$ of </script>", [*STRANGE, long_word], STRANGE, some_weights(range(12), 13).tolist()),
        Panel(f"runs/{long_word}", ["a\x0bb"], ["a\nb"], some_weights([0], 1).tolist()),
    ]
    figure = draw_heatmaps(panels, f"{CAPTION} $ $")
    assert words_of(figure.axes[0].get_xticklabels()) == [*STRANGE, long_word, "</s>"]
    assert words_of(figure.axes[0].get_yticklabels()) == STRANGE
    assert words_of(figure.axes[1].get_yticklabels()) == ["a\ufffdb"]
    assert not any(text.get_parse_math() for axes in figure.axes[:2] for text in axes.get_yticklabels())
    written = "".join(words_of(figure.texts)).replace(" ", "")
    assert written == "".join([panels[0].title, panels[1].title, CAPTION, "$$"]).replace(" ", "")
    assert_all_is_on_the_page(figure)


def test_panels_stand_side_by_side_and_one_without_weights_says_why() -> None:
    note = "This model has no attention to draw."
    panels = [some_panel("a " * 60), Panel("runs/b", SOURCE, ["he", "did"], [], note), some_panel("runs/c")]
    figure = draw_heatmaps(panels, CAPTION)
    first, second, third = figure.axes[:3]
    assert words_of(second.get_yticklabels()) == ["he", "did"]
    assert not second.collections and not words_of(second.get_xticklabels())
    assert note in " ".join(words_of(figure.texts))
    places = [axes.get_position() for axes in (first, second, third)]
    assert places[0].x1 < places[1].x0 < places[1].x1 < places[2].x0
    assert places[0].y1 == pytest.approx(places[1].y1) == pytest.approx(places[2].y1)
    assert_all_is_on_the_page(figure)


@pytest.mark.parametrize("sources", [0, 1, 60])
def test_the_page_grows_with_the_sentence(sources: int) -> None:
    looked = [0] * max(sources, 1)
    words = [f"word{i}" for i in range(len(looked))]
    figure = draw_heatmaps([Panel("", words[:sources], words, some_weights(looked, sources).tolist())], "")
    axes = figure.axes[0]
    width = axes.get_position().width * figure.get_figwidth()
    assert width == pytest.approx((sources + 1.4) * 0.235)
    assert_all_is_on_the_page(figure)


def test_nothing_to_draw_is_still_a_page(tmp_path: Path) -> None:
    save_figure(draw_heatmaps([Panel("nothing", [], [], [])], ""), tmp_path / "nothing.png")


def test_missing_characters_are_told_once(tmp_path: Path) -> None:
    nowhere = "\U000130ff\U00014400"  # hieroglyphs of two scripts
    panel = Panel("", [nowhere, "a"], [nowhere], some_weights([0], 2).tolist())
    with pytest.warns(UserWarning, match="No installed font can show \U000130ff \U00014400") as caught:
        figure = draw_heatmaps([panel], "")
    assert len(caught) == 1
    with warnings.catch_warnings(action="error"):
        save_figure(figure, tmp_path / "picture.svg")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_picture_has_the_same_bytes(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for year, path in enumerate(paths):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(year * 31_556_952))  # the time, as matplotlib is told it
        save_figure(draw_heatmaps([some_panel("</script> -- \x0b")], CAPTION), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths
    if suffix == ".svg":
        ElementTree.parse(paths[0])


def test_a_picture_needs_a_known_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"picture\.jpg .* must end in \.png, \.svg, \.pdf"):
        save_figure(draw_heatmaps([some_panel()], ""), tmp_path / "picture.jpg")
    assert not list(tmp_path.iterdir())
