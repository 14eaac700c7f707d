"""Eole 0.6.4's updates, timed: `PYTHON eole_training.py FOLDER`, PYTHON having eole (and aiohttp, which it needs).

Its own trainer does all; a clock is read where an update begins. Like ours: sizes, biases, embeddings tied, dropout
(none on attention weights), label smoothing, Adam, clipping, pairs of like length together. Unlike ours:

- the budget counts rows × the longer side with the target's <s> and </s>, and the source has no </s>; a second pair of
  the same source in an update is dropped;
- the RNN's decoder, without input feeding, never feeds what attention has read back into its state (Luong et al. 2015),
  which lets it run all steps in one call; its output layer is as wide as its decoder, and so not tied.

The corpus is one bucket, encoded before the first update, so that none of the timed updates waits for it.
"""

import sys
from pathlib import Path
from typing import Any

import eole.trainer
import torch
from eole.config.run import TrainConfig
from eole.train_single import main as train
from measure import Finished, Stopwatch, read_task, write_result


class Timed(eole.trainer.Trainer):
    """The trainer, telling a stopwatch of each update, and leaving the result when it is done."""

    stopwatch: Stopwatch
    folder: Path

    def train(self, *arguments: Any, **options: Any) -> None:
        try:
            super().train(*arguments, **options)
        except Finished:
            parameters = sum(weight.numel() for weight in self.model.parameters())
            write_result(self.folder, self.stopwatch.result(parameters))

    def _train_step(self, batches: Any, *arguments: Any, **options: Any) -> None:
        [batch] = batches
        target = batch["tgt"]
        real = int(target[:, 1:].ne(self.train_loss.padding_idx).sum())
        self.stopwatch.begin(real, len(target) * max(batch["src"].shape[1], target.shape[1]))
        super()._train_step(batches, *arguments, **options)


def config(task: dict[str, Any], folder: Path) -> TrainConfig:
    """A task as Eole's configuration."""
    model, training = task["model"], task["training"]
    return TrainConfig(
        seed=training["seed"],
        src_vocab=str(folder / "vocabulary.txt"),
        share_vocab=True,
        src_vocab_size=task["vocabulary_size"],
        tgt_vocab_size=task["vocabulary_size"],
        vocab_size_multiple=1,
        pad_token="<pad>",
        data={"corpus": {"path_src": str(folder / "train.source"), "path_tgt": str(folder / "train.target")}},
        model=transformer(model) if model["kind"] == "transformer" else rnn(model),
        training={
            "model_path": str(folder / "model"),
            "gpu_ranks": [],
            "world_size": 0,
            "num_workers": 0,
            "bucket_size": task["pairs"],
            "batch_type": "tokens",
            "batch_size": training["max_tokens"],
            "normalization": "tokens",
            "optim": "adam",
            "adam_beta1": training["betas"][0],
            "adam_beta2": training["betas"][1],
            "learning_rate": training["learning_rate"],
            "warmup_steps": training["warmup_updates"],
            "decay_method": "rsqrt",
            "max_grad_norm": training["clip_norm"],
            "label_smoothing": training["label_smoothing"],
            "dropout": [model["dropout"]],
            "attention_dropout": [0.0],
            "param_init_method": "xavier_uniform",
            "param_init": 0,
            "log_attention_entropy": False,
            "train_steps": 1_000_000,
            "save_checkpoint_steps": 1_000_000,
        },
    )


def transformer(model: dict[str, Any]) -> dict[str, Any]:
    """The architecture of a Transformer, pre-norm."""
    return {
        "architecture": "custom",
        "hidden_size": model["size"],
        "transformer_ff": model["feed_forward_size"],
        "heads": model["heads"],
        "add_qkvbias": True,
        "add_final_linear_bias": True,
        "add_ffnbias": True,
        "embeddings": {"word_vec_size": model["size"], "position_encoding_type": "SinusoidalInterleaved"},
        "encoder": {"encoder_type": "transformer", "layers": model["encoder_layers"]},
        "decoder": {"decoder_type": "transformer", "layers": model["decoder_layers"]},
        "share_embeddings": True,
        "share_decoder_embeddings": True,
    }


def rnn(model: dict[str, Any]) -> dict[str, Any]:
    """The architecture of an RNN. `architecture: rnn` would make its encoder one-way."""
    return {
        "architecture": "custom",
        "hidden_size": model["decoder_size"],
        "embeddings": {"word_vec_size": model["embedding_size"], "position_encoding_type": None},
        "encoder": {"encoder_type": "brnn", "rnn_type": "GRU", "layers": model["encoder_layers"]},
        "decoder": {
            "decoder_type": "rnn",
            "rnn_type": "GRU",
            "layers": model["decoder_layers"],
            "global_attention": "mlp",
        },
        "input_feed": 0,
        "share_embeddings": True,
        "share_decoder_embeddings": False,
    }


def main() -> None:
    folder = Path(sys.argv[1])
    task = read_task(folder)
    torch.set_num_threads(task["threads"])
    Timed.stopwatch, Timed.folder = Stopwatch(task["warm_up"], task["updates"]), folder
    eole.trainer.Trainer = Timed  # where `train` will look for it
    train(config(task, folder), device_id=-1)


if __name__ == "__main__":
    main()
