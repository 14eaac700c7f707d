"""What is said of a training: figures of attention known by construction, and warnings where something is wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nmt.alignment import WordAttention, Words
from nmt.config import TrainingConfig
from nmt.events import Validated
from nmt.lines import TextPairs
from nmt.models.base import Extraction
from nmt.validation import focus, warnings


def translator(rows: list[list[list[float]]]) -> Any:
    """One whose model looks where we say: for each pair the weights (target words, source words + 1)."""

    def align(sources: Sequence[Words], targets: Sequence[Words]) -> Iterator[WordAttention]:
        for source, target, weights in zip(sources, targets, rows, strict=True):
            yield WordAttention(source, target, np.array(weights))

    return SimpleNamespace(extraction=Extraction(layer=0), align=align)


def test_focus_of_attention_that_is_known() -> None:
    one = focus(translator([[[1.0, 0.0, 0.0]]]), TextPairs(["a b"], ["x"]))
    assert one is not None and (one.entropy, one.to_end) == (0.0, 0.0)
    even = focus(translator([[[0.25] * 4, [0.25] * 4]]), TextPairs(["a b c"], ["x x"]))
    assert even is not None and (even.entropy, even.to_end) == (pytest.approx(1.0), 0.25)
    # A mean over target words, not over sentences; lines without words say nothing.
    rows = [[[0.0, 1.0]] * 3, [[1.0]], [[0.5, 0.5]]]
    mixed = focus(translator(rows), TextPairs(["a", "", "b"], ["x x x", "x", "x"]))
    assert mixed is not None and (mixed.entropy, mixed.to_end) == (pytest.approx(0.25), pytest.approx(3.5 / 4))
    without: Any = SimpleNamespace(extraction=None)
    assert focus(without, TextPairs(["a"], ["x"])) is None


CONFIG = TrainingConfig(warmup_updates=1000)
NOTHING: dict[str, Any] = {field.name: 0 for field in fields(Validated)}
SOUND = replace(
    Validated(**NOTHING),
    update=2000,
    tokens=10**7,
    loss=1.5,
    training_loss=2.0,
    bleu=30.0,
    attention_entropy=0.6,
    attention_to_end=0.1,
)


def test_a_sound_training_is_not_warned_of() -> None:
    assert warnings(SOUND, CONFIG) == []
    assert warnings(replace(SOUND, attention_entropy=None, attention_to_end=None), CONFIG) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loss": float("nan")}, "learning_rate"),
        ({"loss": float("inf")}, "finite"),
        ({"bleu": 0.2}, "nothing is learned"),
        ({"empty": 0.2}, "20% of the translations are empty"),
        ({"copied": 0.11}, "their own source"),
        ({"looping": 0.5}, "repeat"),
        ({"attention_to_end": 0.95}, "95% of the attention rests on </s>"),
        ({"attention_entropy": 0.99}, "evenly"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], said: str) -> None:
    [message] = warnings(replace(SOUND, **change), CONFIG)
    assert said in message
    early = warnings(replace(SOUND, update=1999, **change), CONFIG)
    assert bool(early) == ("loss" in " ".join(change))
