"""TensorBoard: its own reader finds what was reported, and a training never feels it."""

import builtins
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nmt import tracker as tracker_module
from nmt.alignment import WordAttention, split_words
from nmt.runs import Run
from nmt.tracker import Tracker
from tests.place import MODELS, refused, told
from tests.test_training import weights_at_end

TRACKED = "training.tracker='tensorboard'"


def read(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "tensors": 0, "scalars": 0}).Reload()


def points(found: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in found.Scalars(tag)]


def texts(found: EventAccumulator, tag: str) -> list[tuple[int, str]]:
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in found.Tensors(tag)]


@pytest.mark.parametrize("name", MODELS)
def test_what_is_reported_can_be_read_and_the_training_is_the_same(corpus: Path, give: Any, name: str) -> None:
    assert give("train", f"{name}.toml", "--run", "runs/plain").code == 0
    assert give("train", f"{name}.toml", TRACKED, "--run", "runs/tracked").code == 0
    plain, tracked = Run(corpus / "runs" / "plain"), Run(corpus / "runs" / "tracked")
    assert weights_at_end(plain) == weights_at_end(tracked) and told(plain.metrics) == told(tracked.metrics)
    found, validations = read(tracked.path), tracked.validations()
    for field in ("bleu", "loss", "learning_rate", "elapsed", "looping"):
        expected = {event.update: getattr(event, field) for event in validations}
        assert dict(points(found, f"validated/{field}")) == pytest.approx(expected, rel=1e-6)
    for field in ("sample_source", "sample_hypothesis"):
        expected = [(event.update, f"    {getattr(event, field)}") for event in validations]
        assert texts(found, f"validated/{field}") == expected
    assert texts(found, "ended/reason") == [(12, "    all updates done")]
    assert [step for step, _ in points(found, "averaged/bleu")] == [12]
    assert (tracked.path / "tensorboard").exists() and not (plain.path / "tensorboard").exists()
    images = found.Tags()["images"]
    if name == "plain":  # it has no attention
        assert images == []
        return
    assert images == [f"attention/{number}" for number in range(1, 5)]
    for tag in images:
        shown = found.Images(tag)
        assert [image.step for image in shown] == [event.update for event in validations]
        for image in shown:
            assert imread(BytesIO(image.encoded_image_string)).shape[:2] == (image.height, image.width)
        assert len({image.width for image in shown}) == 1  # the same sentence
        assert len({image.encoded_image_string for image in shown}) == len(shown)  # seen anew


def test_a_tracker_may_come_and_go_and_takes_back_what_was_lost(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml", "training.updates=5").code == 0
    assert give("train", "rnn.toml", "training.updates=10", TRACKED).code == 0
    run, lost = Run(corpus / "runs" / "rnn"), corpus / "lost"
    run.path.rename(lost)
    assert give("train", "rnn.toml", "training.updates=5", TRACKED).code == 0
    for file in (lost / "tensorboard").iterdir():  # what was reported before a power cut, say
        (run.path / "tensorboard" / f"{file.name}.before").write_bytes(file.read_bytes())
    assert give("train", "rnn.toml", TRACKED).code == 0
    assert [step for step, _ in points(read(run.path), "validated/bleu")] == [5, 10, 12]
    assert give("train", "rnn.toml", "training.updates=13").code == 0
    assert [step for step, _ in points(read(run.path), "validated/bleu")] == [5, 10, 12]
    assert give("train", "rnn.toml", TRACKED, "training.updates=5", "--overwrite").code == 0
    assert [step for step, _ in points(read(run.path), "validated/bleu")] == [5]


@pytest.mark.parametrize("failure", ["folder", "disk", "package"])
def test_a_tracker_that_fails_warns_once_and_stops_nothing(
    corpus: Path, give: Any, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    assert give("train", "rnn.toml", "--run", "runs/plain").code == 0
    command = ["train", "rnn.toml", TRACKED]
    if failure == "folder":
        assert give(*command, "training.updates=1").code == 0
        for file in (corpus / "runs" / "rnn" / "tensorboard").iterdir():
            file.unlink()
        (corpus / "runs" / "rnn" / "tensorboard").rmdir()
        (corpus / "runs" / "rnn" / "tensorboard").write_text("in the way")
    elif failure == "disk":
        whole = builtins.open

        def full(path: Any, *arguments: Any, **options: Any) -> Any:
            if "tfevents" in str(path):
                raise OSError(28, "No space left on device")
            return whole(path, *arguments, **options)

        monkeypatch.setattr(tracker_module, "open", full, raising=False)
    else:
        monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)  # which the check does not look at
    outcome = give(*command)
    assert outcome.code == 0 and outcome.out.count("training.tracker failed") == 1
    run, plain = Run(corpus / "runs" / "rnn"), Run(corpus / "runs" / "plain")
    assert weights_at_end(run) == weights_at_end(plain)
    warned = [event["message"] for event in told(run.metrics) if event["event"] == "warned"]
    assert len(warned) == 1 and "training.tracker failed" in warned[0]


def test_a_missing_library_is_told_before_anything_is_done(
    corpus: Path, give: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    refused(give("train", "rnn.toml", TRACKED), "training.tracker", "pip install tensorboard")
    assert not (corpus / "runs" / "rnn").exists()


def test_characters_that_no_font_has_are_told_of_once(tmp_path: Path) -> None:
    told: list[str] = []
    tracker = Tracker(tmp_path / "tensorboard", 0, told.append)
    words = split_words("\U0001343f 猫")
    own = WordAttention(words, words, np.full((2, 3), 1 / 3))
    tracker.show(1, [own], "layer 1")
    tracker.show(2, [own], "layer 1")
    assert tracker.works and len(told) == 1 and "font" in told[0]
    assert [image.step for image in read(tmp_path).Images("attention/1")] == [1, 2]
