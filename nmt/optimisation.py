"""The update: what is descended, by how much, and what it costs."""

import math
import time
from typing import Any

import torch
from torch import Tensor, nn

from nmt import hardware
from nmt.batching import Batch, make_batch, share
from nmt.checkpoint import weights_of
from nmt.config import InputError, TrainingConfig
from nmt.events import clock
from nmt.loss import label_smoothed_loss
from nmt.models.base import Seq2Seq
from nmt.preparation import Prepared, plan_epoch, training_ids, updates_of_tokens
from nmt.progress import Progress

SMALLER = "raise training.accumulation, which computes an update in smaller parts, or lower training.max_tokens"


class Objective(nn.Module):
    """The loss of a batch: the one module to wrap, be it for several processes or for a compiler."""

    def __init__(self, model: Seq2Seq, config: TrainingConfig) -> None:
        super().__init__()
        self.model = model
        self.label_smoothing = config.label_smoothing

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss to descend and the plain negative log-likelihood (detached), sums in nats over real positions."""
        target = batch.target_out.flatten()[batch.predicted]  # (N,)
        real = self.model(batch.source, batch.target_in).flatten(0, 1)[batch.predicted]  # (N, D)
        return label_smoothed_loss(real, *self.model.output, target, self.label_smoothing)


def learning_rate(config: TrainingConfig, update: int, falls: int = 0) -> float:
    """The learning rate of an update, counted from 1: linear warm-up, then as `schedule` says.

    falls: how often the plateau schedule has lowered it.
    """
    if update < config.warmup_updates:
        return config.learning_rate * update / config.warmup_updates
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "plateau":
        return config.learning_rate * config.plateau_factor**falls
    if config.schedule == "cosine":  # Loshchilov & Hutter 2017, without restarts
        done = (update - config.warmup_updates) / max(1, config.updates - config.warmup_updates)
        return config.learning_rate * (1 + math.cos(math.pi * min(1, done))) / 2
    return config.learning_rate * math.sqrt(max(1, config.warmup_updates) / update)


def plateau(at: Progress, figure: float, config: TrainingConfig) -> dict[str, Any]:
    """What a validation's figure changes of the plateau schedule's state."""
    # Other validations than at the interval depend on where a sitting or a budget ended.
    if config.schedule != "plateau" or at.update % config.validation_interval or at.update < config.warmup_updates:
        return {}
    if at.plateau_best is None or figure > at.plateau_best:
        return {"plateau_best": figure, "plateau_waited": 0}
    if at.plateau_waited + 1 == config.plateau_patience:
        return {"plateau_waited": 0, "falls": at.falls + 1}
    return {"plateau_waited": at.plateau_waited + 1}


class Updater:
    """Changes the weights of a prepared model, an update at a time."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared, self.config = prepared, prepared.config.training
        self.objective = Objective(prepared.model, self.config).train()
        if self.config.compile:
            hardware.require_compiler()
        # dynamic: one program for batches of all lengths.
        self.loss = torch.compile(self.objective, dynamic=True) if self.config.compile else self.objective
        # Adam (Kingma & Ba 2015), AdamW (Loshchilov & Hutter 2019); fused: one pass over a tensor, not a dozen.
        kind = torch.optim.Adam if self.config.optimiser == "adam" else torch.optim.AdamW
        self.optimiser = kind(
            prepared.model.parameters(),
            lr=0.0,
            betas=self.config.betas,
            eps=1e-9,  # Vaswani et al. 2017, 5.3
            weight_decay=self.config.weight_decay,
            fused=True,
        )

    def update(self, lines: Tensor, number: int, epoch: int, falls: int = 0) -> tuple[Tensor, Tensor, int]:
        """Do update `number` on the pairs at `lines`: its loss (a sum in nats), gradient norm, target tokens.

        Where loss or norm is not finite, nothing is changed. They are left on the device: a GPU goes on working until
        they are read. falls: of the learning rate so far, by the plateau schedule.
        """
        total, norm, tokens = self.gradient(lines, number, epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, number, falls)
        # By this attribute torch's own gradient scaler tells fused optimisers to skip a step, and nothing waits for it.
        # It is declared nowhere, as the scaler alone sets it.
        self.optimiser.found_inf = 1 - (torch.isfinite(total) & torch.isfinite(norm)).float()  # type: ignore[attr-defined]
        self.optimiser.step()
        self.optimiser.zero_grad()
        return total, norm, tokens

    def gradient(self, lines: Tensor, number: int, epoch: int) -> tuple[Tensor, Tensor, int]:
        """The same, but the weights are not changed: their gradient is there, clipped.

        It is the sum over real target tokens divided by the tokens of the whole update, in whatever parts it is
        computed. Raises InputError, naming the batch's shape, where the device has too little memory.
        """
        config, prepared = self.config, self.prepared
        sources, targets = training_ids(prepared, lines, epoch)
        tokens = sum(map(len, targets)) + len(lines)
        total = torch.zeros((), dtype=torch.float64, device=prepared.device)
        for part in range(config.accumulation):
            own = share(part, config.accumulation)
            if not len(lines[own]):
                continue
            multiple = hardware.length_multiple(prepared.device)
            batch = make_batch(sources[own], targets[own], lines[own], multiple=multiple).to(prepared.device)
            # Dropout depends on these numbers alone, so a resumed training draws what an unbroken one would have.
            torch.manual_seed(((config.seed * 1_000_003 + number) * 1_009 + part) % 2**63)
            try:
                with hardware.autocast(prepared.device, config.precision):
                    loss, _ = self.loss(batch)
                (loss / tokens).backward()
            except (RuntimeError, MemoryError) as error:
                if not hardware.is_out_of_memory(error):
                    raise
                raise InputError(_too_large(batch, number, prepared.device)) from error
            total += loss.detach()
        return total, nn.utils.clip_grad_norm_(prepared.model.parameters(), config.clip_norm or math.inf), tokens

    def state(self) -> dict[str, Tensor]:
        """The optimiser's tensors by name."""
        return {
            f"{key}.{name}": value
            for name, parameter in weights_of(self.prepared.model).items()
            for key, value in self.optimiser.state.get(parameter, {}).items()
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take up the tensors that `state` gave."""
        parameters = weights_of(self.prepared.model)
        for name, tensor in tensors.items():
            key, _, parameter = name.partition(".")
            self.optimiser.state[parameters[parameter]][key] = tensor.to(self.prepared.device)


def _too_large(batch: Batch, number: int, device: torch.device) -> str:
    (rows, source), target = batch.source.shape, batch.target_in.shape[1]
    free = hardware.free_memory(device)
    left = "" if free is None else f" ({free / 2**20:,.0f} MiB are free)"
    return (
        f"update {number:,}: {rows:,} pairs of at most {source} and {target} pieces do not fit into the memory of the "
        f"{'GPU' if device.type == 'cuda' else 'machine'}{left}: {SMALLER}"
    )


def memory_warning(updater: Updater) -> str | None:
    """A sentence where the largest planned update will hardly fit into what memory is free; it is not tried.

    The memory is foretold from a fourth of its pairs: for the recipes of Multi30k 7 % (Transformer) and 22 % (RNN) too
    much, at four times their tokens 14 and 28 %.
    """
    prepared = updater.prepared
    device, largest = prepared.device, _padded(prepared)[1]
    part = largest[::4]
    weights = sum(weight.numel() * weight.element_size() for weight in prepared.model.parameters())
    taken = hardware.memory_of(lambda: updater.gradient(part, 1, 0), device)
    updater.optimiser.zero_grad()
    free = hardware.free_memory(device)
    if taken is None or free is None:
        return None
    expected = max(0, taken - weights) * len(largest) / len(part) + 3 * weights  # gradient and two moments
    if expected < free:
        return None
    source, target = prepared.corpus.lengths[largest].amax(0).tolist()
    return (
        f"the largest update, {len(largest):,} pairs of at most {source} and {target} pieces, will take about "
        f"{expected / 2**20:,.0f} MiB, but {free / 2**20:,.0f} MiB are free: {SMALLER}"
    )


def _padded(prepared: Prepared) -> tuple[Tensor, Tensor]:
    """Padded pieces of each update of the first epoch, both sides, and the lines of the largest."""
    plan, lengths = plan_epoch(prepared, 0), prepared.corpus.lengths
    padded = torch.tensor([int(lengths[lines].amax(0).sum() + 2) * len(lines) for lines in plan])
    return padded, plan[int(padded.argmax())]


def dry_run(prepared: Prepared) -> str:
    """What two updates on the largest planned batch cost: memory and expected time, in sentences."""
    lengths, config = prepared.corpus.lengths, prepared.config.training
    padded, largest = _padded(prepared)
    updater = Updater(prepared)
    warning = memory_warning(updater)
    if warning:
        return f"warning  {warning}"
    for number in (1, 2):  # the first one also pays for what is set up once
        started = time.perf_counter()
        updater.update(largest, number, epoch=0)[0].item()  # a GPU is done once its loss is read
        seconds = time.perf_counter() - started
    each = seconds * float(padded.double().mean() / padded.max())
    updates = min(config.updates, updates_of_tokens(prepared) if config.max_target_tokens else config.updates)
    expected = f"{clock(each * updates)} for {updates:,} updates, validations not counted"
    if 0 < config.max_minutes * 60 < each * updates:
        expected = f"{config.max_minutes * 60 / each:,.0f} updates in {config.max_minutes:g} minutes, less validations"
    source, target = lengths[largest].amax(0).tolist()
    return (
        f"largest  {len(largest):,} pairs of at most {source} and {target} pieces: {seconds:.2f} s for forward, "
        f"backward and update; peak memory {hardware.peak_memory(prepared.device) / 2**20:,.0f} MiB\n"
        f"expected {expected}"
    )
