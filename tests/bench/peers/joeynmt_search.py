"""JoeyNMT 2.3.0's search, timed: `PYTHON joeynmt_search.py FOLDER`, PYTHON having joeynmt.

Random weights, sizes like ours (how the two differ: `joeynmt_training.py`). It gives scores from beam search alone,
which spares its greedy search the softmax. Its RNN's output layer is as wide as its decoder; a setting puts a linear
layer before it, so that it is as wide as ours.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from joeynmt.batch import Batch
from joeynmt.model import build_model
from joeynmt.search import search as search_batch
from joeynmt.vocabulary import Vocabulary
from joeynmt_training import rnn, transformer
from searching import Search, Task, batches, measure
from torch import nn

SPECIAL = {"unk": 0, "pad": 1, "bos": 2, "eos": 3, "sep": 4}
FIRST = len(SPECIAL)  # id of an ordinary piece, as in ours


def build(task: Task) -> Any:
    """An untrained model of a task's sizes, whose ids are ours but for the special ones."""
    names = {f"{name}_token": f"<{name}>" for name in SPECIAL} | {f"{name}_id": i for name, i in SPECIAL.items()}
    pieces = [f"piece {number}" for number in range(FIRST, len(task["target_pieces"]))]
    vocabulary = Vocabulary(pieces, SimpleNamespace(**names, lang_tags=[]))
    model = task["model"]
    built = build_model(transformer(model) if model["kind"] == "transformer" else rnn(model), vocabulary, vocabulary)
    width = task["setting"]["output_width"]
    layer = built.decoder.output_layer
    if width != layer.in_features:
        narrow = nn.Linear(width, layer.out_features, bias=layer.bias is not None)
        built.decoder.output_layer = nn.Sequential(nn.Linear(layer.in_features, width), narrow)
    return built.eval()


def prepare(task: Task) -> Search:
    torch.set_num_threads(task["threads"])
    model = build(task)

    def search(numbers: Sequence[int], beam_size: int, exactly: int | None) -> list[int]:
        found: list[int] = []
        for batch in batches(task, numbers):
            rows = [[*(max(FIRST, piece) for piece in task["sources"][number]), SPECIAL["eos"]] for number in batch]
            longest = max(map(len, rows))
            source = torch.tensor([row + [SPECIAL["pad"]] * (longest - len(row)) for row in rows])
            output, _, _ = search_batch(
                model,
                Batch(
                    src=source,
                    src_length=torch.tensor([len(row) for row in rows]),
                    src_prompt_mask=None,
                    trg=None,
                    trg_prompt_mask=None,
                    indices=torch.arange(len(rows)),
                    device=torch.device("cpu"),
                    pad_index=SPECIAL["pad"],
                    eos_index=SPECIAL["eos"],
                    is_train=False,
                ),
                max_output_length=exactly,
                min_output_length=exactly,
                beam_size=beam_size,
                beam_alpha=1.0,
            )
            found += [int((row != SPECIAL["pad"]).sum()) for row in torch.from_numpy(output)]
        return found

    return search


if __name__ == "__main__":
    measure(prepare)
