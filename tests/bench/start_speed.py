"""How long commands take from a cold start, over what importing torch alone takes, in one run, alternating.

    python -m tests.bench.start_speed [RUN] [--rounds N] [--json FILE]

Every figure is the whole life of a process. RUN is a trained model; without one, no line is translated.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.machine import mean_and_spread, table, write_json

LINE = "ein mann schläft auf einer bank .\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time commands from a cold start.")
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="starts of each command (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    nmt = (sys.executable, "-m", "nmt.cli")
    commands: dict[str, tuple[str, ...]] = {
        "import_torch": (sys.executable, "-c", "import torch"),
        "help": (*nmt, "--help"),
        "keys": (*nmt, "keys"),
    }
    if arguments.run:
        commands["translate"] = (*nmt, "translate", str(arguments.run), "--device", "cpu")
    # The first start of each reads files from the disk, and compiles what is not compiled yet.
    for command in commands.values():
        seconds_of(command)
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(arguments.rounds):
        for name, command in commands.items():
            taken[name].append(seconds_of(command))
    ratios = {
        name: [seconds / torch for seconds, torch in zip(taken[name], taken["import_torch"], strict=True)]
        for name in commands
    }
    rows = [
        (" ".join(command[1:]), mean_and_spread(taken[name]), mean_and_spread(ratios[name]))
        for name, command in commands.items()
    ]
    print(table([("python", "seconds", "× import torch"), *rows]))
    if not arguments.run:
        print("no line was translated, as no RUN was given")
    if arguments.json:
        seconds = {f"{name}_seconds": sum(values) / len(values) for name, values in taken.items()}
        del ratios["import_torch"]
        over = {f"{name}_over_import_torch": sum(values) / len(values) for name, values in ratios.items()}
        write_json(arguments.json, seconds | over)


def seconds_of(command: tuple[str, ...]) -> float:
    """The seconds from the start of a process to its end."""
    started = time.perf_counter()
    subprocess.run(command, input=LINE.encode(), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
