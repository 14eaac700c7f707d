"""What `nmt translate` does with its arguments."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from nmt.commands import load_translator
from nmt.config import InputError, SearchConfig

if TYPE_CHECKING:
    from nmt.alignment import WordAttention
    from nmt.search import Sampling
    from nmt.translator import Translation, Translator


def translate(arguments: argparse.Namespace) -> int:
    """Print translations of each line of standard input as soon as they are there."""
    from nmt.lines import gather_lines

    style = arguments.format or ("text" if arguments.n_best is None else "tsv")
    if style == "text" and ((arguments.n_best or 1) > 1 or arguments.links):
        raise InputError("--n-best and --links need --format tsv or jsonl: as text, a line in is a line out")
    sampling = _sampling(arguments)
    translator = load_translator(arguments, *arguments.runs, aligns=arguments.links)
    translator = replace(translator, search=_search(arguments, translator.search))
    if arguments.links and not translator.aligns:
        raise InputError("--links: there is no attention and no aligner to read them from; leave it out")
    if sys.stdin is None:
        raise InputError("standard input is closed, so there is nothing to translate")
    prefixes = _Prefixes(arguments.prefix) if arguments.prefix else None
    first = 1
    for lines in gather_lines(sys.stdin.fileno(), "standard input", most=10_000):
        found = translator.translations(
            lines,
            prefixes=prefixes.take(first, len(lines)) if prefixes else None,
            sampling=sampling,
            first=first,
            bar="translating",
        )
        hypotheses = [
            _Hypothesis(number, rank, source, own)
            for number, (source, best) in enumerate(zip(lines, found, strict=True), first)
            for rank, own in enumerate(best[: arguments.n_best or 1], 1)
        ]
        linked = _linked(translator, hypotheses) if arguments.links else [None] * len(hypotheses)
        written = (own.write(style, links) for own, links in zip(hypotheses, linked, strict=True))
        sys.stdout.buffer.write("".join(f"{line}\n" for line in written).encode())
        sys.stdout.buffer.flush()
        first += len(lines)
    if prefixes:
        prefixes.check_empty(first)
    return 0


def _sampling(arguments: argparse.Namespace) -> "Sampling | None":
    """How hypotheses are drawn, if they are."""
    from nmt.search import Sampling

    given = {"--temperature": arguments.temperature, "--top-k": arguments.top_k, "--seed": arguments.seed}
    idle = [option for option, value in given.items() if value is not None]
    if not arguments.sample:
        if idle:
            raise InputError(f"{idle[0]}: says how translations are drawn, but they are searched; give --sample, too")
        return None
    if arguments.beam_size:
        raise InputError("--beam-size: has no effect where translations are drawn; --n-best says how many")
    seed = 1 if arguments.seed is None else arguments.seed
    return Sampling(arguments.temperature or 1.0, arguments.top_k or 0, seed)


def _search(arguments: argparse.Namespace, search: SearchConfig) -> SearchConfig:
    """How the run searches, but for what options say."""
    names = ("beam_size", "min_length", "no_repeat_ngram_size")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    count = arguments.n_best or 1
    if arguments.sample:
        given["beam_size"] = count
    search = search.model_copy(update=given)
    if count > search.beam_size:
        raise InputError(
            f"--n-best {count}: a beam of {search.beam_size} finds no more than so many; give --beam-size {count}, too"
        )
    return search


class _Prefixes:
    """Lines of a file that keep step with those of standard input."""

    def __init__(self, path: Path) -> None:
        from nmt.lines import iterate_lines

        self.path, self.lines = path.absolute(), iterate_lines(path)

    def take(self, first: int, count: int) -> list[str]:
        """Those of the next lines, of which the first has that number."""
        taken = list(islice(self.lines, count))
        if len(taken) < count:
            raise InputError(
                f"{self.path}: has {first - 1 + len(taken):,} lines, but there are more to translate: line i is what "
                "the translation of line i begins with; leave it empty where it may begin with anything"
            )
        return taken

    def check_empty(self, first: int) -> None:
        """Raise InputError where a line is left over; `first`: its number."""
        if next(self.lines, None) is not None:
            raise InputError(f"{self.path}: has more lines than were translated ({first - 1:,})")


@dataclass(frozen=True)
class _Hypothesis:
    """A translation of a line, and its rank among those of the line."""

    number: int  # of the line
    rank: int  # 1: the best
    source: str
    translation: "Translation"

    def write(self, style: str, attention: "WordAttention | None") -> str:
        """What is printed of it."""
        from nmt.alignment import links, pharaoh

        score, text = self.translation.score, self.translation.text
        if style == "text":
            return text
        if style == "tsv":
            linked = f"\t{pharaoh(links(attention))}" if attention else ""
            return f"{self.number}\t{score:.6f}\t{text}{linked}"
        values = {"line": self.number, "rank": self.rank, "score": round(score, 6), "text": text}
        if attention:
            words = {"source_words": attention.source.texts, "target_words": attention.target.texts}
            values |= {**words, "links": sorted(links(attention))}
        return json.dumps(values, ensure_ascii=False)


def _linked(translator: "Translator", hypotheses: Sequence[_Hypothesis]) -> "Iterator[WordAttention]":
    """The word attention of each."""
    from nmt.alignment import split_words

    silent = replace(translator, warn=lambda message: None)  # of cut lines it was told before, by their numbers
    sources = [split_words(own.source) for own in hypotheses]
    return silent.align_translations(sources, [own.translation for own in hypotheses], "punctuation")
