"""Our own updates, timed: `python -m tests.bench.own_training FOLDER`. The others' programs are in `peers`."""

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from nmt import hardware
from nmt.batching import make_batch
from nmt.config import load_config
from nmt.models.base import count_parameters
from nmt.optimisation import Updater
from nmt.preparation import plan_epoch, prepare
from nmt.subwords import Subwords
from tests.bench.peers.measure import Finished, Stopwatch, read_task, write_result

PHASED = 20  # updates taken apart: enough for a mean


def main() -> None:
    folder = Path(sys.argv[1])
    task = read_task(folder)
    hardware.set_up(task["threads"])
    prepared = prepare(load_config(Path(task["config"])), torch.device("cpu"), Subwords.load(folder))
    updater, lengths = Updater(prepared), prepared.corpus.lengths
    warm_up, timed = plan_epoch(prepared, 1)[: task["warm_up"]], plan_epoch(prepared, 0)[: task["updates"]]
    stopwatch = Stopwatch(len(warm_up), len(timed))
    try:
        # The last one ends the time of the one before, and is not done.
        for number, lines in enumerate([*warm_up, *timed, timed[0]], start=1):
            stopwatch.begin(int(lengths[lines, 1].sum()) + len(lines), len(lines) * (int(lengths[lines].max()) + 1))
            updater.update(lines, number, epoch=0)
    except Finished:
        parameters, _ = count_parameters(prepared.model)
        # In this order: what follows the timed updates must not count among their memory.
        result = stopwatch.result(parameters)
        write_result(folder, result | milliseconds_by_phase(updater, timed[:PHASED]))


def milliseconds_by_phase(updater: Updater, plan: Sequence[Tensor]) -> dict[str, float]:
    """Milliseconds an update that each of its phases takes, in an update taken apart."""
    corpus, parameters = updater.prepared.corpus, list(updater.prepared.model.parameters())
    seconds = dict.fromkeys(("batch", "forward_and_loss", "backward", "clip_and_optimiser"), 0.0)
    for lines in plan:
        marks = [time.perf_counter()]
        batch = make_batch(*corpus.ids(lines), lines)
        marks.append(time.perf_counter())
        loss, _ = updater.objective(batch)
        marks.append(time.perf_counter())
        (loss / batch.tokens).backward()
        marks.append(time.perf_counter())
        nn.utils.clip_grad_norm_(parameters, updater.config.clip_norm or math.inf)
        updater.optimiser.step()
        updater.optimiser.zero_grad()
        marks.append(time.perf_counter())
        for phase, start, end in zip(seconds, marks, marks[1:], strict=False):
            seconds[phase] += end - start
    return {phase: 1000 * total / len(plan) for phase, total in seconds.items()}


if __name__ == "__main__":
    main()
