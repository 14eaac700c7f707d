"""Lines of text in and out: a line ends at "\\n" and nowhere else, so that two sides of a corpus keep step.

Python's text files would also split at a lone "\\r", and `str.splitlines` at U+0085, U+2028 and others, all
of which occur inside the sentences of crawled corpora.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import BinaryIO

from nmt.config import FilePair, InputError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PIPE = 1 << 16  # bytes a read from a descriptor: what a Linux pipe holds
BLOCK = 1 << 17  # bytes of a file decoded and split at a time: twice as fast as line by line, and within a cache


def read_lines(path: Path) -> list[str]:
    """All lines of a file."""
    return list(iterate_lines(path))


def iterate_lines(path: Path) -> Iterator[str]:
    """The lines of a file (gzip if it is named so), without their "\\n" or "\\r\\n", a block in memory at a time.

    A byte-order mark at the start is dropped. Raises `InputError` for a file that cannot be read to its end,
    and, after the good lines before them, for bytes that are not UTF-8.
    """
    return chain.from_iterable(iterate_blocks(path))


def iterate_blocks(path: Path) -> Iterator[list[str]]:
    """The same lines, a block of them at a time."""
    whole = path.absolute()
    zipped = path.suffix == ".gz"
    try:
        if zipped and whole.is_file() and whole.stat().st_size == 0:  # which Python takes for empty text
            raise EOFError("it has no bytes at all")
        with gzip.open(whole) if zipped else whole.open("rb") as file:
            blocks = iter(lambda: file.read(BLOCK) + file.readline(), b"")  # each ends where a line does
            yield from _decoded(blocks, str(whole))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{whole} is damaged or not gzip ({error}). Fetch it again, or rename it if it is plain text."
        ) from error
    except OSError as error:
        raise InputError(f"{whole} cannot be read: {error.strerror or error}.") from error


@dataclass(frozen=True)
class TextPairs:
    """Pairs of lines, held in memory: a validation or test set."""

    sources: list[str]
    targets: list[str]


def read_pairs(files: FilePair) -> TextPairs:
    """Two files read whole; raises InputError where one has more lines than the other."""
    sources, targets = read_lines(Path(files.source)), read_lines(Path(files.target))
    if len(sources) != len(targets):
        raise InputError(_unequal(files, len(sources), len(targets)))
    return TextPairs(sources, targets)


def check_pairs(files: FilePair) -> int:
    """The number of pairs of two files, read once without holding them; raises InputError as `read_pairs` does."""
    sources, targets = (sum(map(len, iterate_blocks(Path(name)))) for name in (files.source, files.target))
    if sources != targets:
        raise InputError(_unequal(files, sources, targets))
    if not sources:
        raise InputError(f"{Path(files.source).absolute()}: the file is empty, so there is nothing to train on")
    return sources


def _unequal(files: FilePair, sources: int, targets: int) -> str:
    return (
        f"{Path(files.source).absolute()} has {sources:,} lines, but {Path(files.target).absolute()} has "
        f"{targets:,}: line i of one must be the translation of line i of the other"
    )


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write each line, "\\n" after it, as UTF-8 (gzip if the file is named so); the file is whole or absent.

    A "\\r" at the end of a line is written as it is, and would be dropped on reading.
    """
    with written_aside(path) as file:
        if path.suffix == ".gz":  # no name and no time inside: the same lines give the same bytes
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as zipped:
                zipped.writelines(_encoded(lines))
        else:
            file.writelines(_encoded(lines))


@contextmanager
def written_aside(path: Path) -> Iterator[BinaryIO]:
    """A file in the folder of `path` to write to; it becomes `path` when the block ends without an error."""
    whole = path.absolute()
    if whole.exists() and not whole.is_file():  # a rename would do away with a device such as /dev/null
        raise InputError(f"{whole} cannot be written: it is there already and is not a plain file.")
    real = whole.resolve()  # a link stays, the file it points to is replaced
    aside = real.with_name(f".{real.name}.{os.getpid()}")
    try:
        file = aside.open("wb")
    except OSError as error:
        raise InputError(f"{whole} cannot be written: {error.strerror or error}.") from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the new name on an empty file
        aside.replace(real)
        flush(real.parent)
    except OSError as error:
        raise InputError(f"{whole} cannot be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # of a folder that is gone or cannot be written: it must not hide the first error
            aside.unlink()


def flush(*paths: Path) -> None:
    """Let files, or the names in folders, outlast a power cut; where their file system cannot, nothing can be done."""
    for path in paths:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path.absolute()} cannot be read: {error.strerror or error}.") from None


def aside_pattern(pattern: str) -> str:
    """Of a pattern for files, the one for what `written_aside` leaves of them where its process is killed."""
    folder, _, name = pattern.rpartition("/")
    return f"{folder}/.{name}.[0-9]*" if folder else f".{name}.[0-9]*"


def gather_lines(descriptor: int, name: str, most: int, pause: float = 0.05) -> Iterator[list[str]]:
    """Groups of lines as they come; one ends at `most` lines, `pause` silent seconds, or the end.

    So a person at a terminal has an answer at once, and a file is handled in large groups. The lines are as
    in `iterate_lines`. An `InputError` calls the input `name`, and comes after the good lines before it.
    """
    queue: Queue[str | InputError | None] = Queue(maxsize=most)  # a group ahead of its consumer, and no more
    # It reads the descriptor itself: a daemon thread within sys.stdin would hold a lock that the interpreter
    # wants when it shuts down.
    Thread(target=_fill, args=(queue, descriptor, name), daemon=True).start()
    group: list[str] = []
    while True:
        try:
            item = queue.get(timeout=pause if group else None)
        except Empty:
            yield group
            group = []
            continue
        if isinstance(item, str):
            group.append(item)
            if len(group) < most:
                continue
        if group:
            yield group
            group = []
        if item is None:
            return
        if isinstance(item, InputError):
            raise item


def _fill(queue: Queue[str | InputError | None], descriptor: int, name: str) -> None:
    try:
        for line in chain.from_iterable(_decoded(_piped_blocks(descriptor), name)):
            queue.put(line)
        queue.put(None)
    except InputError as error:
        queue.put(error)
    except OSError as error:
        queue.put(InputError(f"{name} cannot be read: {error.strerror or error}."))


def _piped_blocks(descriptor: int) -> Iterator[bytes]:
    """What comes, in blocks that end where a line does."""
    rest = bytearray()  # of a line whose end has not come yet; grows in place, as a line may span many reads
    while chunk := os.read(descriptor, PIPE):
        end = chunk.rfind(b"\n") + 1
        if end:
            yield bytes(rest + chunk[:end])
            rest.clear()
        rest += chunk[end:]
    if rest:
        yield bytes(rest)


def _decoded(blocks: Iterable[bytes], name: str) -> Iterator[list[str]]:
    """The lines of each block; a block ends where a line does."""
    first = 1  # the number of the block's first line
    for block in blocks:
        try:
            text, wrong = block.decode("utf-8"), None
        except UnicodeDecodeError as error:
            begin = block.rfind(b"\n", 0, error.start) + 1  # of the line that the bad byte is in
            text, wrong = block[:begin].decode("utf-8"), error
        if first == 1:
            text = text.removeprefix("\ufeff")
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        lines = text.split("\n")
        if not lines[-1]:
            del lines[-1]  # behind the last line's end
        first += len(lines)
        yield lines
        if wrong:
            raise InputError(
                f"{name}, line {first}, byte {wrong.start - begin + 1}: not UTF-8. "
                f"Convert the text (iconv -f … -t UTF-8), or mend that line."
            ) from wrong


def _encoded(lines: Iterable[str]) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        if "\n" in line:
            raise ValueError(f"a line holds a line break: {line!r}")
        mark = "\ufeff" if number == 0 and line.startswith("\ufeff") else ""  # one, which reading drops
        yield f"{mark}{line}\n".encode()
