"""Heatmaps of pages: made-up weights, what they must look like, and what a browser has drawn of them."""

from itertools import pairwise
from typing import Any

import numpy as np
from playwright.sync_api import Locator

from nmt.alignment import Matrix, Words, to_words
from nmt.subwords import Pieces


def pieces_of(text: str, length: int) -> Pieces:
    """The text in pieces of some characters, which may belong to two words or be a space; the first is empty."""
    cuts = [0, *range(0, len(text), length), len(text)]
    offsets = list(pairwise(cuts))
    return Pieces(list(range(len(offsets))), offsets, text)


def some_bytes(draw: np.random.Generator, *shape: int) -> np.ndarray:
    weights = draw.dirichlet(np.full(shape[-1], 0.3), shape[:-1])
    return np.rint(255 * weights).astype(np.uint8)


def readings_of(layers: int, heads: int) -> list[tuple[int | None, int | None, int | None]]:
    """Layer, head and shift of each reading, the first the system's own."""
    own = [None, *range(1, heads + 1)] if heads > 1 else [None]
    every = [(layer, head, shift) for layer in range(1, layers + 1) for shift in (0, 1) for head in own]
    return [(None, None, None), *every]


def described_readings(layers: int, heads: int) -> list[dict[str, Any]]:
    """The same as a page is told of them."""
    return [
        {
            "name": "trained aligner"
            if layer is None
            else f"layer {layer}, {f'head {head}' if head else 'mean of heads'}, shift {shift}",
            "layer": layer,
            "head": head,
            "shift": shift,
        }
        for layer, head, shift in readings_of(layers, heads)
    ]


def weights_of(
    own: np.ndarray,
    attention: np.ndarray,
    pieces: tuple[Pieces, Pieces],
    words: tuple[Words, ...],
    reading: int,
    *,
    by_words: bool,
) -> Matrix:
    """What a page has to show of bytes (T, S) and (layers, heads, T + 1, S), by nmt.alignment."""
    layer, head, shift = readings_of(*attention.shape[:2])[reading]
    weights = own / 255
    if layer is not None and shift is not None:
        rows = attention[layer - 1][:, shift : shift + len(own)] / 255
        weights = rows.mean(0) if head is None else rows[head - 1]
    source, target = words
    return to_words(weights, *pieces, (source, target)).weights if by_words else weights


PANEL = """panel => {
  const numbers = (element, names) => names.map(name => Number(element.getAttribute(name)));
  const [left, top] = panel.querySelector(".lines").getAttribute("d").match(/[\\d.]+/g).map(Number);
  const size = Number(panel.querySelector(".cursor").getAttribute("width"));
  const cell = (x, y) => [Math.floor((y - top) / size), Math.floor((x - left) / size)];
  const block = rect => {
    const [x, y, width, height] = numbers(rect, ["x", "y", "width", "height"]);
    return [...cell(x, y), ...cell(x + width, y + height)];
  };
  return {
    left, top, size,
    cells: [...panel.querySelectorAll(".cells path")].flatMap(path =>
      [...path.getAttribute("d").matchAll(/M([\\d.]+) ([\\d.]+)/g)].map(([, x, y]) =>
        [...cell(Number(x) + size / 2, Number(y) + size / 2), ...numbers(path, ["fill-opacity"])])),
    sure: [...panel.querySelectorAll("rect.sure")].map(block),
    possible: [...panel.querySelectorAll("rect.possible")].map(block),
    links: [...panel.querySelectorAll("circle.link")].map(dot => cell(...numbers(dot, ["cx", "cy"]))),
    rows: [...panel.querySelectorAll("text.row")].map(text => text.textContent),
    columns: [...panel.querySelectorAll("text.column")].map(text => text.textContent),
    cursor: panel.querySelector(".cursor").getAttribute("visibility") === "hidden" ? null
      : cell(...numbers(panel.querySelector(".cursor"), ["x", "y"]).map(at => at + size / 2)),
  };
}"""


def drawn(at: Locator) -> dict[str, Any]:
    return at.evaluate(PANEL)


def matrix(shown: dict[str, Any], like: Matrix) -> Matrix:
    found = np.zeros_like(like)
    for row, column, weight in shown["cells"]:
        found[row, column] = weight
    return found


def point(at: Locator, row: int, column: int) -> None:
    shown = drawn(at)
    x, y = (shown[edge] + (index + 0.5) * shown["size"] for edge, index in (("left", column), ("top", row)))
    at.hover(position={"x": x, "y": y})
