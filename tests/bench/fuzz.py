"""Inputs that nobody would write, for everything that reads: no traceback, no hang, no lost line.

    python -m tests.bench.fuzz [--inputs N] [--seconds N] [--seed N] [--kinds KIND ...]

Each kind of input is read by what the commands read it with. Three quarters of the inputs are valid ones that were
changed a little, so that most of what is behind the parser is reached; the rest are made of odd parts alone. A reader
must accept an input or refuse it with an InputError, within SECONDS_EACH; text that is accepted must have a line for
each line end. Prints how many of each kind were accepted and refused, and keeps those that failed. Exit code 1 where
any did.
"""

import argparse
import contextlib
import gzip
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from nmt.alignment import given_words, split_words
from nmt.cli import main as nmt
from nmt.config import FilePair, InputError, load_config
from nmt.corpus import load_training_corpus, training_lines
from nmt.gold import check_gold, read_gold, worth
from nmt.lines import check_pairs, read_lines, read_pairs
from nmt.models.base import Extraction
from nmt.runs import Run
from nmt.translator import Translator
from tests.place import MODELS, write_corpus

SECONDS_EACH = 20  # of an input that takes milliseconds: a hang, also on a busy machine
SHARES = {
    "config": 0.3,
    "override": 0.15,
    "text": 0.15,
    "gold": 0.2,
    "words": 0.1,
    "run": 0.07,
    "corpus": 0.01,
    "lines": 0.02,
}

ODD = [
    *(
        b"",
        b"\0",
        b"\n",
        b"\r",
        b"\r\n",
        b"\xff",
        b"\xc3",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
    ),
    *(
        b"\xf0\x9f\x98\x80",
        b"\xcc\x81",
        b"\xd7\x90",
        b"\xe3\x80\x80",
        b"\xe2\x96\x81",
        b"<s>",
        b"</s>",
        b" ",
        b"\t",
        b"\x0b",
        b"\x1c",
    ),
    *(
        b"-",
        b"p",
        b"?",
        b"0-0",
        b"-1",
        b"9" * 30,
        b"9" * 5000,
        b"\xd9\xa3-\xd9\xa3",
        b"1e999",
        b"nan",
        b"null",
        b"true",
        b"'",
    ),
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b"=",
        b".",
        b'"',
        b'"""',
        b"#",
        b"\\",
        b"\\u0000",
        b"[[",
        b"a.b.c = 1",
        b"[" * 3000,
        b"{a=" * 500,
    ),
]
DEEP: list[Any] = []
for _ in range(300):
    DEEP = [DEEP]
VALUES: list[Any] = [
    DEEP,
    *("", "no", "\0", "ü/\n", "x" * 5000, True, 0, 1, -1, 2, 10**9, 2**63, 10**400, 0.0, -0.0, 0.5, 1e-300, 1e308),
    *(float("inf"), float("nan"), None, [], {}, [1, 2], ["a"], {"a": 1}, {"source": "a"}, {"": ""}, [[[]]]),
]


@dataclass(frozen=True)
class Kind:
    """What is read of one kind."""

    valid: Callable[[random.Random], bytes]
    read: Callable[[bytes], None]  # raises InputError where it refuses


def changed(draw: random.Random, data: bytes) -> bytes:
    """A valid input after a few small changes."""
    for _ in range(draw.choice((0, 0, 1, 1, 1, 2, 3, 8))):
        start = draw.randrange(len(data) + 1)
        end = min(len(data), start + draw.choice((0, 0, 1, 1, 3, 20)))
        part = draw.choice((draw.choice(ODD), bytes([draw.randrange(256)]), data[start:end] * 2, b""))
        data = data[:start] + part + data[end:]
        if draw.random() < 0.05:
            data = data[:start]
    return data


def odd(draw: random.Random) -> bytes:
    """An input of odd parts alone."""
    return b"".join(draw.choices(ODD, k=draw.randrange(12)))


def swapped(draw: random.Random, tree: Any) -> Any:
    """JSON with one value, or one key, in place of another."""
    if not isinstance(tree, dict | list) or not tree or draw.random() < 0.1:
        return draw.choice(VALUES)
    if isinstance(tree, list):
        place = draw.randrange(len(tree))
        return [*tree[:place], swapped(draw, tree[place]), *tree[place + 1 :]]
    key = draw.choice(list(tree))
    if draw.random() < 0.2:
        renamed = draw.choice(("", "x", key.upper(), key + "s", key[:-1]))
        return {renamed if name == key else name: value for name, value in tree.items()}
    if draw.random() < 0.1:
        return {name: value for name, value in tree.items() if name != key}
    return tree | {key: swapped(draw, tree[key])}


def toml(tree: Any) -> str:
    """TOML of a tree of tables, as inline tables."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(toml, tree)) + "]"
    return {"Infinity": "inf", "-Infinity": "-inf", "NaN": "nan", "null": "''"}.get(text := json.dumps(tree), text)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing that is printed is seen."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


def kinds(folder: Path, draw: random.Random) -> dict[str, Kind]:
    """What is read, in a folder with a corpus and a trained run."""
    configs = [(folder / f"{name}.toml").read_bytes() for name in MODELS]
    trees = [load_config(folder / f"{name}.toml").model_dump(mode="json") for name in MODELS]
    texts = [path.read_bytes() for path in sorted(folder.glob("*.[de][en]"))]
    run = Run(folder / "runs" / "transformer")
    run.save_extraction(Extraction(1, 0, 1))
    files = sorted(path for path in run.path.rglob("*") if path.is_file())
    translator = Translator.load(run, "best", torch.device("cpu"), lambda message: None)
    given = folder / "given"

    def some_config(draw: random.Random) -> bytes:
        if draw.random() < 0.4:
            return draw.choice(configs)
        tree = swapped(draw, draw.choice(trees))
        return (
            "\n".join(f"{key} = {toml(value)}" for key, value in tree.items()).encode()
            if tree and isinstance(tree, dict)
            else b""
        )

    def read_config(data: bytes) -> None:
        given.write_bytes(data)
        load_config(given)

    def some_override(draw: random.Random) -> bytes:
        section = draw.choice(list(trees[0]))
        key = draw.choice(list(draw.choice(trees)[section]))
        return f"{section}.{key}={toml(draw.choice(VALUES))}".encode()

    def read_override(data: bytes) -> None:
        load_config(folder / "rnn.toml", [data.decode(errors="surrogateescape")])

    def read_text(data: bytes) -> None:
        given.write_bytes(data)
        lines = read_lines(given)
        assert len(lines) == data.count(b"\n") + (not data.endswith(b"\n") and data not in (b"", b"\xef\xbb\xbf")), (
            "a lost line"
        )
        zipped = folder / "given.gz"
        packed = gzip.compress(data, 1)
        zipped.write_bytes(packed)
        assert read_lines(zipped) == lines
        zipped.write_bytes(changed(draw, packed))
        with contextlib.suppress(InputError):
            read_lines(zipped)
        with contextlib.suppress(InputError):
            read_pairs(FilePair(source=str(given), target=str(folder / "plain.en")))

    def some_gold(draw: random.Random) -> bytes:
        lines = draw.randrange(1, 6)
        links = [
            [f"{draw.randrange(5)}{draw.choice('-p?')}{draw.randrange(5)}" for _ in range(draw.randrange(5))]
            for _ in range(lines)
        ]
        return "".join(" ".join(line) + "\n" for line in links).encode()

    def read_links(data: bytes) -> None:
        given.write_bytes(data)
        gold = read_gold(given, first=draw.randrange(2), target_first=draw.random() < 0.5)
        words = [split_words("a b c d e")] * len(gold)
        worth([line.possible for line in gold], gold)
        check_gold(gold, words, words, given)

    def some_text(draw: random.Random) -> bytes:
        return draw.choice(texts)

    def read_words(data: bytes) -> None:
        for line in data.decode(errors="replace").split("\n"):
            words = split_words(line, draw.choice(("punctuation", "space")))
            assert all(line[start:end] == text for (start, end), text in zip(words.spans, words.texts, strict=True))
            assert "".join(words.texts) == "".join(line.split()), "a lost character"
            again = given_words(line, " ".join(words.texts))
            assert again.spans == words.spans
            with contextlib.suppress(ValueError):
                given_words(line, changed(draw, " ".join(words.texts).encode()).decode(errors="replace"))

    def some_file(draw: random.Random) -> bytes:
        number = draw.randrange(len(files))
        data = files[number].read_bytes()
        if files[number].suffix == ".json" and draw.random() < 0.8:
            data = json.dumps(swapped(draw, json.loads(data))).encode()
        return bytes([number]) + data

    def read_run(data: bytes) -> None:
        path = files[data[0] % len(files)] if data else files[0]
        whole = path.read_bytes()
        path.write_bytes(data[1:])
        try:
            loaded = Translator.load(run, draw.choice(("best", "last", "average")), torch.device("cpu"), print)
            list(loaded.align([split_words("der Hund")], [split_words("the dog")]))
            run.facts(), run.tests(), run.word_counts(), run.validations(), run.progress(), run.load_training()
        finally:
            path.write_bytes(whole)

    def read_corpus(data: bytes) -> None:
        given.write_bytes(data)
        pair = FilePair(source=str(given), target=str(given))
        pairs = check_pairs(pair)
        config = load_config(folder / "rnn.toml").data.model_copy(update={"train": pair})
        assert sum(1 for _ in training_lines(pair)[0]) <= pairs
        corpus = load_training_corpus(config, translator.subwords)
        assert len(corpus.kept) + sum(corpus.dropped.values()) == pairs, "a lost pair"

    def read_input(data: bytes) -> None:
        given.write_bytes(data)
        lines = read_lines(given)
        assert len(translator.translate(lines)) == len(lines), "a lost line"
        assert len(list(translator.score(lines, lines[::-1]))) == len(lines), "a lost line"
        words = list(map(split_words, lines))
        assert len(list(translator.align(words, words[::-1]))) == len(lines), "a lost line"

    return {
        "config": Kind(some_config, read_config),
        "override": Kind(some_override, read_override),
        "text": Kind(some_text, read_text),
        "gold": Kind(some_gold, read_links),
        "words": Kind(some_text, read_words),
        "run": Kind(some_file, read_run),
        "corpus": Kind(some_text, read_corpus),
        "lines": Kind(some_text, read_input),
    }


def fuzz(folder: Path, inputs: int, seconds: float, seed: int, chosen: list[str]) -> int:
    """Read so many inputs, or as many as there is time for; gives the exit code."""
    os.environ["NMT_CACHE"] = str(folder / "cache")
    write_corpus(folder)
    os.chdir(folder)
    with silent():
        assert nmt(["train", "transformer.toml", "--device", "cpu"]) == 0
    draw = random.Random(seed)
    readers = kinds(folder, draw)
    kept = Path(tempfile.mkdtemp(prefix="nmt-fuzz-"))
    failed = 0

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not read after {SECONDS_EACH} seconds")

    signal.signal(signal.SIGALRM, late)
    total, deadline = sum(SHARES[name] for name in chosen), time.monotonic() + seconds
    print(f"{'kind':10} {'inputs':>8} {'accepted':>9} {'refused':>8} {'failed':>7} {'seconds':>8}")
    for name in chosen:
        kind, started = readers[name], time.monotonic()
        counts = {"accepted": 0, "refused": 0, "failed": 0}
        for number in range(round(inputs * SHARES[name] / total)):
            if time.monotonic() > deadline:
                break
            data = changed(draw, kind.valid(draw)) if draw.random() < 0.75 else odd(draw)
            signal.setitimer(signal.ITIMER_REAL, SECONDS_EACH)
            try:
                with silent():
                    kind.read(data)
                counts["accepted"] += 1
            except InputError as error:
                assert str(error).strip() and "Traceback" not in str(error), error
                counts["refused"] += 1
            except Exception:  # any other than InputError is a find
                counts["failed"] += 1
                (kept / f"{name}-{number}").write_bytes(data)
                (kept / f"{name}-{number}.traceback").write_text(traceback.format_exc())
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        failed += counts["failed"]
        print(
            f"{name:10} {sum(counts.values()):8,} {counts['accepted']:9,} {counts['refused']:8,} {counts['failed']:7,} "
            f"{time.monotonic() - started:8.0f}",
            flush=True,
        )
    if failed:
        print(f"{failed:,} failed: see {kept}")
    else:
        kept.rmdir()
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Give everything that reads inputs that nobody would write.")
    parser.add_argument("--inputs", type=int, default=200_000, metavar="N", help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=1800, metavar="N", help="at most so long (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(%(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=SHARES, default=list(SHARES), metavar="KIND", help="(all)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return fuzz(Path(folder), arguments.inputs, arguments.seconds, arguments.seed, arguments.kinds)


if __name__ == "__main__":
    sys.exit(main())
