"""How fast training is, beside other trainers on the same text, in one run, alternating.

    python -m tests.bench.train_speed configs/multi30k-transformer.toml configs/multi30k-rnn.toml \\
        [--joeynmt PYTHON] [--eole PYTHON] [--marian PYTHON] [--updates N] [--rounds N] [--threads N] [--json FILE]

PYTHON is the interpreter of an environment that holds the other trainer. Each training is a process of its own; all get
the same pieces of the same pairs, the same sizes, budget and number of threads. In a round each of the others trains
just after ours, and a ratio is one of two neighbours. What could not be made the same stands at the head of each
program in `peers`.

Tokens are real target tokens, </s> counted, over the time of whole updates, the making of their batches included, start
and validation excluded; the first updates are not timed. Memory is the most that the process has held. The share of the
peak is `flops.training_flops` of our timed updates, over their time and this machine's best matrix product.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nmt import hardware
from nmt.config import InputError, TransformerConfig, load_config
from nmt.preparation import Prepared, plan_epoch, prepare
from tests.bench.flops import training_flops
from tests.bench.machine import Figures, matrix_peak, mean_and_spread, measure_each, result_of, table

WARM_UP = 5  # updates before the timed ones: kernels are chosen, memory is touched for the first time
PEERS = {"joeynmt": "JoeyNMT", "eole": "Eole", "marian": "Marian"}
HEADING = (
    "",
    "parameters",
    "padded tokens",
    "target tokens",
    "ms an update",
    "target tokens/s",
    "MiB",
    "× its tokens/s",
    "× its memory",
)


@dataclass
class Trainer:
    """A trainer and what its trainings cost, one a round."""

    name: str
    command: Sequence[str]  # trains what lies in the folder that follows it
    missing: str = ""  # why there is nothing to show, a sentence
    results: list[dict[str, float]] = field(default_factory=list)  # `Stopwatch.result`
    faster: list[float] = field(default_factory=list)  # our tokens/s over its, of each round
    larger: list[float] = field(default_factory=list)  # our memory over its

    def train(self, folder: Path) -> dict[str, float]:
        """The result of one more training."""
        result: dict[str, float] = result_of(self.command, folder)
        self.results.append(result)
        print(f"{self.name}: {result['tokens'] / result['seconds']:,.0f} target tokens/s", file=sys.stderr)
        return result

    def mean(self, key: str) -> float:
        """The mean over rounds."""
        return sum(result[key] for result in self.results) / len(self.results)

    def figures(self) -> dict[str, float | None]:
        """Its costs, mean over rounds, under flat keys."""
        updates = self.mean("updates")
        return {
            "parameters": self.mean("parameters"),
            "padded_tokens_an_update": self.mean("padded") / updates if "padded" in self.results[0] else None,
            "target_tokens_an_update": self.mean("tokens") / updates,
            "milliseconds_an_update": 1000 * self.mean("seconds") / updates,
            "target_tokens_per_second": self.mean("tokens") / self.mean("seconds"),
            "peak_memory_mib": self.mean("peak_memory") / 2**20,
        }

    def row(self) -> list[str]:
        """Its cells under HEADING."""
        figures = self.figures().values() if self.results else [None] * 6
        cells = ["–" if figure is None else f"{figure:,.0f}" for figure in figures]
        ratios = [mean_and_spread(ratios) if ratios else "" for ratios in (self.faster, self.larger)]
        return [self.name, *cells, *ratios]


def compare(ours: Trainer, peers: Sequence[Trainer], folder: Path, rounds: int) -> None:
    """Train by turns: before each of the others ours anew."""
    for _ in range(rounds):
        going = [peer for peer in peers if not peer.missing]
        for peer in going:
            own = ours.train(folder)
            try:
                its = peer.train(folder)
            except InputError as error:
                peer.missing = f"{peer.name}: {error}"
                continue
            peer.faster.append(own["tokens"] / own["seconds"] / (its["tokens"] / its["seconds"]))
            peer.larger.append(own["peak_memory"] / its["peak_memory"])
        if not going:
            ours.train(folder)


def comparable(prepared: Prepared) -> bool:
    """Whether the others can be set up like this model."""
    model = prepared.config.model
    if not (prepared.subwords.joint and model.tied_embeddings):
        return False
    if isinstance(model, TransformerConfig):
        return model.norm == "pre"
    one_layer = model.attention == "additive" and (model.encoder_layers, model.decoder_layers) == (1, 1)
    return one_layer and 2 * model.encoder_size == model.decoder_size == model.attention_size


def peers_of(arguments: argparse.Namespace, prepared: Prepared) -> list[Trainer]:
    """The other trainers, each with what keeps it from training this model."""
    trainers = []
    for peer, name in PEERS.items():
        python, missing = getattr(arguments, peer), ""
        if not python:
            missing = f"{name}: the yardstick is missing; --{peer} PYTHON names an environment that holds it"
        elif not comparable(prepared):
            missing = f"{name} cannot be set up like this model (see `comparable`)"
        elif peer == "marian" and prepared.config.model.kind == "rnn":
            missing = f"{name} has no RNN of these sizes: its encoder is as wide as its decoder"
        script = Path(__file__).parent / "peers" / f"{peer}_training.py"
        trainers.append(Trainer(name, (str(python), str(script)), missing))
    return trainers


def write_task(prepared: Prepared, folder: Path, **more: Any) -> None:
    """Leave in a folder what to train on what: subwords, pairs as pieces between spaces, sizes."""
    prepared.subwords.save(folder)
    sides = {"source": prepared.subwords.source.pieces, "target": prepared.subwords.target.pieces}
    (folder / "vocabulary.txt").write_text("".join(f"{piece}\n" for piece in sides["target"]), encoding="utf-8")
    kept = prepared.corpus.kept
    for (side, pieces), rows in zip(sides.items(), prepared.corpus.ids(kept), strict=True):
        lines = [" ".join(pieces[piece] for piece in row.tolist()) for row in rows]
        (folder / f"train.{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    config = prepared.config
    task = {
        "model": config.model.model_dump(),
        "training": config.training.model_dump(),
        "pairs": len(kept),
        "vocabulary_size": prepared.subwords.target.size,
        "warm_up": WARM_UP,
        **more,
    }
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")


def measure(path: Path, arguments: argparse.Namespace, folder: Path) -> Figures:
    """Print what training one config costs; the same figures under flat keys."""
    prepared = prepare(load_config(path), torch.device("cpu"))
    plan = plan_epoch(prepared, 0)[: arguments.updates]
    task = {"config": str(path.absolute()), "threads": arguments.threads, "updates": len(plan)}
    write_task(prepared, folder, **task)
    peak = matrix_peak()
    ours = Trainer("nmt", (sys.executable, "-m", "tests.bench.own_training"))
    peers = peers_of(arguments, prepared)
    compare(ours, peers, folder, arguments.rounds)

    operations = sum(
        training_flops(prepared.config.model, prepared.subwords.target.size, prepared.corpus.lengths[lines] + 1)
        for lines in plan
    )
    achieved = operations / ours.mean("seconds") / 1e9
    phases = {phase: ours.mean(phase) for phase in ("batch", "forward_and_loss", "backward", "clip_and_optimiser")}
    lines = [
        f"{path}: {len(prepared.corpus.kept):,} pairs, {len(plan):,} timed updates, {arguments.threads} threads",
        "",
        table([HEADING, *(trainer.row() for trainer in (ours, *peers))]),
        *(peer.missing for peer in peers if peer.missing),
        "",
        "our milliseconds an update, taken apart: "
        + ", ".join(f"{phase.replace('_', ' ')} {figure:,.1f}" for phase, figure in phases.items()),
        f"our matrix products on real tokens: {achieved:,.0f} GFLOP/s, {achieved / peak:.1%} of this machine's "
        f"{peak:,.0f}",
        "",
    ]
    print("\n".join(lines), flush=True)
    figures: Figures = {"matrix_peak_gflops": peak, "gflops": achieved, "share_of_peak": achieved / peak}
    figures |= {f"milliseconds_{phase}": figure for phase, figure in phases.items()}
    for trainer in (ours, *peers):
        own: Figures = {**trainer.figures()} if trainer.results else {"missing": trainer.missing}
        for key, ratios in (("times_its_tokens_per_second", trainer.faster), ("times_its_memory", trainer.larger)):
            if ratios:
                own |= {key: sum(ratios) / len(ratios), f"{key}_least": min(ratios), f"{key}_most": max(ratios)}
        figures |= {f"{trainer.name.lower()}.{key}": value for key, value in own.items()}
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.train_speed", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("configs", nargs="+", type=Path, metavar="CONFIG")
    for peer, name in PEERS.items():
        parser.add_argument(f"--{peer}", type=Path, metavar="PYTHON", help=f"of an environment that holds {name}")
    parser.add_argument("--updates", type=int, metavar="N", help="timed updates of a training (an epoch's)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="trainings of each (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    hardware.set_up(arguments.threads)
    return measure_each(arguments.configs, lambda path, folder: measure(path, arguments, folder), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
