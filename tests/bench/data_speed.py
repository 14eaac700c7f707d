"""What preparing a corpus of made-up text costs, over encoding that text alone, in one run, alternating.

    python -m tests.bench.data_speed [--pairs N] [--rounds N] [--json FILE]

Prepared is read, encoded into an empty cache, filtered and planned. Before it a training checks both files, and after
it looks for the lines of its test sets in them; subwords are learned beforehand, which is not counted. The yardstick is
`SentencePieceProcessor.encode` of the same lines, as many at a time, in whichever of its settings is the fastest here;
the reading of these lines is not counted.

Memory is private memory, anonymous pages, of a process of its own; what is memory-mapped is not among it. Bytes a pair
are what three times as many pairs take on top, the same text four times over.
"""

import argparse
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor

from nmt.batching import make_batch, plan_updates
from nmt.config import SubwordConfig
from nmt.corpus import LINES_A_GROUP, load_training_corpus, seen_lines
from nmt.lines import check_pairs, iterate_lines
from nmt.subwords import Subwords, learn_subwords
from tests.bench.machine import mean_and_spread, table, write_json
from tests.bench.own_corpus import MAX_TOKENS, data_in

LEARNED_ON = 20_000  # pairs that subwords are learned on
TEST_LINES = 1_000
BATCHES = 400  # that are made
TRIED = 80  # groups of lines that the yardstick's settings are tried on
COPIES = 4  # of the text, to see what memory grows by

PHASES = {
    "check": "both files checked",
    "load": "read, encoded, written, filtered",
    "plan": "an epoch planned",
    "seen": f"{TEST_LINES:,} test lines looked for",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what preparing a corpus costs.")
    parser.add_argument("--pairs", type=int, default=1_000_000, metavar="N", help="pairs of text (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="times that all is timed (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["NMT_CACHE"] = str(folder / "cache")
        write_text(folder, arguments.pairs)
        sides = [folder / "train.source", folder / "train.target"]
        sample = [list(islice(iterate_lines(side), LEARNED_ON)) for side in sides]
        subwords, _ = learn_subwords(sample[0], sample[1], SubwordConfig())
        subwords.save(folder)
        size = sum(side.stat().st_size for side in sides) / 1e6
        print(f"{arguments.pairs:,} pairs, {size:,.0f} MB, {LINES_A_GROUP:,} a group, {os.cpu_count()} cores\n")
        figures = measure_time(folder, subwords, arguments.rounds) | measure_memory(folder, arguments.pairs)
    if arguments.json:
        write_json(arguments.json, {"pairs": arguments.pairs, "text_megabytes": size} | figures)


def write_text(folder: Path, pairs: int) -> None:
    """Made-up pairs, always the same: sentences of 18 words on average, some of none, some too long to train on."""
    draw = np.random.default_rng(1)
    languages = {
        "source": make_words(draw, [*"bdfghklmnrstwz", "sch", "st"], "aeiouäöü"),
        "target": make_words(draw, [*"bcdfghlmnprstw", "sh", "th"], "aeiouy"),
    }
    for start in range(0, pairs, 50_000):
        lengths = np.exp(draw.normal(np.log(15), 0.55, min(50_000, pairs - start)))
        for side, words in languages.items():
            own = np.ceil(lengths * np.exp(draw.normal(0, 0.15, len(lengths)))).astype(int)
            own[draw.random(len(own)) < 0.0005] = 0
            with open(folder / f"train.{side}", "a", encoding="utf-8") as file:
                file.writelines(sentences(draw, words, own))


def make_words(draw: np.random.Generator, consonants: list[str], vowels: str) -> NDArray[np.object_]:
    """A hundred thousand words, the shorter ones rather in front."""
    endings = ["", "", "", "n", "r", "s", "t"]
    syllables = [begin + vowel + end for begin in consonants for vowel in vowels for end in endings]
    words: dict[str, None] = {}
    while len(words) < 100_000:
        most = 1 + int(draw.exponential(0.2 * np.log1p(len(words))))
        words["".join(syllables[index] for index in draw.integers(len(syllables), size=min(most, 5)))] = None
    return np.array(list(words), dtype=object)


def sentences(draw: np.random.Generator, words: NDArray[np.object_], lengths: NDArray[np.int64]) -> Iterator[str]:
    """Lines of so many words, which are drawn by their rank as Zipf and Mandelbrot found."""
    shares = np.cumsum(1 / (np.arange(len(words)) + 3.7))
    drawn = words[np.searchsorted(shares, draw.random(lengths.sum()) * shares[-1])].tolist()
    begin = 0
    for length in lengths.tolist():
        yield " ".join(drawn[begin : begin + length]).capitalize() + (".\n" if length else "\n")
        begin += length


def measure_time(folder: Path, subwords: Subwords, rounds: int) -> dict[str, float]:
    """Print what each phase takes; the same under flat keys."""
    setting, encode = fastest_setting(folder, subwords)
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        seconds = prepare(folder, subwords)
        seconds["prepared"] = seconds["load"] + seconds["plan"]
        seconds["prepared_and_checked"] = sum(seconds[phase] for phase in PHASES)
        seconds["encoded_alone"] = sum(seconds_of(encode, *group) for group in groups(folder))
        for key, figure in seconds.items():
            taken.setdefault(key, []).append(figure)
    ratios = {
        key: [own / alone for own, alone in zip(figures, taken["encoded_alone"], strict=True)]
        for key, figures in taken.items()
    }
    names = PHASES | {
        "prepared": "prepared",
        "prepared_and_checked": "prepared and checked",
        "encoded_alone": f"encoded alone ({setting})",
        "load_again": "loaded from the cache",
    }
    rows = [(name, mean_and_spread(taken[key]), mean_and_spread(ratios[key])) for key, name in names.items()]
    print(table([("", "seconds", "× encoding alone"), *rows]))
    batch = sum(taken["batches"]) / rounds / BATCHES
    print(f"a batch of {MAX_TOKENS:,} padded tokens read and made in {1000 * batch:.2f} ms\n")
    figures = {f"{key}_seconds": sum(taken[key]) / rounds for key in names}
    return figures | {
        "prepared_over_encoding": sum(ratios["prepared"]) / rounds,
        "prepared_and_checked_over_encoding": sum(ratios["prepared_and_checked"]) / rounds,
        "batch_milliseconds": 1000 * batch,
    }


def prepare(folder: Path, subwords: Subwords) -> dict[str, float]:
    """Seconds of each phase of preparing a corpus anew, of loading it again, and of making batches."""
    data = data_in(folder)
    test = list(islice(iterate_lines(Path(data.train.source)), TEST_LINES))
    shutil.rmtree(os.environ["NMT_CACHE"], ignore_errors=True)
    marks = [time.perf_counter()]
    check_pairs(data.train)
    marks.append(time.perf_counter())
    corpus = load_training_corpus(data, subwords)
    marks.append(time.perf_counter())
    plan = plan_updates(corpus.lengths, MAX_TOKENS, 1, 0, corpus.kept)
    marks.append(time.perf_counter())
    seen_lines({"test": test}, Path(data.train.source))
    marks.append(time.perf_counter())
    corpus = load_training_corpus(data, subwords)
    marks.append(time.perf_counter())
    for index in range(BATCHES):
        lines = plan[index % len(plan)]
        make_batch(*corpus.ids(lines), lines)
    marks.append(time.perf_counter())
    keys = (*PHASES, "load_again", "batches")
    return {key: end - begin for key, begin, end in zip(keys, marks, marks[1:], strict=False)}


Encode = Callable[[list[str], list[str]], object]


def fastest_setting(folder: Path, subwords: Subwords) -> tuple[str, Encode]:
    """The way in which SentencePiece encodes both sides of a group of lines the fastest, and its name."""
    source, target = (SentencePieceProcessor(model_proto=side.model) for side in (subwords.source, subwords.target))
    pool = ThreadPoolExecutor(2)

    def in_turn(kind: type | str) -> Encode:
        return lambda sources, targets: [
            source.encode(sources, return_type=kind),
            target.encode(targets, return_type=kind),
        ]

    def at_once(kind: type | str) -> Encode:
        def encode(sources: list[str], targets: list[str]) -> object:
            first = pool.submit(source.encode, sources, return_type=kind, num_threads=1)
            second = pool.submit(target.encode, targets, return_type=kind, num_threads=1)
            return first.result(), second.result()

        return encode

    settings = {
        "lists, a thread a core": in_turn(int),
        "arrays, a thread a core": in_turn("numpy"),
        "lists, a thread a side": at_once(int),
        "arrays, a thread a side": at_once("numpy"),
    }
    seconds = dict.fromkeys(settings, 0.0)
    for index, group in enumerate(islice(groups(folder), TRIED)):
        name = list(settings)[index % len(settings)]
        seconds[name] += seconds_of(settings[name], *group)
    best = min(seconds, key=lambda name: seconds[name])
    return best, settings[best]


def groups(folder: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Lines of both sides, as many at a time as the corpus encodes."""
    source, target = iterate_lines(folder / "train.source"), iterate_lines(folder / "train.target")
    while lines := list(islice(source, LINES_A_GROUP)):
        yield lines, list(islice(target, LINES_A_GROUP))


def seconds_of(encode: Encode, sources: list[str], targets: list[str]) -> float:
    """What it takes to encode a group of lines."""
    started = time.perf_counter()
    encode(sources, targets)
    return time.perf_counter() - started


def measure_memory(folder: Path, pairs: int) -> dict[str, float]:
    """Print what a pair takes of memory; the same under flat keys."""
    larger = folder / "larger"
    larger.mkdir()
    for path in folder.glob("*.model"):
        shutil.copy(path, larger)
    for side in ("source", "target"):
        text = (folder / f"train.{side}").read_bytes()
        with open(larger / f"train.{side}", "wb") as file:
            for _ in range(COPIES):
                file.write(text)
    shutil.rmtree(os.environ["NMT_CACHE"])
    taken = []
    for place in (folder, larger):
        encoding = private_memory(place)["loading"]  # into the cache, which the next one reads
        taken.append(private_memory(place) | {"encoding": encoding})
    names = {
        "encoding": "while the text is encoded, at most",
        "loaded": "the corpus, from the cache",
        "planning": "while an epoch is planned, at most",
        "planned": "the corpus and the plan",
    }
    few, many = taken
    growth = {key: (many[key] - few[key]) / ((COPIES - 1) * pairs) for key in names}
    heading = ("private memory", f"MiB, {pairs:,} pairs", f"{COPIES * pairs:,} pairs", "bytes a pair")
    rows = [
        (name, f"{few[key] / 2**20:,.1f}", f"{many[key] / 2**20:,.1f}", f"{growth[key]:.1f}")
        for key, name in names.items()
    ]
    print(table([heading, *rows]))
    return {f"{key}_bytes_a_pair": figure for key, figure in growth.items()}


def private_memory(folder: Path) -> dict[str, int]:
    """Bytes that loading and planning the corpus in a folder takes: the most meanwhile, and what is kept."""
    command = [sys.executable, "-m", "tests.bench.own_corpus", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        _, before = watch(process)
        loading, loaded = watch(process)
        planning, planned = watch(process)
        process.communicate("\n")
    taken = {"loading": loading, "loaded": loaded, "planning": planning, "planned": planned}
    return {key: figure - before for key, figure in taken.items()}


def watch(process: "subprocess.Popen[str]") -> tuple[int, int]:
    """Let a process begin its next phase: its most private memory, in bytes, and that at the end of the phase."""
    assert process.stdin and process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    most = 0
    while not select.select([process.stdout], [], [], 0.001)[0]:
        most = max(most, anonymous_pages(process.pid))
    if not process.stdout.readline():
        raise RuntimeError(f"the process ended with exit code {process.wait()}")
    last = anonymous_pages(process.pid)
    return max(most, last), last


def anonymous_pages(process: int) -> int:
    """Bytes of the memory of a process that no file holds; as Linux tells."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    return 0  # it has ended


if __name__ == "__main__":
    main()
