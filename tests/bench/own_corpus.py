"""Load and plan the corpus in a folder, a phase at each line of standard input: `data_speed` watches the memory."""

import sys
from pathlib import Path

from nmt.batching import plan_updates
from nmt.config import DataConfig, FilePair
from nmt.corpus import load_training_corpus
from nmt.subwords import Subwords

MAX_TOKENS = 4_096


def data_in(folder: Path) -> DataConfig:
    """The section of a config that names the text in a folder."""
    files = FilePair(source=str(folder / "train.source"), target=str(folder / "train.target"))
    return DataConfig(source_language="de", target_language="en", train=files, valid=files)


def main() -> None:
    folder = Path(sys.argv[1])
    sys.stdin.readline()
    data, subwords = data_in(folder), Subwords.load(folder)
    next_phase()
    corpus = load_training_corpus(data, subwords)
    next_phase()
    plan = plan_updates(corpus.lengths, MAX_TOKENS, 1, 0, corpus.kept)
    next_phase()
    corpus.ids(plan[0])  # neither may be freed before


def next_phase() -> None:
    """Say that a phase is over, and wait until the next one may begin."""
    print(flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main()
