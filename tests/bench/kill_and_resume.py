"""Trainings that are killed again and again end as ones that were left alone, to the bit.

    python -m tests.bench.kill_and_resume [--kills N] [--seed N] [--folder DIR]

Small trainings of both models, with dropout and sampled subwords, are killed by SIGKILL at random moments, at least a
fifth of the times each within an update, within a validation, and while a checkpoint is written, and go on by the same
command until they end. Prints how many kills fell where, and what differs in the end from a training that nobody
killed: weights, optimiser, the state of the search for the best, and metrics.jsonl but for times. Exit code 1 where
anything does, or where a command fails.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.place import TIMES, told, write_corpus

NAMES = ("rnn", "transformer")
KEYS = ["subwords.sampling=4", "training.updates=40", "training.validation_interval=4", "training.average_last=3"]
# Where a process is killed, and what it is doing there: a function, by the module that calls it and its name in it.
PLACES = {
    "update": ("nmt.optimisation", "Updater.update"),
    "validation": ("nmt.training", "validate"),
    "checkpoint": ("nmt.runs", "save_tensors"),
}


def victim(place: str, call: int, share: float, log: Path, command: list[str]) -> int:
    """Give a command that kills its process within a call of a place, after a share of the time that calls take."""
    import importlib

    from nmt.cli import main

    module, name = PLACES[place]
    owner: Any = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    function: Callable[..., Any] = getattr(owner, last)
    taken: list[float] = []

    def watched(*positional: Any, **named: Any) -> Any:
        started = time.perf_counter()
        if len(taken) >= call:
            log.write_text("within")
            threading.Timer(share * taken[-1], os.kill, (os.getpid(), signal.SIGKILL)).start()
        found = function(*positional, **named)
        if len(taken) >= call:
            log.write_text("behind")
        taken.append(time.perf_counter() - started)
        return found

    setattr(owner, last, watched)
    return main(command)


def differences(run: Path, other: Path) -> list[str]:
    """In what two finished runs differ."""
    from nmt.checkpoint import load_tensors

    found = []
    folders = [path / "checkpoints" for path in (run, other)]
    names = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    if names[0] != names[1]:
        found.append(f"files: {names}")
    for name in sorted(set(names[0]) & set(names[1])):
        (tensors, notes), (others, other_notes) = (load_tensors(folder / name) for folder in folders)
        for key in tensors.keys() | others.keys():
            same = key in tensors and key in others and tensors[key].numpy().tobytes() == others[key].numpy().tobytes()
            if not same:
                found.append(f"{name}: {key}")
        for key in notes.keys() | other_notes.keys():
            if key not in TIMES | {"reported", "validated"} and notes.get(key) != other_notes.get(key):
                found.append(f"{name}: {key} {notes.get(key)} and {other_notes.get(key)}")
    if told(run / "metrics.jsonl") != told(other / "metrics.jsonl"):
        found.append("metrics.jsonl")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill trainings and see that nothing is lost.")
    parser.add_argument("--kills", type=int, default=40, metavar="N", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of where and when (%(default)s)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to train (a temporary one)")
    arguments = parser.parse_args()
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        return kill_and_resume(arguments.folder, arguments.kills, random.Random(arguments.seed))
    with tempfile.TemporaryDirectory() as folder:
        return kill_and_resume(Path(folder), arguments.kills, random.Random(arguments.seed))


def kill_and_resume(folder: Path, kills: int, draw: random.Random) -> int:
    """Train in a folder, kill so often, print what came of it; gives the exit code."""
    write_corpus(folder)
    (folder / "log").write_text("")
    inside = {"cwd": folder, "env": os.environ | {"PYTHONPATH": os.getcwd(), "NMT_CACHE": str(folder / "cache")}}
    nmt = [sys.executable, "-m", "nmt.cli"]

    def train(name: str, run: str) -> list[str]:
        return ["train", f"{name}.toml", *KEYS, "--device", "cpu", "--threads", "1", "--run", run]

    def end(name: str, run: str) -> bool:
        done = subprocess.run([*nmt, *train(name, run)], capture_output=True, text=True, **inside)
        if done.returncode:
            print(f"{run}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.returncode == 0

    if not all(end(name, f"{name}-alone") for name in NAMES):
        return 1
    hit: Counter[str] = Counter()
    faults = runs = 0
    while sum(hit.values()) < kills or min(hit[place] for place in PLACES) < kills // 5:
        if runs == 10 * kills:
            print(f"{runs} runs had only these kills: {dict(hit)}")
            return 1
        name, run = NAMES[runs % len(NAMES)], f"run-{runs}"
        runs += 1
        for _ in range(draw.randrange(1, 5)):  # kills of one run
            place = min(PLACES, key=lambda place: (hit[place], draw.random()))
            call = draw.randrange(1, 12 if place == "update" else 4)
            given = [place, str(call), str(draw.random()), str(folder / "log"), *train(name, run)]
            code = subprocess.run(
                [sys.executable, "-m", "tests.bench.kill_and_resume", "--victim", *given], capture_output=True, **inside
            ).returncode
            if code == -signal.SIGKILL:
                hit[place if (folder / "log").read_text() == "within" else f"behind a {place}"] += 1
            elif code:
                print(f"{run}: exit code {code}")
                faults += 1
        if not end(name, run):
            faults += 1
            continue
        different = differences(folder / f"{name}-alone", folder / run)
        faults += bool(different)
        print(f"{run:8} {name:12} {'; '.join(different) or 'as if nobody had killed it'}", flush=True)
    print(f"{sum(hit.values())} kills of {runs} runs: {', '.join(f'{count} {place}' for place, count in hit.items())}")
    print(f"{faults} runs differ or were lost")
    return 1 if faults else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--victim"]:
        place, call, share, log, *command = sys.argv[2:]
        sys.exit(victim(place, int(call), float(share), Path(log), command))
    sys.exit(main())
