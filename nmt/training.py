"""The loop: updates, validations, checkpoints, reports, and stopping so that the same command goes on."""

import math
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from torch import Tensor
from tqdm import tqdm

from nmt.checkpoint import load_weights, weights_of
from nmt.config import Config, InputError
from nmt.events import HEADER, Averaged, Ended, Event, Reporter, Skipped, Updated, Validated, Warned, mean_row, row, say
from nmt.hardware import is_out_of_memory, waits_for_reading
from nmt.optimisation import Updater, learning_rate, memory_warning, plateau
from nmt.preparation import Prepared, plan_epoch
from nmt.progress import Progress, Sums, end_of, left_of
from nmt.runs import Run
from nmt.tracker import Tracker
from nmt.validation import Validation, validate, warnings

REPORT_INTERVAL = 50  # updates between two reports of the training loss in metrics.jsonl
MOST_SKIPPED = 10  # updates in a row: a stray batch is one, weights that are past saving spoil all


class Interrupted(Exception):
    """A training that was asked to stop, and has saved all that it needs to go on."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number  # the shell's convention


def train(prepared: Prepared, run: Run) -> Progress:
    """Train from where the run stands to its end; gives its progress.

    Raises Interrupted after Ctrl-C, SIGTERM or SIGHUP, InputError where memory runs out or MOST_SKIPPED updates in a
    row were skipped; all that is needed to go on is saved by then.
    """
    progress, updater, config = run.progress(), Updater(prepared), prepared.config.training
    warning = memory_warning(updater)
    if warning:
        say(f"warning  {warning}")
    begun = run.training_file.exists()
    if begun:
        progress, weights, state = run.load_training()
        progress = replace(progress, finished=False)
        load_weights(prepared.model, weights, run.training_file)
        updater.load_state(state)
    run.keep(prepared.config)
    if not begun:
        run.save_training(progress, weights_of(prepared.model), {})
    loop = _Loop(updater, run, Reporter(run.metrics, progress.update), progress)
    budget = config.max_target_tokens or config.max_minutes
    total = None if budget else config.updates  # what is left is not known in updates
    bar = tqdm(total=total, initial=progress.update, desc=run.name, unit="update", disable=None, leave=False)
    with _stop_signals() as stop, bar:
        say(HEADER)
        for lines, epoch_updates in [] if loop.at_end else _updates(prepared, progress):
            loop.update(lines, epoch_updates)
            if not stop:  # else the terminal may be gone
                bar.update()
            done = loop.progress.update
            if loop.at_end or done % config.validation_interval == 0:
                loop.validate()
            if loop.at_end:
                break
            if stop:
                loop.interrupt()
                raise Interrupted(stop[0])
        if not run.has_checkpoint(loop.progress.update):  # the end is nearer than it was in an earlier sitting
            loop.validate()
        loop.finish()
        if stop:
            raise Interrupted(stop[0])
    return loop.progress


def best_of(progress: Progress, config: Config) -> str:
    """Which validation was the best so far, for people."""
    if progress.best is None:
        return "no validation succeeded, so there is no best checkpoint: translate with --checkpoint last"
    figure = f"BLEU {progress.best:.1f}" if config.training.best_by == "bleu" else f"loss {-progress.best:.3f}"
    mean = f", the mean of {progress.best_of} checkpoints" if progress.best_of > 1 else ""
    return f"best validation {figure} at update {progress.best_update:,}{mean}"


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


@dataclass(frozen=True)
class _Unread:
    """An update whose loss and norm may still be under way on a GPU."""

    number: int
    lines: Tensor  # of its pairs, from 0
    loss: Tensor
    norm: Tensor
    tokens: int


class _Loop:
    """A training under way: its progress, and sums since the last report and the last validation."""

    def __init__(self, updater: Updater, run: Run, reporter: Reporter, progress: Progress) -> None:
        self.updater, self.run, self.reporter, self.progress = updater, run, reporter, progress
        self.prepared, self.config = updater.prepared, updater.config
        self.tracker: Tracker | None = None
        if self.config.tracker == "tensorboard":
            self.tracker = Tracker(run.path / "tensorboard", progress.update, self._warn)
        self.clock = time.perf_counter()
        self.unread: list[_Unread] = []  # updates since `_read`
        self.unread_since = 0.0

    def update(self, lines: Tensor, epoch_updates: int) -> None:
        """Do the next update, on the pairs at `lines`; its epoch has so many."""
        number, epoch = self.progress.update + 1, self.progress.epoch
        if not self.unread:
            self.unread_since = time.perf_counter()
        try:
            loss, norm, tokens = self.updater.update(lines, number, epoch, self.progress.falls)
        except InputError as error:  # of memory
            self._read()
            self._stop("out of memory")
            raise InputError(f"{error}\n{self.run.path} is saved at update {number - 1:,} to go on from") from error
        self.unread.append(_Unread(number, lines, loss, norm, tokens))
        ended = self.progress.position + 1 == epoch_updates
        self._advance(
            update=number,
            epoch=epoch + ended,
            position=0 if ended else self.progress.position + 1,
            tokens=self.progress.tokens + tokens,
        )
        if number % REPORT_INTERVAL == 0 or not waits_for_reading(self.prepared.device):
            self._read()
        if number % REPORT_INTERVAL == 0:
            reported = self.progress.reported
            if reported.updates:
                self._report(
                    Updated(
                        update=number,
                        epoch=epoch,
                        loss=reported.loss / reported.tokens,
                        gradient_norm=reported.norm / reported.updates,
                        learning_rate=learning_rate(self.config, number, self.progress.falls),
                        tokens_per_second=reported.tokens / reported.seconds,
                    )
                )
            self._advance(reported=Sums())

    def _read(self) -> None:
        """Add what the updates since the last time came to: now a GPU must be done with them."""
        at = self.progress
        reported, validated, skipped, in_row = at.reported, at.validated, at.skipped, at.skipped_in_row
        read = [(update, update.loss.item(), update.norm.item()) for update in self.unread]
        seconds = (time.perf_counter() - self.unread_since) / max(1, len(read))
        self.unread = []
        for update, loss, norm in read:
            if math.isfinite(loss) and math.isfinite(norm):
                reported = reported.plus(loss, norm, update.tokens, seconds)
                validated = validated.plus(loss, norm, update.tokens, seconds)
                in_row = 0
            else:
                skipped, in_row = skipped + 1, in_row + 1
                lines = sorted(update.lines.add(1).tolist())
                self._report(Skipped(update.number, lines))
                say(f"warning  update {update.number:,} is skipped, as its loss or gradient is not finite")
        self._advance(reported=reported, validated=validated, skipped=skipped, skipped_in_row=in_row)
        if in_row >= MOST_SKIPPED:
            self._advance(skipped_in_row=0)
            self._stop("loss or gradient not finite")
            raise InputError(
                f"{in_row} updates in a row were skipped, as their loss or gradient is not finite; the last of them, "
                f"{update.number:,}, was of these lines of the training text: {', '.join(map(str, lines))}\n"
                f"{self.run.path} is saved, with the weights of before them; the same command tries the next updates. "
                "Look at those lines, or start anew with a lower training.learning_rate or training.clip_norm, or a "
                "higher training.warmup_updates"
            )

    @property
    def at_end(self) -> bool:
        return end_of(self.progress, self.config) is not None

    def validate(self) -> None:
        """Validate, save a checkpoint, report."""
        self._read()
        at, found = self.progress, self._validation()
        if found is None:
            self.run.save(at, weights_of(self.prepared.model), self.updater.state(), self.prepared.config, best=False)
            return
        figure = self._figure(found)
        best = at.best is None or figure > at.best
        self._advance(
            best=figure if best else at.best,
            best_update=at.update if best else at.best_update,
            best_of=1 if best else at.best_of,
            waited=0 if best else at.waited + 1,
            validated=Sums(),
            **plateau(at, figure, self.config),
        )
        sums = at.validated
        event = Validated(
            update=at.update,
            epoch=at.epoch,
            tokens=at.tokens,
            training_loss=sums.loss / sums.tokens if sums.tokens else math.nan,
            loss=found.loss,
            perplexity=math.exp(min(found.loss, 700)),  # exp(710) overflows
            nats_per_character=found.nats_per_character,
            bleu=found.bleu.value,
            length_ratio=found.bleu.length_ratio,
            **asdict(found.faults),
            attention_entropy=found.attention.entropy if found.attention else None,
            attention_to_end=found.attention.to_end if found.attention else None,
            best=best,
            learning_rate=learning_rate(self.config, at.update, at.falls),
            tokens_per_second=sums.tokens / sums.seconds if sums.tokens else 0.0,
            elapsed=self.progress.seconds,
            remaining=left_of(self.progress, self.config),
            sample_source=found.sample_source,
            sample_hypothesis=found.sample_hypothesis,
            sample_reference=found.sample_reference,
        )
        self._report(event)
        if self.tracker:
            self.tracker.show(at.update, found.shown, found.reading)
        weights = weights_of(self.prepared.model)
        self.run.save(self.progress, weights, self.updater.state(), self.prepared.config, best=best)
        say(row(event))
        say(f"         {found.sample_source}  →  {found.sample_hypothesis}")
        for message in warnings(event, self.config):
            self._warn(message)

    def _validation(self) -> Validation | None:
        """A validation of the model as it is; None, with a warning, where it fails, since training can go on."""
        try:
            return validate(self.prepared)
        except Exception as error:  # whatever it is: updates need no validation
            where = traceback.extract_tb(error.__traceback__)[-1]
            cure = ": lower search.max_tokens" if is_out_of_memory(error) else ""
            message = (
                f"the validation failed{cure}: {type(error).__name__}: {error} ({Path(where.filename).name}, line "
                f"{where.lineno}); the weights are saved, and training goes on"
            )
            self._warn(message)
            return None
        finally:
            self.updater.objective.train()

    def finish(self) -> None:
        """Validate the mean of the last checkpoints, which is the best where it is better, and mark the run's end."""
        model, at, end = self.prepared.model, self.progress, end_of(self.progress, self.config)
        assert end, "a training that goes on has no end to mark"
        last = {name: weight.detach().clone() for name, weight in weights_of(model).items()}
        checkpoints = self.run.checkpoints()
        if checkpoints > 1:
            try:
                mean, _, path = self.run.weights("average")
            except InputError as error:  # an older checkpoint is broken, which must not keep a training from its end
                self._warn(f"the mean of the last {checkpoints} checkpoints is left out: {error}")
            else:
                load_weights(model, mean, path)
                found = self._validation()
                if found is not None:
                    self._report_mean(found, checkpoints)
                load_weights(model, last, path)
        self._advance(finished=True)
        self.run.save_training(self.progress, last, self.updater.state())
        self._report(Ended(at.update, end.reason, self.progress.seconds))

    def _report_mean(self, found: Validation, checkpoints: int) -> None:
        """Report the validation of the mean of checkpoints, and save it where it is the best."""
        at, figure = self.progress, self._figure(found)
        event = Averaged(
            update=at.update,
            checkpoints=checkpoints,
            loss=found.loss,
            perplexity=math.exp(min(found.loss, 700)),
            nats_per_character=found.nats_per_character,
            bleu=found.bleu.value,
            best=at.best is None or figure > at.best,
        )
        self._report(event)
        say(mean_row(event))
        if event.best:
            self.run.save_best(weights_of(self.prepared.model), at.update, self.prepared.config)
            self._advance(best=figure, best_update=at.update, best_of=checkpoints)

    def _warn(self, message: str) -> None:
        self._report(Warned(self.progress.update, message))
        say(f"warning  {message}")

    def _report(self, event: Event) -> None:
        self.reporter.write(event)
        if self.tracker:
            self.tracker.report(event)

    def _figure(self, found: Validation) -> float:
        """What the best checkpoint has most of."""
        return found.bleu.value if self.config.best_by == "bleu" else -found.loss

    def interrupt(self) -> None:
        """Save so that the same command goes on from here."""
        self._read()
        self._stop("interrupted")

    def _stop(self, reason: str) -> None:
        self.run.save_training(self.progress, weights_of(self.prepared.model), self.updater.state())
        self._report(Ended(self.progress.update, reason, self.progress.seconds))

    def _advance(self, **changes: Any) -> None:
        now = time.perf_counter()
        self.progress = replace(self.progress, seconds=self.progress.seconds + now - self.clock, **changes)
        self.clock = now


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that SIGINT, SIGTERM or SIGHUP adds itself to; a second SIGINT stops at once. `nohup` is left in force."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and signal.SIGINT in received:
            raise KeyboardInterrupt
        received.append(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
