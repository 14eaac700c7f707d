"""What the benchmarks share: this machine's yardstick, a table, figures in a file."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch


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
