"""What a training reports, to TensorBoard: `tensorboard --logdir runs` shows curves, samples and heatmaps of all runs.

A tracker changes nothing of a training and never stops one: where it fails, it says so once and is silent from then on.
"""

import struct
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmt.alignment import WordAttention
from nmt.config import InputError
from nmt.events import Event

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

CAPTION = "Each row: where the model looks when it predicts that word of the reference, which is not yet an alignment."


def check_tracker(kind: str) -> None:
    """Raise InputError unless the library of a tracker is there."""
    if kind == "tensorboard":
        try:
            import tensorboard.summary.writer.record_writer  # noqa: F401
        except ImportError as error:
            raise InputError(
                'training.tracker = "tensorboard": the library tensorboard cannot be loaded: pip install tensorboard '
                f"(or nmt[tensorboard]), or train without: 'training.tracker=\"none\"' ({error})"
            ) from None


@dataclass
class Tracker:
    """Writes events of a training into a file for TensorBoard, a file a sitting."""

    folder: Path
    update: int  # from which the sitting goes on: what an earlier one wrote of later updates is lost with its weights
    warn: Callable[[str], None]
    works: bool = True
    _file: Path | None = None
    _told: set[str] = field(default_factory=set)  # warnings of fonts

    def report(self, event: Event) -> None:
        """Add an event: its numbers as points of curves, its texts as texts."""
        kind = type(event).__name__.lower()

        def values() -> list["Summary.Value"]:
            values = asdict(event).items()
            found = [_value(f"{kind}/{name}", own) for name, own in values if name != "update" and own is not None]
            return [value for value in found if value is not None]

        self._write(event.update, values)

    def show(self, update: int, attentions: Sequence[WordAttention], reading: str) -> None:
        """Add heatmaps of the same sentences at an update; reading: what they are read from."""

        def values() -> list["Summary.Value"]:
            from nmt.plotting import Panel, draw_heatmaps, png_of

            found = []
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for number, own in enumerate(attentions, 1):
                    panel = Panel(reading, own.source.texts, own.target.texts, own.weights.tolist())
                    png = png_of(draw_heatmaps([panel], f"{CAPTION} Update {update:,}."))
                    found.append(_image(f"attention/{number}", png))
            for message in dict.fromkeys(str(warning.message) for warning in caught):
                if message not in self._told:  # once, not at each validation
                    self._told.add(message)
                    self.warn(message)
            return found

        if attentions:
            self._write(update, values)

    def _write(self, update: int, values: Callable[[], list["Summary.Value"]]) -> None:
        if not self.works:
            return
        try:
            self._append(update, values())
        except Exception as error:  # whatever it is: a training needs no tracker
            self.works = False
            self.warn(
                f"training.tracker failed, and is silent from here on: {type(error).__name__}: {error}; the training "
                "goes on, and all but the heatmaps is in metrics.jsonl"
            )

    def _append(self, update: int, values: "list[Summary.Value]") -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Record
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        now, records = time.time(), []
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = self.folder / f"events.out.tfevents.{time.time_ns()}"
            start = SessionLog(status=SessionLog.START)
            records += [
                Record(wall_time=now, file_version="brain.Event:2"),  # with it a start takes later updates back
                Record(wall_time=now, step=self.update + 1, session_log=start),
            ]
        records.append(Record(wall_time=now, step=update, summary=Summary(value=values)))
        # Opened anew each time, as metrics.jsonl is, so that what fails fails here, and not in a thread.
        with open(self._file, "ab") as file:
            writer = RecordWriter(file)
            for record in records:
                writer.write(record.SerializeToString())


def _value(tag: str, value: Any) -> "Summary.Value | None":
    """A number as a point of a curve, another thing as text; None: neither."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return Summary.Value(tag=tag, simple_value=value)
    shown = f"    {value}"  # as Markdown has what is to be shown as it is
    return Summary.Value(
        tag=tag,
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
        tensor=TensorProto(dtype=DT_STRING, string_val=[shown.encode()]),
    )


def _image(tag: str, png: bytes) -> "Summary.Value":
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = struct.unpack(">II", png[16:24])
    image = Summary.Image(encoded_image_string=png, colorspace=4, width=width, height=height)
    return Summary.Value(tag=tag, image=image)
