"""Eole 0.6.4's search, timed: `PYTHON eole_search.py FOLDER`, PYTHON having eole (and aiohttp, which it needs).

Random weights, sizes like ours (how the two differ: `eole_training.py`). Its translator is handed batches of ids.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from eole.config.run import PredictConfig
from eole.inputters.inputter import build_vocab
from eole.models.model import EncoderDecoderModel
from eole.predict import GNMTGlobalScorer, Translator
from eole_training import config as training_config
from searching import Search, Task, batches, measure


def build(task: Task, folder: Path) -> Any:
    """A translator with an untrained model of a task's sizes, whose ids are ours."""
    (folder / "vocabulary.txt").write_text("".join(f"{piece}\n" for piece in task["target_pieces"]), encoding="utf-8")
    for side in ("source", "target"):
        (folder / f"train.{side}").write_text("", encoding="utf-8")
    config = training_config(task | {"vocabulary_size": len(task["target_pieces"]), "pairs": 1}, folder)
    vocabularies = build_vocab(config, {"src": [], "tgt": []})
    model = EncoderDecoderModel.for_training(config.model, vocabularies, config.training, device_id=-1).eval()
    predicting = PredictConfig(model=config.model, model_path=str(folder), src="", gpu_ranks=[], max_length_ratio=0)
    return Translator(
        model,
        vocabularies,
        predicting,
        config.model,
        device_id=-1,
        global_scorer=GNMTGlobalScorer.from_config(predicting),
    )


def prepare(task: Task) -> Search:
    torch.set_num_threads(task["threads"])
    translator = build(task, Path(sys.argv[1]))

    def search(numbers: Sequence[int], beam_size: int, exactly: int | None) -> list[int]:
        # top_k = 1 is its greedy search, a little faster than a beam of 1.
        translator.update_settings(
            beam_size=beam_size, top_k=int(beam_size == 1), min_length=exactly, max_length=exactly
        )
        found: list[int] = []
        for batch in batches(task, numbers):
            rows = [task["sources"][number] for number in batch]
            lengths = torch.tensor([len(row) for row in rows])
            padded = [row + [translator._src_pad_idx] * (int(lengths.max()) - len(row)) for row in rows]
            result = translator.predict_batch({"src": torch.tensor(padded), "srclen": lengths}, attn_debug=False)
            found += [len(predictions[0]) for predictions in result["predictions"]]
        return found

    return search


if __name__ == "__main__":
    measure(prepare)
