"""Searches timed in a process of their own, for a translator with an environment of its own: standard library only.

The process is given a folder. It finds there `task.json`, what to search, and leaves `result.json`, what that took.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Task = dict[str, Any]

# Translates the sentences of some numbers; gives the target tokens of each, </s> counted where it was searched for.
Search = Callable[[Sequence[int], int, int | None], list[int]]  # numbers, beam size, exactly so many tokens if given


def measure(prepare: Callable[[Task], Search]) -> None:
    """Do what the folder in the process' first argument asks for, with the search that `prepare` makes ready."""
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    search = prepare(task)
    result = {}
    for wanted in task["measurements"]:
        beam_size, exactly = wanted["beam_size"], wanted["exactly"]
        numbers = range(len(task["sources"]))
        warm_up = numbers[:: max(1, len(numbers) // 20)]
        search(warm_up, beam_size, exactly)
        if wanted["alone"]:
            found, seconds = [], []
            for number in warm_up:
                started = time.perf_counter()
                found += search([number], beam_size, exactly)
                seconds.append(time.perf_counter() - started)
            figure = 1000 * statistics.median(seconds)
        else:
            started = time.perf_counter()
            found = search(numbers, beam_size, exactly)
            figure = len(numbers) / (time.perf_counter() - started)
        if exactly and set(found) != {exactly}:
            raise RuntimeError(f"asked for exactly {exactly} tokens, found {min(found)} to {max(found)}")
        result[wanted["name"]] = {"figure": figure, "tokens": sum(found) / len(found)}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def batches(task: Task, numbers: Sequence[int]) -> list[list[int]]:
    """Sentences in batches of the setting's size, the longest first."""
    ordered = sorted(numbers, key=lambda number: len(task["sources"][number]), reverse=True)
    size = task["setting"]["batch_size"]
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def longest_target(task: Task, batch: Sequence[int]) -> int:
    """The most target tokens of a batch's longest sentence, </s> counted."""
    length = max(len(task["sources"][number]) for number in batch)
    return int(task["search"]["max_length_ratio"] * length) + int(task["search"]["max_length_offset"])
