"""Parallel text: read, tokenised once into a memory-mapped cache, filtered with a count of what is dropped."""

import hashlib
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import torch
from numpy.typing import NDArray
from torch import Tensor

from nmt.config import DataConfig, FilePair, InputError
from nmt.lines import check_pairs, file_digest, flush, iterate_blocks, iterate_lines, read_lines, write_lines
from nmt.subwords import FlatIds, Subwords

CACHED = ("pairs.arrow", "lengths")  # beside them `sums`, one a line: a changed id would train on other text
CACHE_VERSION = 3  # raise it when what is cached changes for the same text and subwords
LINES_A_GROUP = 1_000  # encoded at a time: lines of some groups still fit the caches, which saves a fifth of the time
GROUPS_A_BATCH = 50  # written at a time: each batch of Arrow's takes some memory where it is read
LINES_A_PART = 1 << 16  # filtered at a time, small in memory

FEATURES = datasets.Features(
    {
        "source": datasets.Sequence(datasets.Value("int32")),  # ids without <s> and </s>
        "target": datasets.Sequence(datasets.Value("int32")),
    }
)


@dataclass(frozen=True)
class TrainingCorpus:
    """Training pairs as ids. Ids and lengths are memory-mapped: of memory, a pair takes that of its line number."""

    rows: datasets.Dataset  # "source" and "target": ids of every line of the files, dropped ones included
    lengths: Tensor  # (lines, 2) pieces of source and target, without <s> and </s>
    kept: Tensor  # (pairs,) line numbers, from 0, of the pairs that pass the filters; 32 bits where they fit
    dropped: dict[str, int]  # pairs dropped, by reason

    def ids(self, lines: Tensor) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32]]]:
        """Source and target ids of the pairs at these line numbers, read where they lie."""
        batches = np.searchsorted(self._begins, lines.numpy(), side="right") - 1
        rows = lines.numpy() - self._begins[batches]
        places = list(zip(batches.tolist(), rows.tolist(), strict=True))

        def read(column: list[tuple[NDArray[np.int32], NDArray[np.int32]]]) -> list[NDArray[np.int32]]:
            found = []
            for batch, row in places:
                offsets, ids = column[batch]
                found.append(ids[offsets[row] : offsets[row + 1]])
            return found

        source, target = self._columns
        return read(source), read(target)

    @cached_property
    def _columns(self) -> list[list[tuple[NDArray[np.int32], NDArray[np.int32]]]]:
        """Offsets and ids of each batch of source and of target: seven times as fast as the rows of `datasets`."""
        columns = [self.rows.data.column(name).chunks for name in FEATURES]
        return [[(chunk.offsets.to_numpy(), chunk.values.to_numpy()) for chunk in chunks] for chunks in columns]

    @cached_property
    def _begins(self) -> NDArray[np.int64]:
        """The first line of each batch."""
        return np.cumsum([0, *(len(offsets) - 1 for offsets, _ in self._columns[0])])[:-1]


def load_training_corpus(config: DataConfig, subwords: Subwords) -> TrainingCorpus:
    """The training pairs as ids, from the cache where this text was encoded with these subwords before.

    The cache lies in `$NMT_CACHE` or `~/.cache/nmt`; its name is a sum over the bytes of text and subwords, so that
    it cannot be stale. It may be deleted at any time when no training runs.
    """
    rows, lengths = _encoded(config.train, subwords)
    dropped = {
        "empty": 0,
        f"longer than {config.max_length} pieces": 0,
        f"length ratio over {config.max_length_ratio:g}": 0,
    }
    kept = torch.empty(len(lengths), dtype=torch.int32 if len(lengths) <= 2**31 else torch.int64)
    pairs = 0
    for start in range(0, len(lengths), LINES_A_PART):
        shorter, longer = lengths[start : start + LINES_A_PART].aminmax(dim=1)
        empty = shorter == 0
        too_long = ~empty & (longer > config.max_length)
        uneven = ~empty & ~too_long & (longer.double() / shorter > config.max_length_ratio)
        for reason, found in zip(dropped, (empty, too_long, uneven), strict=True):
            dropped[reason] += int(found.sum())
        passing = (~(empty | too_long | uneven)).nonzero()[:, 0] + start
        kept[pairs : pairs + len(passing)] = passing
        pairs += len(passing)
    if not pairs:
        advice = "raise data.max_length or data.max_length_ratio"
        if dropped["empty"] == len(lengths):
            advice = f"in each, one side is: is {Path(config.train.target).absolute()} its translation?"
        raise InputError(
            f"{Path(config.train.source).absolute()}: no training pair is left after the filters "
            f"({', '.join(f'{count:,} {reason}' for reason, count in dropped.items())}); {advice}"
        )
    return TrainingCorpus(rows, lengths, kept[:pairs], dropped)


def seen_lines(sets: dict[str, list[str]], training_source: Path) -> dict[str, int]:
    """How many lines of each set (as often as they stand there) are also lines of the training source."""
    wanted = {line for lines in sets.values() for line in lines if line}
    seen = {line for block in iterate_blocks(training_source) for line in wanted.intersection(block)}
    return {name: sum(line in seen for line in lines) for name, lines in sets.items()}


def _encoded(files: FilePair, subwords: Subwords) -> tuple[datasets.Dataset, Tensor]:
    """Ids of every pair, and how many (lines, 2), from the cache or made now and put there whole."""
    sums = [str(CACHE_VERSION), file_digest(Path(files.source)), file_digest(Path(files.target)), subwords.digest()]
    cache = Path(os.environ.get("NMT_CACHE") or Path.home() / ".cache" / "nmt")
    name = hashlib.sha256("".join(sums).encode()).hexdigest()[:32]
    folder = cache / name
    if not folder.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(dir=cache, prefix=".making-"))
        except OSError as error:
            raise InputError(
                f"{cache.absolute()}: the cache of encoded text cannot be written there ({error.strerror}); "
                "set NMT_CACHE to a folder that can"
            ) from None
        try:
            _encode_to(aside, files, subwords, name)
            write_lines(aside / "sums", _sums(aside))
            flush(*(aside / name for name in CACHED), aside)
            aside.rename(folder)
        except OSError as error:
            if not folder.exists():  # else another training has made the same meanwhile
                raise InputError(f"{folder}: the encoded text cannot be written: {error.strerror}") from None
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    try:
        sound = read_lines(folder / "sums") == _sums(folder)
    except InputError:  # a file of them is missing
        sound = False
    if not sound:
        raise InputError(f"{folder}: the encoded text there is damaged; delete the folder, to have it made anew")
    rows = datasets.Dataset.from_file(str(folder / "pairs.arrow"))
    lengths = torch.from_file(str(folder / "lengths"), size=2 * len(rows), dtype=torch.int32)  # memory-mapped
    return rows, lengths.view(-1, 2)


def _sums(folder: Path) -> list[str]:
    return [file_digest(folder / name) for name in CACHED]


def _encode_to(folder: Path, files: FilePair, subwords: Subwords, fingerprint: str) -> None:
    """Write pairs.arrow, the ids, and lengths, how many they are: of each line two 32-bit integers."""
    encoded = _encoded_groups(files, subwords)
    with (
        open(folder / "lengths", "wb") as lengths,
        datasets.arrow_writer.ArrowWriter(
            path=str(folder / "pairs.arrow"),
            features=FEATURES,
            fingerprint=fingerprint,
            writer_batch_size=GROUPS_A_BATCH * LINES_A_GROUP,
        ) as writer,
    ):
        while groups := list(islice(encoded, GROUPS_A_BATCH)):
            columns, counts = [], []
            for side in zip(*groups, strict=True):
                counts.append(np.concatenate([lines.counts for lines in side]))
                offsets = np.append(0, np.cumsum(counts[-1])).astype(np.int32)
                ids = np.concatenate([lines.ids for lines in side])
                columns.append(pyarrow.ListArray.from_arrays(offsets, ids))
            writer.write_table(pyarrow.table(columns, names=list(FEATURES)))
            lengths.write(np.stack(counts, axis=1).tobytes())
        writer.finalize()


def _encoded_groups(files: FilePair, subwords: Subwords) -> Iterator[tuple[FlatIds, FlatIds]]:
    """Ids of the pairs, a group at a time: threads encode the next ones while this one reads and writes."""

    def encode(sources: list[str], targets: list[str]) -> tuple[FlatIds, FlatIds]:
        return subwords.source.encode_flat(sources), subwords.target.encode_flat(targets)

    threads = min(os.cpu_count() or 1, 8)  # a fifth of the work holds Python's lock, so that more would wait
    coming: deque[Future[tuple[FlatIds, FlatIds]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for sources, targets in _groups(files):
            coming.append(pool.submit(encode, sources, targets))
            if len(coming) > 2 * threads:  # one at work and one waiting for each
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _groups(files: FilePair) -> Iterator[tuple[list[str], list[str]]]:
    """The pairs of two files, many at a time; raises InputError where one ends before the other."""
    sides = [iterate_lines(Path(name)) for name in (files.source, files.target)]
    while True:
        sources, targets = (list(islice(side, LINES_A_GROUP)) for side in sides)
        if len(sources) != len(targets):
            check_pairs(files)  # names both counts
        if not sources:
            return
        yield sources, targets


def training_lines(files: FilePair) -> tuple[Iterable[str], Iterable[str]]:
    """Both files of training text, each to be read as often as one likes."""
    return _Lines(Path(files.source)), _Lines(Path(files.target))


@dataclass(frozen=True)
class _Lines:
    path: Path

    def __iter__(self) -> Iterator[str]:
        return iterate_lines(self.path)
