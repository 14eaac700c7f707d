"""Our own search, timed: `python -m tests.bench.own_search FOLDER`. The others' programs are in `peers`.

From ids to ids, or, where the setting says so, from text to text. Batches are the translator's, by the run's
`search.max_tokens`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nmt import hardware
from nmt.runs import Run
from nmt.subwords import EOS
from nmt.translator import Translator
from tests.bench.peers.searching import Search, Task, measure

NEVER = -1e4  # the bias of </s> with which only the limit of length ends a translation


def prepare(task: Task) -> Search:
    hardware.set_up(task["threads"])
    translator = Translator.load(Run(Path(task["run"])), "best", torch.device("cpu"), print)
    config, bias = translator.search, translator.model.output[1]
    usual = float(bias[EOS])

    def configure(beam_size: int, exactly: int | None) -> Translator:
        with torch.no_grad():
            bias[EOS] = NEVER if exactly else usual
        limits = {"max_length_ratio": 0.0, "max_length_offset": exactly} if exactly else {}
        return replace(translator, search=config.model_copy(update={"beam_size": beam_size, **limits}))

    def text_to_text(numbers: Sequence[int], beam_size: int, exactly: int | None) -> list[int]:
        found = configure(beam_size, exactly).translate([task["lines"][number] for number in numbers])
        return [len(translation.ids) + 1 for translation in found]

    def ids_to_ids(numbers: Sequence[int], beam_size: int, exactly: int | None) -> list[int]:
        own = configure(beam_size, exactly)
        sources = [task["sources"][number] for number in numbers]
        return [len(best.ids) + 1 for best, *_ in own.search_ids(sources)]

    return text_to_text if task["setting"]["text"] else ids_to_ids


if __name__ == "__main__":
    measure(prepare)
