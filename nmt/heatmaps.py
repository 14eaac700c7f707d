"""What the heatmaps of a page hold: what models look at, of pairs of lines in pieces, a byte a weight."""

import base64
from itertools import product
from typing import Any

import numpy as np

from nmt.alignment import Matrix
from nmt.models.base import Extraction
from nmt.translator import Pair, Translator

MOST_BYTES = 7_000_000  # weights of a page: base64 makes 9.4 MB of them, which a browser opens in a second or two


def heatmap(pair: Pair, own: bytes, attention: bytes) -> dict[str, Any]:
    """What a page draws from, ready for JSON.

    - pieces: [[start, end], …] in characters, of what the run reads and of what it writes.
    - own: what its alignments are read from, base64 of bytes (T, S), 255 a weight of 1; S counts the `</s>` of what is
      read, which stands last.
    - attention: the same (layers, heads, T + 1, S), T + 1 with the `</s>` of what is written.
    """
    read, written = pair
    return {
        "pieces": [read.offsets, written.offsets],
        "own": base64.b64encode(own).decode(),
        "attention": base64.b64encode(attention).decode(),
    }


def described(translator: Translator) -> dict[str, Any]:
    """What can be chosen from a run's heatmaps, ready for JSON: layers and heads, how many; readings.

    readings: {name, layer, head, shift}; the first is what the run's alignments are read from, its layer None; layers
    and heads count from 1, head None: the mean.
    """
    return {
        "layers": translator.model.attention_layers,
        "heads": translator.model.attention_heads,
        "readings": [
            {"name": translator.reading, "layer": None, "head": None, "shift": None},
            *(
                {
                    "name": str(one),
                    "layer": one.layer + 1,
                    "head": None if one.head is None else one.head + 1,
                    "shift": one.shift,
                }
                for layer in range(translator.model.attention_layers)
                for one in extractions(translator, layer)
            ),
        ],
    }


def extractions(translator: Translator, layer: int) -> list[Extraction]:
    """What can be chosen from a layer."""
    heads = range(translator.model.attention_heads)
    return [
        Extraction(layer, head, shift) for shift, head in product((0, 1), [None, *heads] if len(heads) > 1 else [None])
    ]


def count_weights(translator: Translator, pair: Pair) -> int:
    """How many weights a heatmap of the pair holds."""
    source, target = pair
    every = translator.model.attention_layers * translator.model.attention_heads
    return (len(source.ids) + 1) * (len(target.ids) + every * (len(target.ids) + 1))


def quantised(weights: Matrix) -> bytes:
    """Weights of 0 to 1, a byte each."""
    return np.rint(255 * weights).astype(np.uint8).tobytes()
