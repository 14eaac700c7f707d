"""How far a training has come."""

from dataclasses import dataclass

from nmt.config import TrainingConfig


@dataclass(frozen=True)
class Sums:
    """What some updates came to, for the means that are reported of them."""

    loss: float = 0.0  # nats, smoothed
    norm: float = 0.0
    tokens: int = 0
    updates: int = 0  # without those that were skipped
    seconds: float = 0.0

    def plus(self, loss: float, norm: float, tokens: int, seconds: float) -> "Sums":
        """The sums with one more update."""
        return Sums(self.loss + loss, self.norm + norm, self.tokens + tokens, self.updates + 1, self.seconds + seconds)


@dataclass(frozen=True)
class Progress:
    """How far a training has come: all that resuming needs beside the tensors."""

    update: int = 0  # updates done
    epoch: int = 0  # from 0
    position: int = 0  # updates of that epoch's plan done
    best: float | None = None  # the best validation's figure (BLEU, or minus the loss)
    best_update: int = 0  # where it was reached
    best_of: int = 1  # checkpoints whose mean it is
    waited: int = 0  # validations since
    # Of the plateau schedule, from validations at training.validation_interval after the warm-up alone: the best's
    # figure, validations since, or since the learning rate fell, and how often it fell.
    plateau_best: float | None = None
    plateau_waited: int = 0
    falls: int = 0
    seconds: float = 0.0  # spent so far, validations and earlier sittings included
    tokens: int = 0  # real target tokens trained on so far
    reported: Sums = Sums()  # since the last report of the training loss
    validated: Sums = Sums()  # since the last validation
    skipped: int = 0  # updates whose loss or gradient was not finite
    skipped_in_row: int = 0  # the last ones
    finished: bool = False


@dataclass(frozen=True)
class End:
    """Why a training is over."""

    reason: str  # for people
    key: str  # of the config, whose higher value lets it go on


def end_of(progress: Progress, config: TrainingConfig) -> End | None:
    """Why a training is over; None: it goes on."""
    if progress.update == config.updates:
        return End("all updates done", "training.updates")
    if 0 < config.max_target_tokens <= progress.tokens:
        return End(f"{progress.tokens:,} target tokens trained on", "training.max_target_tokens")
    if 0 < config.max_minutes * 60 <= progress.seconds:
        return End(f"{config.max_minutes:g} minutes over", "training.max_minutes")
    if 0 < config.patience <= progress.waited:
        return End(f"no better validation in {progress.waited}", "training.patience")
    return None


def left_of(progress: Progress, config: TrainingConfig) -> float:
    """Seconds to the end at the rate so far, where it comes by a budget."""
    shares = [progress.update / config.updates]
    shares += [progress.tokens / config.max_target_tokens] if config.max_target_tokens else []
    shares += [progress.seconds / (60 * config.max_minutes)] if config.max_minutes else []
    return max(0.0, progress.seconds / max(shares) - progress.seconds)
