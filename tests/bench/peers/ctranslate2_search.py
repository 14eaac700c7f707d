"""CTranslate2's search with a run's own weights, float32: `PYTHON ctranslate2_search.py FOLDER`.

Pieces to pieces, as it takes no ids. It has one limit of length for a call, so every batch is a call, all of them
begun at once. It gives scores, as ours does.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import ctranslate2
from searching import Search, Task, batches, longest_target, measure


def prepare(task: Task) -> Search:
    folder, setting = Path(task["exported"]), task["setting"]
    translator = ctranslate2.Translator(
        str(folder), compute_type="float32", inter_threads=setting["workers"], intra_threads=setting["threads"]
    )
    options = json.loads((folder / "search.json").read_text(encoding="utf-8"))

    def search(numbers: Sequence[int], beam_size: int, exactly: int | None) -> list[int]:
        running = []
        for batch in batches(task, numbers):
            lengths = {"max_decoding_length": exactly or longest_target(task, batch)}
            if exactly:
                lengths["min_decoding_length"] = exactly
            running += translator.translate_batch(
                [task["pieces"][number] for number in batch],
                asynchronous=True,
                **(options | lengths | {"beam_size": beam_size}),
            )
        # A translation of exactly so many tokens ends without </s>, others with it.
        return [len(waiting.result().hypotheses[0]) + (not exactly) for waiting in running]

    return search


if __name__ == "__main__":
    measure(prepare)
