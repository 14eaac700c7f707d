"""Marian's updates, timed: `PYTHON marian_training.py FOLDER`, PYTHON having pymarian; for a pre-norm Transformer.

Its own trainer does all; time and tokens are those of its log, which counts target labels, </s> among them. Like ours:
sizes, embeddings tied, dropout (none on attention weights), label smoothing, Adam, clipping. Unlike ours:

- the budget counts real tokens of the source, </s> among them, and no padding, so an update holds more of them; pairs
  of like target length go together;
- it knows no threads within a product: each of its threads computes a part of the update's pairs (`--sync-sgd`; without
  it every thread would make updates of its own), and has a workspace of its own.
"""

import re
import resource
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from measure import read_task, write_result


def options(task: dict[str, Any], folder: Path) -> dict[str, list[object]]:
    """A task as Marian's options."""
    model, training = task["model"], task["training"]
    last = task["warm_up"] + task["updates"]
    return {
        "type": ["transformer"],
        "train-sets": [folder / "train.source", folder / "train.target"],
        "vocabs": [folder / "vocabulary.txt"] * 2,
        "dim-vocabs": [task["vocabulary_size"]] * 2,
        "model": [folder / "model.npz"],
        "overwrite": [],
        "tempdir": [folder],
        "log": [folder / "log"],
        "seed": [training["seed"]],
        "cpu-threads": [task["threads"]],
        "sync-sgd": [],
        "dim-emb": [model["size"]],
        "enc-depth": [model["encoder_layers"]],
        "dec-depth": [model["decoder_layers"]],
        "transformer-heads": [model["heads"]],
        "transformer-dim-ffn": [model["feed_forward_size"]],
        "transformer-ffn-activation": ["relu"],
        "transformer-preprocess": ["n"],
        "transformer-postprocess": ["da"],
        "transformer-postprocess-top": ["n"],
        "transformer-postprocess-emb": ["d"],
        "transformer-dropout": [model["dropout"]],
        "transformer-dropout-ffn": [model["dropout"]],
        "tied-embeddings-all": [],
        "max-length": [1000],  # longer pairs are not among these: ours are filtered before
        "mini-batch": [training["max_tokens"]],  # sentences: no second limit
        "mini-batch-words": [training["max_tokens"]],
        "label-smoothing": [training["label_smoothing"]],
        "learn-rate": [training["learning_rate"]],
        "lr-warmup": [training["warmup_updates"]],
        "lr-decay-inv-sqrt": [training["warmup_updates"]],
        "optimizer-params": [*training["betas"], 1e-9],
        "clip-norm": [training["clip_norm"]],
        "after-batches": [last],
        # One line of the log for each update of the warm-up, and one for all the others.
        "disp-first": [task["warm_up"]],
        "disp-freq": [last],
    }


def parameters_of(model: Path) -> int:
    """The float32 numbers of a model as saved; what is not weights stands under names of its own."""
    total = 0
    with zipfile.ZipFile(model) as arrays:
        for array in arrays.infolist():
            if not array.filename.startswith("special:"):
                with arrays.open(array) as data:  # a header of 10 bytes and as many as its last two say, then numbers
                    header = 10 + int.from_bytes(data.read(10)[8:], "little")
                total += (array.file_size - header) // 4
    return total


def main() -> None:
    folder = Path(sys.argv[1])
    task = read_task(folder)
    for left in ("model.npz", "log"):  # by a training before, which would be gone on with
        (folder / left).unlink(missing_ok=True)
    arguments = [word for name, values in options(task, folder).items() for word in (f"--{name}", *map(str, values))]
    subprocess.run([sys.executable, "-m", "pymarian", "train", *arguments], check=True)  # it ends its process itself
    number = task["warm_up"] + task["updates"]
    line = rf"Up\. {number:,} : .* \* ([\d,]+) @ .* : Time ([\d.]+)s"
    [(tokens, seconds)] = re.findall(line, (folder / "log").read_text(encoding="utf-8"))
    result = {
        "tokens": int(tokens.replace(",", "")),
        "updates": task["updates"],
        "seconds": float(seconds),
        "parameters": parameters_of(folder / "model.npz"),
        "peak_memory": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    }
    write_result(folder, result)


if __name__ == "__main__":
    main()
