"""What the benchmarks share: this machine's yardstick, processes that measure, a table, figures in a file."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nmt.config import InputError

Figures = dict[str, float | str | None]


def matrix_peak(size: int = 2048, repetitions: int = 30) -> float:
    """GFLOP/s of a float32 product of two square matrices on torch's threads: the best of some repetitions."""
    left, right, product = torch.rand(size, size), torch.rand(size, size), torch.empty(size, size)
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        torch.mm(left, right, out=product)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds) / 1e9


def mean_and_spread(values: Sequence[float]) -> str:
    """The mean of a figure over rounds, and its least and greatest value."""
    mean = sum(values) / len(values)
    return f"{mean:.2f} ({min(values):.2f} to {max(values):.2f})"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines for a terminal, the first row being the heading; the first column stands on the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:{'>' if column else '<'}{widths[column]}}" for column, cell in enumerate(row)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])


def write_json(path: Path, figures: Mapping[str, float | str | None]) -> None:
    """Write figures under flat keys."""
    path.write_text(json.dumps(dict(figures), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def result_of(command: Sequence[str], folder: Path) -> dict[str, Any]:
    """What a process, told of a folder, leaves there in `result.json`; raises InputError where it leaves nothing."""
    (folder / "result.json").unlink(missing_ok=True)
    try:
        done = subprocess.run([*command, str(folder)], capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise InputError(f"{command[0]} cannot be run: {error.strerror}") from None
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        log = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise InputError(
            f"{' '.join(command)} failed with exit code {done.returncode}; its log ends: {' / '.join(log[-3:])}"
        ) from None
    return result


def measure_each(paths: Sequence[Path], measure: Callable[[Path, Path], Figures], file: Path | None) -> int:
    """Measure what lies at each path, with a folder to work in; write all figures to the file; gives the exit code."""
    figures: Figures = {}
    try:
        for path in paths:
            with tempfile.TemporaryDirectory() as folder:
                own = measure(path, Path(folder))
            figures |= {f"{path.stem}.{key}": value for key, value in own.items()}
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if file:
        write_json(file, figures)
    return 0
