"""Parallel text: read, tokenised once into a memory-mapped cache, filtered with a count of what is dropped."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor

from nmt.config import DataConfig, FilePair, InputError
from nmt.lines import check_pairs, iterate_lines
from nmt.subwords import Subwords

CACHE_VERSION = 1  # raise it when what is cached changes for the same text and subwords
ROWS_AT_A_TIME = 10_000  # lines encoded at a time: large enough for SentencePiece, small in memory

FEATURES = datasets.Features(
    {
        "source": datasets.Sequence(datasets.Value("int32")),  # ids without <s> and </s>
        "target": datasets.Sequence(datasets.Value("int32")),
    }
)


@dataclass(frozen=True)
class TrainingCorpus:
    """Training pairs as ids, memory-mapped."""

    rows: datasets.Dataset  # "source" and "target": ids of every line of the files, dropped ones included
    lengths: Tensor  # (lines, 2) pieces of source and target, without <s> and </s>
    kept: Tensor  # (pairs,) line numbers, from 0, of the pairs that pass the filters
    dropped: dict[str, int]  # pairs dropped, by reason

    def ids(self, lines: Tensor) -> tuple[list[list[int]], list[list[int]]]:
        """Source and target ids of the pairs at these line numbers."""
        rows = self.rows[lines.tolist()]
        return rows["source"], rows["target"]


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path.absolute()}: cannot be read: {error.strerror}") from None


def load_training_corpus(config: DataConfig, subwords: Subwords) -> TrainingCorpus:
    """The training pairs as ids, from the cache where this text was encoded with these subwords before.

    The cache lies in `$NMT_CACHE` or `~/.cache/nmt`; its name is a sum over the bytes of text and subwords, so that
    it cannot be stale. It may be deleted at any time when no training runs.
    """
    rows = _encoded(config.train, subwords)
    table = rows.data
    lengths = torch.stack([_row_lengths(table.column(name)) for name in ("source", "target")], dim=1)  # (lines, 2)
    shorter, longer = lengths.aminmax(dim=1)
    empty = shorter == 0
    too_long = ~empty & (longer > config.max_length)
    uneven = ~empty & ~too_long & (longer > config.max_length_ratio * shorter)
    kept = (~(empty | too_long | uneven)).nonzero()[:, 0]
    dropped = {
        "empty": int(empty.sum()),
        f"longer than {config.max_length} pieces": int(too_long.sum()),
        f"length ratio over {config.max_length_ratio:g}": int(uneven.sum()),
    }
    if not len(kept):
        raise InputError(
            f"{Path(config.train.source).absolute()}: no training pair is left after the filters "
            f"({', '.join(f'{count:,} {reason}' for reason, count in dropped.items())}); "
            "raise data.max_length or data.max_length_ratio"
        )
    return TrainingCorpus(rows, lengths, kept, dropped)


def seen_lines(sets: dict[str, list[str]], training_source: Path) -> dict[str, int]:
    """How many lines of each set (as often as they stand there) are also lines of the training source."""
    wanted = {line for lines in sets.values() for line in lines if line}
    seen = {line for line in iterate_lines(training_source) if line in wanted}
    return {name: sum(line in seen for line in lines) for name, lines in sets.items()}


def _row_lengths(column: Any) -> Tensor:
    """(lines,) the number of ids in each row of an Arrow column of lists."""
    chunks = [torch.from_numpy(chunk.offsets.to_numpy().copy()).diff() for chunk in column.chunks]
    return torch.cat(chunks) if chunks else torch.zeros(0, dtype=torch.int32)


def _encoded(files: FilePair, subwords: Subwords) -> datasets.Dataset:
    """Ids of every pair, from the cache or made now and put there whole."""
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
            aside.rename(folder)
        except OSError as error:
            if not folder.exists():  # else another training has made the same meanwhile
                raise InputError(f"{folder}: the encoded text cannot be written: {error.strerror}") from None
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return datasets.Dataset.from_file(str(folder / "pairs.arrow"))


def _encode_to(folder: Path, files: FilePair, subwords: Subwords, fingerprint: str) -> None:
    with datasets.arrow_writer.ArrowWriter(
        path=str(folder / "pairs.arrow"), features=FEATURES, fingerprint=fingerprint
    ) as writer:
        for sources, targets in _groups(files):
            writer.write_batch({"source": subwords.source.encode(sources), "target": subwords.target.encode(targets)})
        writer.finalize()


def _groups(files: FilePair) -> Iterator[tuple[list[str], list[str]]]:
    """The pairs of two files, many at a time; raises InputError where one ends before the other."""
    pairs = zip_longest(iterate_lines(Path(files.source)), iterate_lines(Path(files.target)))
    while group := list(islice(pairs, ROWS_AT_A_TIME)):
        if any(source is None or target is None for source, target in group):
            check_pairs(files)  # names both counts
        yield [source for source, _ in group], [target for _, target in group]


def training_lines(files: FilePair) -> tuple[Iterable[str], Iterable[str]]:
    """Both files of training text, each to be read as often as one likes."""
    return _Lines(Path(files.source)), _Lines(Path(files.target))


@dataclass(frozen=True)
class _Lines:
    path: Path

    def __iter__(self) -> Iterator[str]:
        return iterate_lines(self.path)
