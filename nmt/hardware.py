"""Device, precision and threads: the only file that names torch.cuda."""

import contextlib
import platform
import resource
import sys
from typing import Literal

import torch

from nmt.config import InputError


def choose_device(name: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means on this machine.

    Raises InputError where a GPU is asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"--device cuda: torch {torch.__version__} finds no GPU on this machine; use --device cpu or auto"
        )
    return torch.device(name)


def set_threads(threads: int) -> None:
    """Compute on so many CPU threads; 0 leaves torch's own choice, a thread a core."""
    if threads:
        torch.set_num_threads(threads)


def describe(device: torch.device) -> str:
    """One line: versions, device and threads, for a person and for `run.json`."""
    if device.type == "cuda":
        where = f"{torch.cuda.get_device_name(device)}"
    else:
        where = f"CPU, {torch.get_num_threads()} threads"
    return f"python {platform.python_version()} · torch {torch.__version__} · {where}"


def autocast(
    device: torch.device, precision: Literal["float32", "bfloat16"]
) -> contextlib.AbstractContextManager[object]:
    """A context in which matrix products run in `precision`."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A context in which nothing runs in a lower precision: sums over a vocabulary need float32."""
    return torch.autocast(device.type, enabled=False)


def peak_memory(device: torch.device) -> int:
    """The most memory, in bytes, that this process (on a GPU: its tensors) has held so far."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
