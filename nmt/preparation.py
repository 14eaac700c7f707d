"""What a training needs before its first update: data read and checked, subwords learned, the model built."""

import hashlib
import math
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nmt import hardware, scores
from nmt.batching import Plan, Rows, padding_share, plan_updates
from nmt.comparison import count_words
from nmt.config import Config, InputError, differences
from nmt.corpus import TrainingCorpus, load_training_corpus, seen_lines, training_lines
from nmt.facts import DataFile, Facts, git_state, library_versions
from nmt.lines import TextPairs, check_pairs, file_digest, read_pairs
from nmt.models import build_model
from nmt.models.base import Seq2Seq, count_parameters
from nmt.runs import Run
from nmt.subwords import UNK, Subwords, Vocabulary, learn_subwords, load_subwords


@dataclass(frozen=True)
class Prepared:
    """What a training needs before its first update."""

    config: Config
    subwords: Subwords
    corpus: TrainingCorpus
    valid: TextPairs
    tests: dict[str, TextPairs]  # by name
    device: torch.device
    model: Seq2Seq
    messages: list[str] = field(default_factory=list)  # for the user, about the data


# Keys of [model] and [subwords] that may differ from those of the run that a training begins with the weights of: they
# change no weight's shape or meaning; and given subwords are that run's anyway.
FREE_AT_START = {
    *("model.dropout", "model.attention_dropout", "model.word_dropout", "subwords.sampling", "subwords.sampling_alpha"),
    *("subwords.model.source", "subwords.model.target"),
}


@dataclass(frozen=True)
class Initial:
    """What a training begins with of another run."""

    subwords: Subwords
    weights: dict[str, Tensor]
    update: int  # of theirs
    file: Path


def initial(config: Config) -> Initial:
    """What the run that training.init_from names has to begin with. Raises InputError where that does not fit."""
    run = Run(Path(config.training.init_from))
    try:
        own = differences(run.config(), config)
        weights, update, file = run.weights("best")
        subwords = run.subwords()
    except InputError as error:
        raise InputError(f"training.init_from: {error}") from None
    differing = [
        line for key, line in own.items() if key.startswith(("model.", "subwords.")) and key not in FREE_AT_START
    ]
    if differing:
        listed = "\n".join(f"  {line}" for line in differing)
        raise InputError(
            f"training.init_from: {run.path.absolute()}: these keys differ from those of its weights (its → yours):\n"
            f"{listed}\nset them as they are there, or leave training.init_from out"
        )
    return Initial(subwords, weights, update, file)


def prepare(config: Config, device: torch.device, subwords: Subwords | None = None) -> Prepared:
    """Data read and checked, subwords learned (unless given), an untrained model built."""
    for key, path in _data_files(config):
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would be read once, and then be waited for
            raise InputError(f"{key}: {path} is no plain file, but it is read several times; write it to one")
    check_pairs(config.data.train)
    # The test sets too: an error now, not after hours.
    files = {"validation set": config.data.valid} | {f"test set {name}": own for name, own in config.data.test.items()}
    sets = {name: read_pairs(own) for name, own in files.items()}
    for name, pairs in sets.items():
        if not pairs.sources:
            raise InputError(f"{Path(files[name].source).absolute()}: the file is empty, so there is nothing to score")
    valid, *tests = sets.values()
    scores.bleu(valid.targets[:1], valid.targets[:1], config.data.target_language)  # is its tokeniser there?
    messages: list[str] = []
    if subwords is None:
        if config.subwords.model.source:
            subwords = load_subwords(config.subwords.model)
        else:
            subwords, messages = learn_subwords(*training_lines(config.data.train), config.subwords)
    if config.subwords.sampling > 1 and subwords.kind != "unigram":
        raise InputError(
            f"subwords.sampling = {config.subwords.sampling} needs unigram models, but the given ones are of kind "
            f"{subwords.kind}, which knows one segmentation of a sentence and no probabilities of others"
        )
    corpus = load_training_corpus(config.data, subwords)
    seen = seen_lines({name: pairs.sources for name, pairs in sets.items()}, Path(config.data.train.source))
    limit = config.search.max_length
    for name, pairs in sets.items():
        if seen[name]:
            messages.append(
                f"{seen[name]:,} of {len(pairs.sources):,} sources of the {name} also stand in the training text"
            )
        long = sum(len(ids) > limit for ids in subwords.source.encode(pairs.sources))
        if long:
            messages.append(f"{long:,} sources of the {name} are cut at search.max_length = {limit:,} pieces")
    torch.manual_seed(config.training.seed)
    try:
        model = build_model(config.model, subwords.source.size, subwords.target.size, joint=subwords.joint).to(device)
    except (RuntimeError, MemoryError) as error:
        if not hardware.is_out_of_memory(error):
            raise
        raise InputError("the model alone does not fit into memory: lower the sizes and layers in [model]") from error
    if Path(config.data.train.source).samefile(config.data.train.target):
        messages.append("source and target of the training text are the same file, so the model will learn to copy")
    return Prepared(
        config, subwords, corpus, valid, dict(zip(config.data.test, tests, strict=True)), device, model, messages
    )


def describe(prepared: Prepared) -> str:
    """What is trained on what, a line each: data, subwords, model, updates."""
    config, corpus, subwords = prepared.config, prepared.corpus, prepared.subwords
    dropped = [f"{count:,} {reason}" for reason, count in corpus.dropped.items() if count]
    total, embeddings = count_parameters(prepared.model)
    plan, lengths = plan_epoch(prepared, 0), corpus.lengths
    unknown, pieces = _unknown(prepared)
    sizes = f"{subwords.source.size:,}" if subwords.joint else f"{subwords.source.size:,} and {subwords.target.size:,}"
    lines = [
        f"data     {len(corpus.kept):,} training pairs, {len(prepared.valid.sources):,} for validation; "
        + (f"dropped {sum(corpus.dropped.values()):,}: {', '.join(dropped)}" if dropped else "none dropped"),
        f"subwords {subwords.kind}, {sizes} pieces, {'joint' if subwords.joint else 'one model a side'}; "
        f"unknown in validation: {unknown:,} of {pieces:,} ({unknown / max(1, pieces):.2%})",
        f"model    {config.model.kind}, {total:,} parameters, {embeddings:,} of them embeddings",
        f"updates  {_budget(prepared)} {len(plan):,} an epoch, of at most {config.training.max_tokens:,} "
        f"padded tokens; padding {padding_share(plan, lengths):.1%}",
    ]
    if config.training.schedule == "cosine" and (config.training.max_target_tokens or config.training.max_minutes):
        lines.append(
            "note     the cosine schedule reaches 0 at training.updates; where the training ends before, its learning "
            "rate does not"
        )
    return "\n".join([*lines, *(f"note     {message}" for message in prepared.messages)])


def _budget(prepared: Prepared) -> str:
    """When a training ends, for people."""
    training = prepared.config.training
    ends = [f"{training.updates:,}"]
    if training.max_target_tokens:
        ends.append(f"{training.max_target_tokens:,} target tokens (about {updates_of_tokens(prepared):,})")
    if training.max_minutes:
        ends.append(f"{training.max_minutes:g} minutes")
    return f"{ends[0]}," if len(ends) == 1 else f"{' or '.join(ends)}, whichever comes first;"


def updates_of_tokens(prepared: Prepared) -> int:
    """About how many updates reach training.max_target_tokens."""
    corpus = prepared.corpus
    tokens = int(corpus.lengths[corpus.kept.long(), 1].sum()) + len(corpus.kept)  # </s>
    return math.ceil(prepared.config.training.max_target_tokens / tokens * len(plan_epoch(prepared, 0)))


def facts(prepared: Prepared, command: list[str], initial: Path | None) -> Facts:
    """Where a run that begins now comes from; initial: the file of the weights that it begins with, if of another."""
    total, embeddings = count_parameters(prepared.model)
    return Facts(
        command=command,
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        machine=hardware.describe(prepared.device),
        system=hardware.describe_system(),
        versions={"python": platform.python_version()} | library_versions(),
        git=git_state(),
        data={
            key.removeprefix("data."): DataFile(file=str(path), sha256=file_digest(path))
            for key, path in _data_files(prepared.config)
        },
        initial=DataFile(file=str(initial.absolute()), sha256=file_digest(initial)) if initial else None,
        training_pairs=len(prepared.corpus.kept),
        dropped_pairs=prepared.corpus.dropped,
        parameters=total,
        embedding_parameters=embeddings,
    )


def _data_files(config: Config) -> Iterator[tuple[str, Path]]:
    """The files that a config names by their keys, those of the training text first."""
    tests = {f"test.{name}": files for name, files in config.data.test.items()}
    for key, files in ({"train": config.data.train, "valid": config.data.valid} | tests).items():
        yield f"data.{key}.source", Path(files.source).absolute()
        yield f"data.{key}.target", Path(files.target).absolute()
    for side, file in config.subwords.model:
        if file:
            yield f"subwords.model.{side}", Path(file).absolute()


def target_word_counts(config: Config) -> dict[str, int]:
    """How often each word stands in the training text's target."""
    return count_words(training_lines(config.data.train)[1], config.data.target_language)


def check_data(run: Run, config: Config, *parts: str) -> None:
    """Raise InputError unless these parts of the config's data, as "train", are those that the run began with."""
    data = run.facts().data
    for key, path in _data_files(config):
        key = key.removeprefix("data.")
        if key.partition(".")[0] in parts and (key not in data or file_digest(path) != data[key].sha256):
            raise InputError(
                f"{path}: has changed since {run.path.absolute()} began to train on it; "
                "restore it, or give --overwrite to start anew"
            )


def plan_epoch(prepared: Prepared, epoch: int) -> Plan:
    """The updates of an epoch, each the line numbers of its pairs."""
    training, corpus = prepared.config.training, prepared.corpus
    return plan_updates(corpus.lengths, training.max_tokens, training.seed, epoch, corpus.kept)


def training_ids(prepared: Prepared, lines: Tensor, epoch: int) -> tuple[Rows, Rows]:
    """Source and target ids of the pairs at these line numbers, in an epoch's own segmentations if those are sampled.

    What is drawn follows from seed, epoch and pair alone, not from what was drawn before.
    """
    config, (sources, targets) = prepared.config, prepared.corpus.ids(lines)
    most = prepared.model.most_positions
    if config.subwords.sampling == 1:
        return sources, targets

    def sampled(vocabulary: Vocabulary, rows: Sequence[NDArray[np.int32]], side: str) -> list[list[int]]:
        keys = (f"{config.training.seed} {epoch} {line} {side}" for line in lines.tolist())
        found = [
            vocabulary.sample(row.tolist(), config.subwords, _uniform(key)) for row, key in zip(rows, keys, strict=True)
        ]
        # A sample may be longer than data.max_length, but no longer than the model can read with </s>.
        return [ids if most is None or len(ids) < most else row.tolist() for ids, row in zip(found, rows, strict=True)]

    return sampled(prepared.subwords.source, sources, "source"), sampled(prepared.subwords.target, targets, "target")


def _uniform(key: str) -> float:
    """A number from [0, 1) that follows from a key."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest()) / 2**48


def _unknown(prepared: Prepared) -> tuple[int, int]:
    """Unknown pieces and all pieces of the validation set, both sides."""
    rows = prepared.subwords.source.encode(prepared.valid.sources)
    rows += prepared.subwords.target.encode(prepared.valid.targets)
    return sum(ids.count(UNK) for ids in rows), sum(map(len, rows))
