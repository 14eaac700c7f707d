"""What a training reports: to metrics.jsonl, and as a table to the terminal."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from nmt.config import InputError
from nmt.declared import parse_json
from nmt.lines import written_aside


@dataclass(frozen=True)
class Updated:
    """The mean of some updates, reported now and then."""

    update: int
    epoch: int
    loss: float  # nats a target token, smoothed as it is trained on
    gradient_norm: float  # before clipping, mean over the updates
    learning_rate: float
    tokens_per_second: float  # real target tokens


@dataclass(frozen=True)
class Validated:
    """A validation."""

    update: int
    epoch: int
    tokens: int  # real target tokens trained on so far
    training_loss: float  # nats a target token since the last validation, smoothed; NaN: no update but skipped ones
    loss: float  # nats a target token of the validation set, unsmoothed, </s> counted
    perplexity: float  # exp of it
    nats_per_character: float  # nats of the validation set over characters of its references
    bleu: float
    length_ratio: float  # of the translations, as BLEU counts it
    empty: float  # shares of the translations, 0 to 1: without text ...
    copied: float  # ... the source again ...
    looping: float  # ... a phrase three times in a row
    attention_entropy: float | None  # of a target word over source words: 0 (one of them) to 1 (all alike)
    attention_to_end: float | None  # mean weight on </s>; None: the model has no attention
    best: bool  # whether it is the best so far
    learning_rate: float
    tokens_per_second: float  # real target tokens, validations left out
    elapsed: float  # seconds of training so far, validations and earlier sittings included
    remaining: float  # seconds to the last update, or to the end of what else is a limit, at the rate so far
    sample_source: str
    sample_hypothesis: str
    sample_reference: str


@dataclass(frozen=True)
class Skipped:
    """An update that changed nothing, as its loss or gradient was not finite."""

    update: int
    lines: list[int]  # of its pairs in the training text, from 1


@dataclass(frozen=True)
class Warned:
    """Something that is plainly wrong with a training."""

    update: int
    message: str  # what, and what to do


@dataclass(frozen=True)
class Averaged:
    """The validation of the mean of the last checkpoints, at the end of a training."""

    update: int
    checkpoints: int
    loss: float  # as of a validation
    perplexity: float
    nats_per_character: float
    bleu: float
    best: bool  # whether it is better than every checkpoint


@dataclass(frozen=True)
class Ended:
    """The end of a training, or of a sitting of it."""

    update: int
    reason: str
    seconds: float


Event = Updated | Skipped | Validated | Warned | Averaged | Ended

HEADER = " update  epoch    loss  valid ppl    BLEU   tok/s        lr  elapsed     left"


_KINDS: dict[str, type[Event]] = {kind.__name__.lower(): kind for kind in get_args(Event)}


def read_events(metrics: Path) -> list[Event]:
    """The events that a training has written so far. Raises InputError naming a line that is none."""
    return [event for _, event in _events(metrics)]


def _events(metrics: Path) -> Iterator[tuple[bytes, Event]]:
    """Each line and what it says; behind the last line's end there may be one that was cut short, which is left out."""
    try:
        lines = metrics.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise InputError(f"{metrics.absolute()} cannot be read: {error.strerror}.") from None
    for number, line in enumerate(lines, 1):
        where = f"{metrics.absolute()}, line {number:,}"
        try:
            values = parse_json(dict[str, Any], line, where)
            name = values.pop("event", None)
            if not isinstance(name, str) or name not in _KINDS:
                raise InputError(f"{where}: broken: event is {name!r}, but it is one of {', '.join(_KINDS)}")
            yield line, parse_json(_KINDS[name], json.dumps(values), where)
        except InputError as error:
            raise InputError(f"{error}; restore the file, or delete that line of it") from None


class Reporter:
    """Writes events as they happen."""

    def __init__(self, metrics: Path, update: int) -> None:
        """Go on after `update`: events of updates that were lost with their weights are dropped from the file."""
        found = list(_events(metrics)) if metrics.exists() else []
        with written_aside(metrics) as file:
            for line, event in found:
                if event.update <= update and not isinstance(event, Averaged | Ended):
                    file.write(line + b"\n")
        self._file = metrics

    def write(self, event: Event) -> None:
        """Append an event to metrics.jsonl."""
        line = {"event": type(event).__name__.lower(), **asdict(event)}
        try:
            with open(self._file, "a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            raise InputError(f"{self._file.absolute()} cannot be written: {error.strerror}.") from error


def say(text: str) -> None:
    """Print a line of results to stdout, above a progress bar where there is one."""
    tqdm.write(text)
    sys.stdout.flush()  # at once, also into a pipe


def row(event: Validated) -> str:
    """A line of the table under HEADER."""
    return (
        f"{event.update:7,} {event.epoch + 1:6} {event.training_loss:7.3f} {event.perplexity:10.2f} "
        f"{event.bleu:6.1f}{'*' if event.best else ' '} {event.tokens_per_second:7,.0f} "
        f"{event.learning_rate:9.2e} {clock(event.elapsed):>8} {clock(event.remaining):>8}"
    )


def mean_row(event: Averaged) -> str:
    """A line of the table under HEADER for the mean of checkpoints."""
    title = f"mean of the last {event.checkpoints}"
    return f"{title:>22} {event.perplexity:10.2f} {event.bleu:6.1f}{'*' if event.best else ''}"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
