"""How far a training has come."""

from dataclasses import dataclass


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
