"""Heatmaps of attention, and curves of trainings; the only file that imports matplotlib.

Heatmaps are laid out in inches from the measured width of the words, and the page grows with the sentence: cells
and print keep their size, be it 5 words or 50.
"""

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.textpath import text_to_path
from matplotlib.ticker import EngFormatter

from nmt.config import InputError
from nmt.lines import written_aside

# Asked in this order for each character: the first comes with matplotlib, the others if they are installed.
FAMILIES = """DejaVu Sans, Noto Sans, Noto Sans CJK JP, Noto Sans CJK SC, Noto Sans Arabic, Noto Sans Hebrew,
Noto Sans Devanagari, Noto Sans Bengali, Noto Sans Tamil, Noto Sans Thai, Hiragino Sans, Microsoft YaHei,
Arial Unicode MS, Noto Emoji""".replace("\n", " ").split(", ")
UNDATED: dict[str, dict[str, None]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
# Colours of weights on words and on </s>, from 0 to 1. Both begin at white: magma_r alone begins at a yellow
# that would fill the page, as most weights are near 0. Lightness still falls all the way.
FADE = np.minimum(np.linspace(0, 1, 256) / 0.15, 1)[:, None]
WORDS = ListedColormap(1 - FADE * (1 - matplotlib.colormaps["magma_r"](np.arange(256))[:, :3]))
NONE = matplotlib.colormaps["Greys"]
INK, GREY, GRID = "0.1", "0.45", "0.87"  # greys of words, of small print, and of the lines between cells
WORD, TITLE, PRINT = 9.0, 10.0, 7.5  # type, in points: words, titles, small print
HAIR = 0.4  # points: a line between cells
TILT = math.radians(60)  # of source words: read without turning the head, and yet narrower than a cell

# Inches, as is all below that says neither points nor cells.
CELL = 0.235
APART = 0.4 * CELL  # from the last word to </s>
TICK = 0.05  # from a word to its cells
MARGIN = 0.15
GAP = 0.08  # from the title to the words
BETWEEN = 0.45  # from panel to panel
NARROWEST = 2.3  # a panel, as its title needs room
BAR, BAR_HEIGHT = 0.1, 0.94  # colour bar


# Told apart with any kind of sight (Okabe & Ito 2008), the best seen on white first.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
CURVES = 3.2  # inches, the height of a picture of curves; each is 1.4 times as wide

Over = Literal["updates", "tokens", "minutes"]


@dataclass(frozen=True)
class Curve:
    """How a training went, a point a validation."""

    name: str  # of the system: curves of one name share a colour
    over: Sequence[float]  # updates, tokens or minutes
    bleu: Sequence[float]
    nats_per_character: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """One system's translation of a sentence, and where the model looked."""

    title: str  # which run, layer, head and shift; may be long
    source_words: Sequence[str]
    target_words: Sequence[str]
    # (target words, source words + 1), rows sum to 1, the last column is </s>; or empty
    weights: Sequence[Sequence[float]]
    note: str = ""  # said in place of weights, where there are none


@dataclass(frozen=True)
class _Box:
    """The room a panel takes."""

    title: list[str]  # wrapped
    note: list[str]  # wrapped
    width: float  # of all
    left: float  # of the target words
    head: float  # height of the source words, and from the title to them
    across: float  # width of the cells
    depth: float  # height of the cells


def draw_heatmaps(panels: Sequence[Panel], caption: str) -> Figure:
    """The panels side by side above their caption; source words on top, target words at left, `</s>` in grey.

    Warns, in one sentence, of characters that no installed font can show.
    """
    texts = [(panel.title, panel.note, *panel.source_words, *panel.target_words) for panel in panels]
    _warn_of_missing({character for text in (caption, *chain(*texts)) for character in text})
    boxes = [_measure(panel) for panel in panels]
    starts = [MARGIN + sum(box.width + BETWEEN for box in boxes[:i]) for i in range(len(boxes))]
    bar = starts[-1] + boxes[-1].left + boxes[-1].across + 2 * APART
    width = max(starts[-1] + boxes[-1].width, bar + 2 * BAR + TICK + _width(["0.5"], PRINT)) + MARGIN
    width = max(width, _width(_pieces(caption), PRINT) + 2 * MARGIN)
    small_print = _wrap(caption, PRINT, width - 2 * MARGIN)
    top = MARGIN + max(_height(box.title, TITLE) for box in boxes) + max(box.head for box in boxes)
    bottom = top + max(BAR_HEIGHT, *(box.depth for box in boxes)) + MARGIN
    figure = Figure((width, bottom + _height(small_print, PRINT) + MARGIN), facecolor="white")

    for panel, box, start in zip(panels, boxes, starts, strict=True):
        axes = _axes(figure, start + box.left, top, box.across, box.depth)
        axes.set(xlim=(0, box.across / CELL), ylim=(box.depth / CELL, 0))
        _label(axes.yaxis, np.arange(len(panel.target_words)) + 0.5, panel.target_words)
        if len(panel.weights):
            _draw_weights(axes, panel)
        _write(figure, start, MARGIN, box.title, TITLE, INK)
        _write(figure, start + box.left + APART, top + (CELL - _height([""], WORD)) / 2, box.note, WORD, GREY)
    _write(figure, MARGIN, bottom, small_print, PRINT, GREY)
    if any(len(panel.weights) for panel in panels):
        for i, colours in enumerate((WORDS, NONE)):
            axes = _axes(figure, bar + i * BAR, top, BAR, BAR_HEIGHT)
            axes.set(frame_on=True)
            axes.spines[:].set(color=GRID, linewidth=HAIR)
            axes.pcolormesh(np.linspace(0, 1, 256)[:, None], cmap=colours)
        axes.set_yticks([0, 128, 256], ["0", "0.5", "1"], fontproperties=_font(PRINT), color=GREY)
        axes.yaxis.tick_right()
    return figure


def draw_curves(curves: Sequence[Curve], over: Over) -> Figure:
    """BLEU and nats a character on the validation set, side by side; a colour a system."""
    names = list(dict.fromkeys(curve.name for curve in curves))
    titles = {"updates": "updates", "tokens": "target tokens trained on", "minutes": "minutes of training"}
    figure = Figure((2 * 1.4 * CURVES, CURVES), facecolor="white", layout="constrained")
    figures = [("BLEU", [curve.bleu for curve in curves])]
    figures += [("nats a reference character", [curve.nats_per_character for curve in curves])]
    for axes, (title, columns) in zip(figure.subplots(1, 2), figures, strict=True):
        for curve, values in zip(curves, columns, strict=True):
            place = names.index(curve.name)
            # Beyond as many systems as colours, another stroke.
            stroke = ("-", "--", ":")[place // len(COLOURS) % 3]
            first = curve is next(other for other in curves if other.name == curve.name)
            label = _shown([curve.name])[0] if first else None
            axes.plot(curve.over, values, stroke, color=COLOURS[place % len(COLOURS)], marker=".", label=label)
        axes.set_title(f"Validation: {title}", fontproperties=_font(TITLE), loc="left", color=INK)
        axes.set_xlabel(titles[over], fontproperties=_font(WORD), color=INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=GRID, linewidth=HAIR)
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.set_xlim(left=0)
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            label.set(fontproperties=_font(PRINT), color=GREY)
    axes.legend(prop=_font(WORD), frameon=False)
    for text in axes.get_legend().get_texts():
        text.set(parse_math=False)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture as .png, .svg or .pdf, as it is named; the same figure gives the same bytes."""
    kind = path.suffix.lower()
    if kind not in UNDATED:
        raise InputError(f"{path.absolute()} cannot be drawn: its name must end in {', '.join(UNDATED)}.")
    with written_aside(path) as file, matplotlib.rc_context({"svg.hashsalt": "nmt"}), _quiet():
        figure.savefig(file, format=kind[1:], dpi=150, metadata=UNDATED[kind])


def png_of(figure: Figure) -> bytes:
    """A picture as the bytes of a PNG."""
    file = BytesIO()
    with _quiet():
        figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _measure(panel: Panel) -> _Box:
    left = _width(_shown(panel.target_words), WORD) + TICK
    across, head, note = NARROWEST, GAP, _wrap(panel.note, WORD, NARROWEST - APART)
    right = left + across
    if len(panel.weights):
        across, note = (len(panel.source_words) + 1) * CELL + APART, []
        spans = [_width([word], WORD) for word in (*_shown(panel.source_words), "</s>")]
        head += max(spans) * math.sin(TILT) + WORD / 72 + TICK
        # The last words reach over the right edge of the cells.
        ends = [(i + 0.5) * CELL + APART + span * math.cos(TILT) for i, span in enumerate(spans)]
        right = left + max(across, *ends)
    width = max(right, NARROWEST, _width(_pieces(panel.title), TITLE))
    depth = max(CELL, len(panel.target_words) * CELL, _height(note, WORD))
    return _Box(_wrap(panel.title, TITLE, width), note, width, left, head, across, depth)


def _draw_weights(axes: Axes, panel: Panel) -> None:
    weights, words = np.asarray(panel.weights, dtype=float), len(panel.source_words)
    assert weights.shape == (len(panel.target_words), words + 1), f"weights of shape {weights.shape}"
    rows, none = np.arange(len(weights) + 1), words + APART / CELL
    for columns, cells, colours in (
        (np.arange(words + 1), weights[:, :-1], WORDS),
        (np.array([none, none + 1]), weights[:, -1:], NONE),
    ):
        if cells.size:
            mesh = axes.pcolormesh(columns, rows, cells, cmap=colours, vmin=0, vmax=1, antialiased=True)
            mesh.set(edgecolor=GRID, linewidth=HAIR, clip_on=False)
    axes.xaxis.tick_top()
    _label(axes.xaxis, [*np.arange(words) + 0.5, none + 0.5], [*panel.source_words, "</s>"])
    for label in axes.get_xticklabels():
        label.set(rotation=math.degrees(TILT), rotation_mode="anchor", ha="left", va="baseline")
    label.set_color(GREY)  # the last, </s>


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """A bare place for a picture, `left` and `top` counted from the page's upper left corner."""
    across, down = figure.get_size_inches()
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.set(frame_on=False, xticks=[], yticks=[])
    axes.tick_params(length=0, pad=TICK * 72)
    return axes


def _label(axis: Axis, places: Iterable[float], words: Sequence[str]) -> None:
    axis.set_ticks(list(places), _shown(words))
    for label in axis.get_ticklabels():
        label.set(fontproperties=_font(WORD), color=INK, parse_math=False)


def _write(figure: Figure, left: float, top: float, lines: Sequence[str], size: float, colour: str) -> None:
    across, down = figure.get_size_inches()
    for i, line in enumerate(lines):  # one by one, as matplotlib spaces lines by what stands in them
        y = 1 - (top + (i + 0.8) * _height([line], size)) / down
        figure.text(left / across, y, line, fontproperties=_font(size), color=colour, parse_math=False)


def _height(lines: Sequence[str], size: float) -> float:
    return len(lines) * 1.3 * size / 72


def _width(texts: Iterable[str], size: float) -> float:
    """Of the widest."""
    font, measure = _font(size), text_to_path.get_text_width_height_descent
    with _quiet():
        return max((measure(text, font, ismath=False)[0] / 72 for text in texts), default=0.0)


def _pieces(text: str) -> list[str]:
    """What a line may be broken into: words, with the space before them, and the steps of a path."""
    return re.findall(r" ?[^ /]*/?", " ".join(_shown(text.split())))


def _wrap(text: str, size: float, width: float) -> list[str]:
    lines = [""]
    for piece in _pieces(text):
        if _width([lines[-1] + piece], size) <= width:
            lines[-1] += piece
        else:
            lines.append(piece.lstrip())
    return [line for line in lines if line]


def _shown(words: Iterable[str]) -> list[str]:
    """The words, control characters replaced: they have no shape, and an SVG must not hold them."""
    return [re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]", "\ufffd", word) for word in words]


@cache
def _font(size: float) -> FontProperties:
    installed = set(fontManager.get_font_names())
    return FontProperties(family=[name for name in FAMILIES if name in installed], size=size)


def _warn_of_missing(characters: set[str]) -> None:
    for family in _font(WORD).get_family():
        shapes = get_font(fontManager.findfont(FontProperties(family=family))).get_charmap()
        characters = {each for each in characters if ord(each) not in shapes and each.isprintable()}
    if characters:
        warnings.warn(
            f"No installed font can show {' '.join(sorted(characters))}: the picture has boxes there. "
            "Install the Noto fonts to see them.",
            stacklevel=3,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps matplotlib from warning of every missing character at every turn: we have warned of them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
