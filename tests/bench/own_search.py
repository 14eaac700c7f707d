"""Our own search, timed: `python -m tests.bench.own_search FOLDER`. The others' programs are in `peers`.

From ids to ids, or, where the setting says so, from text to text. Batches are the translator's, by the run's
`search.max_tokens`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nmt import hardware
from nmt.batching import pad, plan_in_order_of_length
from nmt.runs import Run
from nmt.search import beam_search
from nmt.subwords import EOS
from nmt.translator import Translator
from tests.bench.peers.searching import Search, Task, measure

NEVER = -1e4  # the bias of </s> with which only the limit of length ends a translation


def prepare(task: Task) -> Search:
    hardware.set_threads(task["threads"])
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
        found = []
        for rows in plan_in_order_of_length(torch.tensor([[len(ids)] for ids in sources]), config.max_tokens)[::-1]:
            batch = [sources[row] for row in rows.tolist()]
            limits = [int(own.search.max_length_ratio * len(ids)) + own.search.max_length_offset for ids in batch]
            found += beam_search(
                own.model,
                pad([[*ids, EOS] for ids in batch]),
                torch.tensor(limits),
                beam_size=beam_size,
                length_penalty=config.length_penalty,
            )
        return [len(hypotheses[0].ids) + 1 for hypotheses in found]

    return text_to_text if task["setting"]["text"] else ids_to_ids


if __name__ == "__main__":
    measure(prepare)
