"""A folder with a small corpus and runs, to give commands in: what the tests of the command line share."""

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.lines import write_lines

TIMES = {"tokens_per_second", "elapsed", "remaining", "seconds"}  # what events say about time

MODELS = {
    "rnn": 'kind = "rnn"\nembedding_size = 16\nencoder_size = 12\ndecoder_size = 16\nattention_size = 8\n',
    "plain": 'kind = "rnn"\nembedding_size = 16\nencoder_size = 12\ndecoder_size = 16\nattention = "none"\n',
    "transformer": 'kind = "transformer"\nsize = 16\nheads = 2\nfeed_forward_size = 24\n'
    "encoder_layers = 2\ndecoder_layers = 2\n",
}

DATA = """
[data]
source_language = "de"
target_language = "en"
train = { source = "train.de", target = "train.en" }
valid = { source = "valid.de", target = "valid.en" }
"""

CONFIG = f"""{DATA}
[data.test]
plain = {{ source = "plain.de", target = "plain.en" }}
nasty = {{ source = "nasty.de", target = "nasty.en" }}
[subwords]
vocabulary_size = 60
[training]
updates = 12
max_tokens = 256
learning_rate = 5e-3
warmup_updates = 4
validation_interval = 5
average_last = 2
[search]
beam_size = 2
max_length = 100
[model]
dropout = 0.2
"""

NASTY = [
    *("", " ", "\t", "\u3000", "\u200b", "\ufeff", "der Hund schläft", "  der  Hund  ", "der\tHund", "x" * 300),
    *("a\x85b", "\x85", "a\u2028b", "\u2028", "a\rb", "\r a", "a\x0b\x0c\x1cb", "\0", "😀 der", "e\u0301", "日本語"),
    *("<s>", "</s>", "<pad> <unk> <sep>", "$x_1$", '"quotes" & <b>', "▁", "der"),
]


def made_up_pairs() -> list[tuple[str, str]]:
    """Pairs whose target is the source, word by word, backwards."""
    draw = random.Random(1)
    words = {
        "der": "the",
        "Hund": "dog",
        "Katze": "cat",
        "rot": "red",
        "schläft": "sleeps",
        "und": "and",
        "nicht": "not",
    }
    sources = [draw.choices(list(words), k=draw.randrange(1, 7)) for _ in range(160)]
    return [(" ".join(line), " ".join(words[word] for word in reversed(line))) for line in sources]


def write_corpus(folder: Path) -> None:
    pairs = made_up_pairs()
    parts = {"train": pairs[:120], "valid": pairs[120:135], "plain": pairs[135:]}
    parts["nasty"] = [(line, NASTY[-1 - number]) for number, line in enumerate(NASTY)]
    for name, part in parts.items():
        write_lines(folder / f"{name}.de", [source for source, _ in part])
        write_lines(folder / f"{name}.en", [target for _, target in part])
    for name, model in MODELS.items():
        (folder / f"{name}.toml").write_text(CONFIG + model, encoding="utf-8")


def told(metrics: Path) -> list[dict[str, Any]]:
    """The events of a training but for what they say about time."""
    events = [json.loads(line) for line in metrics.read_bytes().split(b"\n")[:-1]]
    return [{key: value for key, value in event.items() if key not in TIMES} for event in events]


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    error: str

    @property
    def lines(self) -> list[str]:
        assert self.out == "" or self.out.endswith("\n")
        return self.out.split("\n")[:-1]


@dataclass(frozen=True)
class Place:
    """A folder with a corpus, configs and trained runs, to give commands in."""

    path: Path

    def environment(self, **changes: str) -> dict[str, str]:
        return os.environ | {"NMT_CACHE": str(self.path / "cache"), "OMP_NUM_THREADS": "1"} | changes

    def run(self, *words: str, given: str | bytes = b"", **environment: str) -> Outcome:
        """A command in a process of its own, as its bytes are seen from outside."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "nmt.cli", *words],
            cwd=self.path,
            env=self.environment(**environment),
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            timeout=120,
        )
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def refused(outcome: Outcome, *said: object) -> None:
    """A mistake is told in one sentence or a few, on stderr, without a traceback."""
    assert outcome.code == 2, outcome
    assert outcome.out == "" and "Traceback" not in outcome.error
    for words in said:
        assert str(words) in outcome.error, outcome.error
