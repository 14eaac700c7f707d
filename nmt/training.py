"""The loop: updates, validations, checkpoints, reports, and stopping so that the same command goes on."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import FrameType
from typing import Any

from torch import Tensor
from tqdm import tqdm

from nmt.checkpoint import load_weights, weights_of
from nmt.events import HEADER, Averaged, Ended, Reporter, Updated, Validated, Warned, mean_row, row, say
from nmt.optimisation import Updater, learning_rate
from nmt.preparation import Prepared, plan_epoch
from nmt.runs import Progress, Run, Sums
from nmt.validation import Validation, validate, warnings

REPORT_INTERVAL = 50  # updates between two reports of the training loss in metrics.jsonl


class Interrupted(Exception):
    """A training that was asked to stop, and has saved all that it needs to go on."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number  # the shell's convention


def train(prepared: Prepared, run: Run) -> Progress:
    """Train from where the run stands to its end; gives its progress. Raises Interrupted after Ctrl-C or SIGTERM."""
    progress, updater, config = run.progress(), Updater(prepared), prepared.config.training
    if progress.update:
        progress, weights, state = run.load_training()
        load_weights(prepared.model, weights, run.path)
        updater.load_state(state)
    loop = _Loop(updater, run, Reporter(run.metrics, progress.update), progress)
    bar = tqdm(total=config.updates, initial=progress.update, desc=run.name, unit="update", disable=None, leave=False)
    with _stop_signals() as stop, bar:
        say(HEADER)
        for lines, epoch_updates in [] if loop.at_end else _updates(prepared, progress):
            loop.update(lines, epoch_updates)
            bar.update()
            done = loop.progress.update
            if done == config.updates or done % config.validation_interval == 0:
                loop.validate()
            if loop.at_end:
                break
            if stop:
                loop.interrupt()
                raise Interrupted(stop[0])
        loop.finish()
        if stop:
            raise Interrupted(stop[0])
    return loop.progress


def _updates(prepared: Prepared, progress: Progress) -> Iterator[tuple[Tensor, int]]:
    """Line numbers of each update from where the training stands up to the last, and the updates of its epoch."""
    left = prepared.config.training.updates - progress.update
    epoch, position = progress.epoch, progress.position
    while left > 0:
        plan = plan_epoch(prepared, epoch)
        for lines in plan[position:][:left]:
            yield lines, len(plan)
            left -= 1
        epoch, position = epoch + 1, 0


class _Loop:
    """A training under way: its progress, and sums since the last report and the last validation."""

    def __init__(self, updater: Updater, run: Run, reporter: Reporter, progress: Progress) -> None:
        self.updater, self.run, self.reporter, self.progress = updater, run, reporter, progress
        self.config = updater.config
        self.clock = time.perf_counter()
        self.unread: list[tuple[Tensor, Tensor, int]] = []  # loss, norm and tokens of updates since `_read`
        self.unread_since = 0.0

    def update(self, lines: Tensor, epoch_updates: int) -> None:
        """Do the next update, on the pairs at `lines`; its epoch has so many."""
        number = self.progress.update + 1
        if not self.unread:
            self.unread_since = time.perf_counter()
        loss, norm, tokens = self.updater.update(lines, number, self.progress.epoch)
        self.unread.append((loss, norm, tokens))
        if number % REPORT_INTERVAL == 0:
            self._read()
            reported = self.progress.reported
            self.reporter.write(
                Updated(
                    update=number,
                    epoch=self.progress.epoch,
                    loss=reported.loss / reported.tokens,
                    gradient_norm=reported.norm / reported.updates,
                    learning_rate=learning_rate(self.config, number),
                    tokens_per_second=reported.tokens / reported.seconds,
                )
            )
            self._advance(reported=Sums())
        epoch, position = self.progress.epoch, self.progress.position + 1
        if position == epoch_updates:
            epoch, position = epoch + 1, 0
        self._advance(update=number, epoch=epoch, position=position, tokens=self.progress.tokens + tokens)

    def _read(self) -> None:
        """Add what the updates since the last time came to: now a GPU must be done with them."""
        reported, validated = self.progress.reported, self.progress.validated
        read = [(loss.item(), norm.item(), tokens) for loss, norm, tokens in self.unread]
        seconds = (time.perf_counter() - self.unread_since) / max(1, len(read))
        for loss, norm, tokens in read:
            reported = reported.plus(loss, norm, tokens, seconds)
            validated = validated.plus(loss, norm, tokens, seconds)
        self.unread = []
        self._advance(reported=reported, validated=validated)

    @property
    def at_end(self) -> bool:
        """Whether all updates are done, or no better validation came for too long."""
        patience = self.config.patience
        return self.progress.update == self.config.updates or (bool(patience) and self.progress.waited >= patience)

    def validate(self) -> None:
        """Validate, save a checkpoint, report."""
        self._read()
        at, found = self.progress, validate(self.updater.prepared)
        self.updater.objective.train()
        figure = self._figure(found)
        best = at.best is None or figure > at.best
        self._advance(
            best=figure if best else at.best,
            best_update=at.update if best else at.best_update,
            waited=0 if best else at.waited + 1,
            validated=Sums(),
        )
        sums = at.validated
        event = Validated(
            update=at.update,
            epoch=at.epoch,
            tokens=at.tokens,
            training_loss=sums.loss / sums.tokens,
            loss=found.loss,
            perplexity=math.exp(min(found.loss, 700)),  # exp(710) overflows
            nats_per_character=found.nats_per_character,
            bleu=found.bleu.value,
            length_ratio=found.bleu.length_ratio,
            **asdict(found.faults),
            attention_entropy=found.attention.entropy if found.attention else None,
            attention_to_end=found.attention.to_end if found.attention else None,
            best=best,
            learning_rate=learning_rate(self.config, at.update),
            tokens_per_second=sums.tokens / sums.seconds,
            elapsed=self.progress.seconds,
            remaining=self.progress.seconds / at.update * (self.config.updates - at.update),
            sample_source=found.sample_source,
            sample_hypothesis=found.sample_hypothesis,
            sample_reference=found.sample_reference,
        )
        self.reporter.write(event)
        weights = weights_of(self.updater.prepared.model)
        self.run.save(self.progress, weights, self.updater.state(), best=best, keep=self.config.average_last)
        say(row(event))
        say(f"         {found.sample_source}  →  {found.sample_hypothesis}")
        for message in warnings(event, self.config):
            self.reporter.write(Warned(event.update, message))
            say(f"warning  {message}")

    def finish(self) -> None:
        """Validate the mean of the last checkpoints, which is the best where it is better, and mark the run's end."""
        model, at = self.updater.prepared.model, self.progress
        last = {name: weight.detach().clone() for name, weight in weights_of(model).items()}
        checkpoints = self.run.checkpoints()
        if checkpoints > 1:
            mean, _, path = self.run.weights("average")
            load_weights(model, mean, path)
            found = validate(self.updater.prepared)
            figure = self._figure(found)
            best = at.best is None or figure > at.best
            event = Averaged(
                update=at.update,
                checkpoints=checkpoints,
                loss=found.loss,
                perplexity=math.exp(min(found.loss, 700)),
                nats_per_character=found.nats_per_character,
                bleu=found.bleu.value,
                best=best,
            )
            self.reporter.write(event)
            say(mean_row(event))
            if best:
                self.run.save_best(weights_of(model), at.update)
                self._advance(best=figure, best_update=at.update, best_of=checkpoints)
            load_weights(model, last, path)
        self._advance(finished=True)
        self.run.save_training(self.progress, last, self.updater.state())
        patience = f"no better validation in {at.waited}"
        reason = "all updates done" if at.update == self.config.updates else patience
        self.reporter.write(Ended(at.update, reason, self.progress.seconds))

    def _figure(self, found: Validation) -> float:
        """What the best checkpoint has most of."""
        return found.bleu.value if self.config.best_by == "bleu" else -found.loss

    def interrupt(self) -> None:
        """Save so that the same command goes on from here."""
        self._read()
        self.run.save_training(self.progress, weights_of(self.updater.prepared.model), self.updater.state())
        self.reporter.write(Ended(self.progress.update, "interrupted", self.progress.seconds))

    def _advance(self, **changes: Any) -> None:
        now = time.perf_counter()
        self.progress = replace(self.progress, seconds=self.progress.seconds + now - self.clock, **changes)
        self.clock = now


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that SIGINT or SIGTERM adds itself to; a second SIGINT stops at once."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
