"""JoeyNMT 2.3.0's updates, timed: `PYTHON joeynmt_training.py FOLDER`, PYTHON having joeynmt.

Its own trainer does all; a clock is read where an update begins. Like ours: sizes, embeddings tied, label smoothing,
Adam, clipping. Unlike ours, because it has no other way:

- a batch is closed when rows × the longer side, </s> counted, *reaches* the budget, and pairs come in random order,
  so an update holds fewer real tokens;
- the Transformer's dropout also falls on attention weights: it has one key for all;
- the RNN's output layer is as wide as its decoder, and so not tied. Its context reaches the recurrent state through
  input feeding, one step later than in Bahdanau et al. 2015.

Text comes as pieces between spaces, which costs it less to split than SentencePiece would.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from joeynmt.config import parse_global_args, set_validation_args
from joeynmt.prediction import prepare
from joeynmt.training import TrainManager
from measure import Finished, Stopwatch, read_task, write_result


class Timed(TrainManager):
    """The trainer, telling a stopwatch of each update."""

    stopwatch: Stopwatch

    def _train_step(self, batch: Any) -> Any:
        longer = max(batch.src.shape[1], batch.trg.shape[1])
        self.stopwatch.begin(batch.ntokens, batch.nseqs * longer)
        return super()._train_step(batch)

    def _save_checkpoint(self, *_: Any) -> None:
        """Not timed, and not needed."""


def config(task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A task as JoeyNMT's configuration."""
    model, training = task["model"], task["training"]
    side = {"level": "word", "voc_file": str(folder / "vocabulary.txt"), "max_length": -1}
    return {
        "name": "speed",
        "model_dir": str(folder),
        "use_cuda": False,
        "num_workers": 0,
        "random_seed": training["seed"],
        "normalization": "tokens",
        "data": {
            "train": str(folder / "train"),
            "dataset_type": "plain",
            "src": side | {"lang": "source"},
            "trg": side | {"lang": "target"},
            "special_symbols": {
                "unk_id": 0, "pad_id": 1, "bos_id": 2, "eos_id": 3,
                "unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>",
            },
        },
        "testing": {},
        "training": {
            "optimizer": "adam",
            "adam_betas": training["betas"],
            "learning_rate": training["learning_rate"],
            "learning_rate_warmup": training["warmup_updates"],
            "learning_rate_min": 0.0,
            "scheduling": "warmupinversesquareroot",
            "label_smoothing": training["label_smoothing"],
            "clip_grad_norm": training["clip_norm"] or None,
            "normalization": "tokens",
            "batch_size": training["max_tokens"],
            "batch_type": "token",
            "epochs": 1000,
            "logging_freq": 1_000_000,
            "validation_freq": 1_000_000,
        },
        "model": transformer(model) if model["kind"] == "transformer" else rnn(model),
    }  # fmt: skip


def transformer(model: dict[str, Any]) -> dict[str, Any]:
    """The architecture of a Transformer."""
    stack = {
        "type": "transformer",
        "hidden_size": model["size"],
        "ff_size": model["feed_forward_size"],
        "num_heads": model["heads"],
        "layer_norm": model["norm"],
        "dropout": model["dropout"],
        "embeddings": {"embedding_dim": model["size"], "scale": True, "dropout": model["dropout"]},
    }
    return {
        "tied_embeddings": True,
        "tied_softmax": True,
        "initializer": "xavier_uniform",
        "encoder": stack | {"num_layers": model["encoder_layers"]},
        "decoder": stack | {"num_layers": model["decoder_layers"]},
    }


def rnn(model: dict[str, Any]) -> dict[str, Any]:
    """The architecture of an RNN."""
    recurrent = {
        "type": "recurrent",
        "rnn_type": "gru",
        "dropout": model["dropout"],
        "embeddings": {"embedding_dim": model["embedding_size"], "dropout": model["dropout"]},
    }
    return {
        "tied_embeddings": True,
        "tied_softmax": False,
        "encoder": recurrent
        | {"hidden_size": model["encoder_size"], "bidirectional": True, "num_layers": model["encoder_layers"]},
        "decoder": recurrent
        | {
            "hidden_size": model["decoder_size"],
            "num_layers": model["decoder_layers"],
            "attention": "bahdanau",
            "input_feeding": True,
            "init_hidden": "bridge",
            "hidden_dropout": model["dropout"],
        },
    }


def main() -> None:
    folder = Path(sys.argv[1])
    task = read_task(folder)
    torch.set_num_threads(task["threads"])
    arguments = parse_global_args(config(task, folder), mode="train")
    model, train, _, _ = prepare(arguments, rank=0, mode="train")
    trainer = Timed(
        rank=0,
        model=model,
        model_dir=arguments.model_dir,
        device=arguments.device,
        autocast=arguments.autocast,
        seed=arguments.seed,
        train_args=arguments.train,
        dev_args=set_validation_args(arguments.test),
    )
    trainer.stopwatch = Stopwatch(task["warm_up"], task["updates"])
    try:
        trainer.train_and_validate(train, train)  # no validation comes before the last timed update
    except Finished:
        write_result(folder, trainer.stopwatch.result(sum(weight.numel() for weight in model.parameters())))


if __name__ == "__main__":
    main()
