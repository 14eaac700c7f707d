"""Updates timed from outside, for trainers that live in environments of their own: the standard library alone.

A process that trains is given a folder. It finds there `task.json`, what to train on what, and leaves `result.json`,
what its updates cost.
"""

import json
import resource
import time
from pathlib import Path
from typing import Any


class Finished(BaseException):
    """All updates that were to be timed are done; a trainer that catches its exceptions does not catch this one."""


class Stopwatch:
    """Times a trainer's updates, the first few excepted, from the beginning of one to the beginning of the next.

    So all that an update needs is counted, the making of its batch too, and nothing of what comes before the first.
    """

    def __init__(self, warm_up: int, updates: int) -> None:
        self.warm_up, self.updates = warm_up, updates
        self.begun = 0
        self.tokens = self.padded = 0
        self.started = self.seconds = 0.0

    def begin(self, tokens: int, padded: int) -> None:
        """An update begins on so many real target tokens, </s> counted, and padded ones (rows × the longer side).

        Raises Finished where the updates before it were the last to be timed.
        """
        now = time.perf_counter()
        if self.begun == self.warm_up:
            self.started = now
        if self.begun == self.warm_up + self.updates:
            self.seconds = now - self.started
            raise Finished
        if self.begun >= self.warm_up:
            self.tokens += tokens
            self.padded += padded
        self.begun += 1

    def result(self, parameters: int) -> dict[str, float]:
        """What `result.json` holds: sums over the timed updates, and facts of the process."""
        return {
            "tokens": self.tokens,
            "padded": self.padded,
            "updates": self.updates,
            "seconds": self.seconds,
            "parameters": parameters,
            "peak_memory": peak_memory(),
        }


def peak_memory() -> int:
    """The most memory, in bytes, that this process has held."""
    try:
        # Not ru_maxrss: that begins at what the parent held when it started this process.
        [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def read_task(folder: Path) -> dict[str, Any]:
    """What to train on what."""
    task: dict[str, Any] = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    return task


def write_result(folder: Path, result: dict[str, float]) -> None:
    """Leave what the updates cost."""
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
