"""Optimiser, schedule, the update, the loop, validation."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from nmt import hardware, scores
from nmt.batching import Batch, padding_share, plan_updates, share
from nmt.checkpoint import load_weights, weights_of
from nmt.config import Config, InputError, TrainingConfig
from nmt.corpus import (
    TextPairs,
    TrainingCorpus,
    check_pairs,
    count_seen,
    file_digest,
    load_training_corpus,
    read_pairs,
    training_lines,
)
from nmt.events import HEADER, Ended, Reporter, Updated, Validated, clock, row, say
from nmt.loss import label_smoothed_loss
from nmt.models import build_model
from nmt.models.base import Seq2Seq, count_parameters
from nmt.runs import Progress, Run
from nmt.subwords import UNK, Subwords, learn_subwords
from nmt.translator import Translation, Translator

REPORT_INTERVAL = 50  # updates between two reports of the training loss in metrics.jsonl


class Interrupted(Exception):
    """A training that was asked to stop, and has saved all that it needs to go on."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number  # the shell's convention


class Objective(nn.Module):
    """The loss of a batch: the one module to wrap, be it for several processes or for a compiler."""

    def __init__(self, model: Seq2Seq, label_smoothing: float) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The smoothed loss and the plain negative log-likelihood (detached), sums in nats over real positions."""
        features = self.model(batch.source, batch.target_in)  # (B, T, D)
        real = features.flatten(0, 1)[batch.predicted]  # (N, D)
        target = batch.target_out.flatten()[batch.predicted]
        return label_smoothed_loss(real, *self.model.output, target, self.label_smoothing)


@dataclass
class Prepared:
    """What a training needs before its first update."""

    config: Config
    subwords: Subwords
    corpus: TrainingCorpus
    valid: TextPairs
    device: torch.device
    objective: Objective
    optimiser: torch.optim.Optimizer
    messages: list[str] = field(default_factory=list)  # for the user, about the data


def learning_rate(config: TrainingConfig, update: int) -> float:
    """The learning rate of an update, counted from 1: linear warm-up, then as `schedule` says."""
    if update < config.warmup_updates:
        return config.learning_rate * update / config.warmup_updates
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * math.sqrt(max(1, config.warmup_updates) / update)


def build_optimiser(config: TrainingConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019)."""
    kind = torch.optim.Adam if config.optimiser == "adam" else torch.optim.AdamW
    # fused: one pass over each tensor instead of a dozen.
    return kind(model.parameters(), lr=0.0, betas=config.betas, eps=1e-9, weight_decay=config.weight_decay, fused=True)


def prepare(config: Config, device: torch.device, subwords: Subwords | None = None) -> Prepared:
    """Data read and checked, subwords learned (unless given), model and optimiser built."""
    check_pairs(config.data.train)
    valid = read_pairs(config.data.valid)
    if not valid.sources:
        raise InputError(f"{Path(config.data.valid.source).absolute()}: the file is empty; validation needs pairs")
    tests = {name: read_pairs(files) for name, files in config.data.test.items()}  # errors now, not after hours
    scores.bleu(valid.targets[:1], valid.targets[:1], config.data.target_language)  # is its tokeniser there?
    messages: list[str] = []
    if subwords is None:
        subwords, messages = learn_subwords(*training_lines(config.data.train), config.subwords)
    corpus = load_training_corpus(config.data, subwords)
    for name, pairs in [("validation", valid), *((f"test set {name}", pairs) for name, pairs in tests.items())]:
        seen = count_seen(pairs.sources, Path(config.data.train.source))
        if seen:
            messages.append(f"{seen:,} of {len(pairs.sources):,} sources of the {name} also stand in the training text")
        limit = config.search.max_length
        long = sum(len(ids) > limit for ids in subwords.source.encode(pairs.sources))
        if long:
            messages.append(f"{long:,} sources of the {name} are cut at search.max_length = {limit:,} pieces")
    torch.manual_seed(config.training.seed)
    model = build_model(config.model, subwords.source.size, subwords.target.size, joint=subwords.joint).to(device)
    objective = Objective(model, config.training.label_smoothing)
    return Prepared(
        config, subwords, corpus, valid, device, objective, build_optimiser(config.training, model), messages
    )


def describe(prepared: Prepared) -> str:
    """What is trained on what, a line each: data, subwords, model, updates."""
    config, corpus, subwords = prepared.config, prepared.corpus, prepared.subwords
    dropped = [f"{count:,} {reason}" for reason, count in corpus.dropped.items() if count]
    total, embeddings = count_parameters(prepared.objective.model)
    plan, lengths = _plan(prepared, 0), corpus.lengths
    unknown, pieces = _unknown(prepared)
    sizes = f"{subwords.source.size:,}" if subwords.joint else f"{subwords.source.size:,} and {subwords.target.size:,}"
    lines = [
        f"data     {len(corpus.kept):,} training pairs, {len(prepared.valid.sources):,} for validation; "
        + (f"dropped {sum(corpus.dropped.values()):,}: {', '.join(dropped)}" if dropped else "none dropped"),
        f"subwords {config.subwords.kind}, {sizes} pieces, {'joint' if subwords.joint else 'one model a side'}; "
        f"unknown in validation: {unknown:,} of {pieces:,} ({unknown / max(1, pieces):.2%})",
        f"model    {config.model.kind}, {total:,} parameters, {embeddings:,} of them embeddings",
        f"updates  {config.training.updates:,}, {len(plan):,} an epoch, of at most {config.training.max_tokens:,} "
        f"padded tokens; padding {padding_share(plan, lengths):.1%}",
    ]
    return "\n".join([*lines, *(f"note     {message}" for message in prepared.messages)])


def dry_run(prepared: Prepared) -> str:
    """What two updates on the largest planned batch cost: memory and expected time, in sentences."""
    config, lengths = prepared.config.training, prepared.corpus.lengths
    plan = _plan(prepared, 0)
    padded = torch.tensor([int(lengths[update].amax(0).sum() + 2) * len(update) for update in plan])
    largest = plan[int(padded.argmax())]
    for number in range(1, 3):  # the first one also pays for what is set up once
        started = time.perf_counter()
        run_update(prepared, largest, number)
        seconds = time.perf_counter() - started
    expected = seconds * config.updates * float(padded.double().mean() / padded.max())
    return (
        f"largest  {len(largest):,} pairs of at most {' and '.join(str(n) for n in lengths[largest].amax(0).tolist())}"
        f" pieces: {seconds:.2f} s forward, backward and update; peak memory "
        f"{hardware.peak_memory(prepared.device) / 2**20:,.0f} MiB\n"
        f"expected {clock(expected)} for {config.updates:,} updates, validations not counted"
    )


def run_update(prepared: Prepared, lines: Tensor, number: int) -> tuple[float, float, int]:
    """One update of the weights; gives the loss sum (nats, smoothed), the gradient's norm, and its target tokens.

    The gradient is the sum over real target tokens divided by the tokens of the whole update, in whatever parts it is
    computed.
    """
    config, model = prepared.config.training, prepared.objective.model
    tokens = int(prepared.corpus.lengths[lines, 1].sum()) + len(lines)
    total = 0.0
    for part in range(config.accumulation):
        batch = prepared.corpus.batch(share(lines, part, config.accumulation)).to(prepared.device)
        if not batch.tokens:
            continue
        # Dropout depends on nothing but these numbers, so a resumed training draws what an unbroken one would have.
        torch.manual_seed(((config.seed * 1_000_003 + number) * 1_009 + part) % 2**63)
        with hardware.autocast(prepared.device, config.precision):
            loss, _ = prepared.objective(batch)
        (loss / tokens).backward()
        total += loss.item()
    norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm or math.inf)
    for group in prepared.optimiser.param_groups:
        group["lr"] = learning_rate(config, number)
    prepared.optimiser.step()
    prepared.optimiser.zero_grad()
    return total, float(norm), tokens


def train(prepared: Prepared, run: Run) -> Progress:
    """Train from where the run stands to its end; gives its progress. Raises Interrupted after Ctrl-C or SIGTERM."""
    config, objective = prepared.config.training, prepared.objective
    progress = run.progress()
    if progress.update:
        progress, weights, state = run.load_training()
        load_weights(objective.model, weights, run.path)
        _load_optimiser(prepared, state)
    reporter = Reporter(run.metrics, progress.update)
    loop = _Loop(prepared, run, reporter, progress)
    objective.train()
    with (
        _stop_signals() as stop,
        tqdm(
            total=config.updates, initial=progress.update, desc=run.name, unit="update", disable=None, leave=False
        ) as bar,
    ):
        say(HEADER)
        for lines in _updates(prepared, progress):
            loop.update(lines)
            bar.update()
            at_end = loop.progress.update == config.updates
            if at_end or loop.progress.update % config.validation_interval == 0:
                loop.validate()
            if stop and not loop.progress.finished:
                loop.interrupt()
                raise Interrupted(stop[0])
            if loop.progress.finished:
                break
    return loop.progress


class _Loop:
    """A training under way: its progress, and sums since the last report and the last validation."""

    def __init__(self, prepared: Prepared, run: Run, reporter: Reporter, progress: Progress) -> None:
        self.prepared, self.run, self.reporter, self.progress = prepared, run, reporter, progress
        self.epoch_updates = len(_plan(prepared, progress.epoch))
        self.reported, self.validated = _Sums(), _Sums()
        self.clock = time.perf_counter()

    def update(self, lines: Tensor) -> None:
        started, number = time.perf_counter(), self.progress.update + 1
        loss, norm, tokens = run_update(self.prepared, lines, number)
        seconds = time.perf_counter() - started
        for sums in (self.reported, self.validated):
            sums.add(loss, norm, tokens, seconds)
        epoch, position = self.progress.epoch, self.progress.position + 1
        if number % REPORT_INTERVAL == 0:
            self.reporter.write(
                Updated(
                    number,
                    epoch,
                    self.reported.loss / self.reported.tokens,
                    self.reported.norm / self.reported.updates,
                    learning_rate(self.prepared.config.training, number),
                    self.reported.tokens / self.reported.seconds,
                )
            )
            self.reported = _Sums()
        if position == self.epoch_updates:
            epoch, position = epoch + 1, 0
            self.epoch_updates = len(_plan(self.prepared, epoch))
        self._advance(update=number, epoch=epoch, position=position, tokens=self.progress.tokens + tokens)

    def validate(self) -> None:
        """Validate, save a checkpoint, report, and finish where the training is at its end."""
        config, at = self.prepared.config.training, self.progress
        loss, per_character, bleu, sample = validate(self.prepared)
        figure = bleu if config.best_by == "bleu" else -loss
        best = at.best is None or figure > at.best
        waited = 0 if best else at.waited + 1
        stopped = bool(config.patience) and waited >= config.patience
        self._advance(
            best=figure if best else at.best,
            best_update=at.update if best else at.best_update,
            waited=waited,
            finished=stopped or at.update == config.updates,
        )
        remaining = self.progress.seconds / at.update * (config.updates - at.update)
        event = Validated(
            update=at.update,
            epoch=at.epoch,
            training_loss=self.validated.loss / self.validated.tokens,
            loss=loss,
            perplexity=math.exp(min(loss, 700)),  # exp(710) overflows
            nats_per_character=per_character,
            bleu=bleu,
            best=best,
            learning_rate=learning_rate(config, at.update),
            tokens_per_second=self.validated.tokens / self.validated.seconds,
            elapsed=self.progress.seconds,
            remaining=remaining,
            sample_source=sample[0],
            sample_hypothesis=sample[1],
            sample_reference=sample[2],
        )
        self.validated = _Sums()
        self.reporter.write(event)
        self.run.save(
            self.progress, weights_of(self.prepared.objective.model), _optimiser_state(self.prepared),
            best=best, keep=config.average_last,
        )  # fmt: skip
        say(row(event))
        say(f"         {sample[0]}  →  {sample[1]}")
        if self.progress.finished:
            reason = f"no better validation in {waited}" if stopped else "all updates done"
            self.reporter.write(Ended(at.update, reason, self.progress.seconds))

    def interrupt(self) -> None:
        """Save so that the same command goes on from here."""
        self._advance()
        self.run.save_training(
            self.progress, weights_of(self.prepared.objective.model), _optimiser_state(self.prepared)
        )
        self.reporter.write(Ended(self.progress.update, "interrupted", self.progress.seconds))

    def _advance(self, **changes: Any) -> None:
        now = time.perf_counter()
        self.progress = replace(self.progress, seconds=self.progress.seconds + now - self.clock, **changes)
        self.clock = now


@dataclass
class _Sums:
    loss: float = 0.0  # nats, smoothed
    norm: float = 0.0
    tokens: int = 0
    updates: int = 0
    seconds: float = 0.0

    def add(self, loss: float, norm: float, tokens: int, seconds: float) -> None:
        self.loss += loss
        self.norm += norm
        self.tokens += tokens
        self.updates += 1
        self.seconds += seconds


def validate(prepared: Prepared) -> tuple[float, float, float, tuple[str, str, str]]:
    """Loss (nats a token, unsmoothed), nats a reference character, BLEU of searched text, and a sample translation."""
    prepared.objective.eval()
    config, valid = prepared.config, prepared.valid
    translator = Translator(
        prepared.objective.model, prepared.subwords, config.search, prepared.device, warn=lambda _: None
    )
    loss, per_character = likelihood(translator, valid)
    hypotheses = translator.translate(valid.sources, bar="validation")
    bleu = scores.bleu([h.text for h in hypotheses], valid.targets, config.data.target_language).value
    prepared.objective.train()
    return loss, per_character, bleu, _sample(valid, hypotheses)


def likelihood(translator: Translator, pairs: TextPairs) -> tuple[float, float]:
    """Nats a target token (</s> counted) and nats a reference character, of a model on reference translations."""
    targets = translator.subwords.target.encode(pairs.targets)
    nats = -sum(translator.score_ids(translator.subwords.source.encode(pairs.sources), targets))
    tokens = sum(len(ids) + 1 for ids in targets)
    return nats / tokens, nats / max(1, sum(map(len, pairs.targets)))


def _sample(valid: TextPairs, hypotheses: list[Translation]) -> tuple[str, str, str]:
    """A validation sentence of middle length, the same each time."""
    index = sorted(range(len(valid.sources)), key=lambda i: (len(valid.sources[i]), i))[len(valid.sources) // 2]
    return valid.sources[index], hypotheses[index].text, valid.targets[index]


def _plan(prepared: Prepared, epoch: int) -> list[Tensor]:
    """The line numbers of each update of an epoch."""
    training, corpus = prepared.config.training, prepared.corpus
    plan = plan_updates(corpus.lengths[corpus.kept], training.max_tokens, training.seed, epoch)
    return [corpus.kept[update] for update in plan]


def _updates(prepared: Prepared, progress: Progress) -> Iterator[Tensor]:
    """Line numbers of each update from where the training stands, epoch after epoch, up to the last."""
    left = prepared.config.training.updates - progress.update
    epoch, position = progress.epoch, progress.position
    while left > 0:
        for lines in _plan(prepared, epoch)[position:][:left]:
            yield lines
            left -= 1
        epoch, position = epoch + 1, 0


def _unknown(prepared: Prepared) -> tuple[int, int]:
    """Unknown pieces and all pieces of the validation set, both sides."""
    rows = prepared.subwords.source.encode(prepared.valid.sources)
    rows += prepared.subwords.target.encode(prepared.valid.targets)
    return sum(ids.count(UNK) for ids in rows), sum(map(len, rows))


def _optimiser_state(prepared: Prepared) -> dict[str, Tensor]:
    state = prepared.optimiser.state
    return {
        f"{key}.{name}": value
        for name, parameter in weights_of(prepared.objective.model).items()
        for key, value in state.get(parameter, {}).items()
    }


def _load_optimiser(prepared: Prepared, tensors: dict[str, Tensor]) -> None:
    parameters = weights_of(prepared.objective.model)
    for name, tensor in tensors.items():
        key, _, parameter = name.partition(".")
        prepared.optimiser.state[parameters[parameter]][key] = tensor.to(prepared.device)


def facts(prepared: Prepared, command: list[str]) -> dict[str, Any]:
    """What `run.json` holds: where a run comes from."""
    train_files = prepared.config.data.train
    total, embeddings = count_parameters(prepared.objective.model)
    return {
        "command": command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": hardware.describe(prepared.device),
        "training_text": {
            side: {"file": str(Path(name).absolute()), "sha256": file_digest(Path(name))}
            for side, name in (("source", train_files.source), ("target", train_files.target))
        },
        "training_pairs": len(prepared.corpus.kept),
        "dropped_pairs": prepared.corpus.dropped,
        "parameters": total,
        "embedding_parameters": embeddings,
    }


def check_training_text(run: Run, config: Config) -> None:
    """Raise InputError unless the training text is the one that the run began with."""
    for side, name in (("source", config.data.train.source), ("target", config.data.train.target)):
        if file_digest(Path(name)) != run.facts()["training_text"][side]["sha256"]:
            raise InputError(
                f"{Path(name).absolute()}: has changed since {run.path.absolute()} began to train on it; "
                "restore it, or give --overwrite to start anew"
            )


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that SIGINT or SIGTERM adds itself to; a second SIGINT stops at once."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
