"""Device, precision and threads: the only file that names torch.cuda."""

import contextlib
import ctypes
import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from nmt.config import InputError

# Where Linux tells of memory: the machine's, a container's limit, this process's.
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
STATUS, RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")

# Workers wait for Python's lock: two of them on two cores a seventh of the time. For many cores this is a guess.
MOST_WORKERS = 8


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


def _keep_memory() -> None:
    """Let the C library keep the memory that tensors give back, where it is glibc.

    Else most large tensors are pages fresh from the system, which costs more than many operations on them. On 2 cores
    a search by two threads gave 271 sentences/s instead of 216, an RNN's training 4 % more.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # malloc.h
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(mmap_threshold, 32 * 2**20)  # the greatest that it takes
    mallopt(trim_threshold, 2**30)
    mallopt(arena_max, 1)  # one for all threads: what one gives back another can take


def set_up(threads: int) -> None:
    """Settings of the whole process: so many CPU threads (0: torch's own choice, a thread a core), memory kept."""
    _keep_memory()
    if threads:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def workers(device: torch.device) -> Iterator[tuple[Executor, int]]:
    """Workers for independent tasks, and how many: on the CPU as many as torch has threads, else one.

    Two tasks side by side, each computed by one thread, take less time than one after the other, each computed by two:
    most of a search's tensors are too small to be worth sharing.
    """
    threads = torch.get_num_threads()
    count = min(threads, MOST_WORKERS) if device.type == "cpu" else 1
    torch.set_num_threads(threads // count)  # what threads that begin now will use
    executor = ThreadPoolExecutor(count)
    try:
        yield executor, count
    finally:
        executor.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def require_compiler() -> None:
    """Raise InputError unless there is the C++ compiler that torch.compile calls."""
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if not shutil.which(name):
        raise InputError(
            f"training.compile = true needs the C++ compiler {name}, which is not found; install it, name another in "
            "the environment variable CXX, or set training.compile=false"
        )


def describe(device: torch.device) -> str:
    """One line: versions, device and threads, for a person and for `run.json`."""
    if device.type == "cuda":
        where = f"{torch.cuda.get_device_name(device)}"
    else:
        count = torch.get_num_threads()
        where = f"CPU, {count} thread{'' if count == 1 else 's'}"
    return f"python {platform.python_version()} · torch {torch.__version__} · {where}"


def describe_system() -> str:
    """One line: operating system, processor, memory."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():  # Linux, where Python does not know the processor's name
        lines = Path("/proc/cpuinfo").read_text().split("\n")
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{platform.system()} {platform.release()} · {name}, {os.cpu_count()} cores · {memory:.0f} GiB"


def autocast(
    device: torch.device, precision: Literal["auto", "float32", "bfloat16"]
) -> contextlib.AbstractContextManager[object]:
    """A context in which matrix products run in `precision`; auto: bfloat16 on a GPU that computes in it."""
    if precision == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bfloat16" if fast else "float32"
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def length_multiple(device: torch.device) -> int:
    """What lengths of batches are best a multiple of: on a GPU rows of 16 bytes suit products and attention's masks."""
    return 8 if device.type == "cuda" else 1


def waits_for_reading(device: torch.device) -> bool:
    """Whether reading a number from the device makes it wait: then it is done now and then."""
    return device.type == "cuda"


def is_out_of_memory(error: Exception) -> bool:
    """Whether an operation failed as its device had no memory left for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)  # on a CPU


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process can still take, in a container too; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = []
    if MEMINFO.exists():
        free.append(_field(MEMINFO, "MemAvailable"))
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if limit.exists() and limit.read_text().strip() != "max":
        free.append(int(limit.read_text()) - int(used.read_text()))
    return min(free, default=None)


def memory_of(act: Callable[[], object], device: torch.device) -> int | None:
    """The most memory, in bytes, that `act` held beyond what was held before; None where the system does not tell."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        act()
        return int(torch.cuda.max_memory_allocated(device)) - before
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)  # what is kept for later counts as held
    try:
        RESET_PEAK.write_text("5")
    except OSError:
        return None
    before = _field(STATUS, "VmRSS")
    act()
    return max(0, _field(STATUS, "VmHWM") - before)


def _field(path: Path, name: str) -> int:
    """Bytes of a field that Linux gives in kB."""
    return next(int(line.split()[1]) * 1024 for line in path.read_text().split("\n") if line.startswith(f"{name}:"))


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; on its way to a GPU nothing waits for it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # from pageable memory the copy would be waited for


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A context in which nothing runs in a lower precision: sums over a vocabulary need float32."""
    return torch.autocast(device.type, enabled=False)


def peak_memory(device: torch.device) -> int:
    """The most memory, in bytes, that this process (on a GPU: its tensors) has held so far."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
