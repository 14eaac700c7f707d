"""The page of alignments: what models look at, sentence by sentence."""

import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import accumulate, combinations
from statistics import fmean
from typing import Any

from nmt.alignment import Combination, Link, Words, extract, links, pharaoh, to_words, turned
from nmt.gold import Gold, diagonal, worth
from nmt.heatmaps import MOST_BYTES, count_weights, described, extractions, heatmap, quantised
from nmt.inspection import Aligned
from nmt.page import page_text
from nmt.runs import Run
from nmt.tables import Column, Table
from nmt.translator import Pair, Translation, Translator

MOST_PAIRS = 200  # on the page: more than that nobody looks through
STYLES = ("shared/page.css", "shared/heatmaps.css", "alignments/page.css")
SCRIPTS = (
    *("shared/elements.js", "shared/systems.js", "shared/matrix.js", "shared/panel.js", "shared/heatmaps.js"),
    *("shared/gallery.js", "alignments/page.js"),
)


def alignment_page(data: dict[str, Any]) -> str:
    """The text of the page.

    data: ready for JSON, all figures finite. Links are texts, `i-j` (source-target, from 0) with spaces between them;
    characters of a text are Unicode's, not JavaScript's.

    - title, made: texts. facts, notes: sentences, notes may be empty.
    - worths: a table {columns: [{title, help, number}], rows: [[text, …], …]} of error rates, or None without gold.
    - systems: name and description of each run; reverse: it reads the target and writes the source; what `described`
      says of its heatmaps, and of each reading its error over all lines, or None.
    - combined: what links of both directions are made by, or None without a reverse.
    - sort: what sentences are sorted by at first, a key of theirs.
    - sentences, each:
        - line, source, target; words: [[start, end], …] of the source, of the target, in characters.
        - gold: {sure, possible}, two texts of links, of which possible are those that are not sure; or None.
        - disagreement: 1 - F1 of the systems' links, the mean over each two of them, or None where there is one.
        - systems: what `heatmap` holds, and readings: {links, error, crossing} of each of the system's readings;
          crossing: share of the pairs of links that cross.
        - combined: {links, error, crossing} or None.
    """
    return page_text("alignments/page.html", STYLES, SCRIPTS, data)


@dataclass(frozen=True)
class Named:
    """A run as the page calls it."""

    name: str
    run: Run
    translator: Translator


@dataclass(frozen=True)
class _System:
    """A run with the pairs that it reads and writes."""

    named: Named
    reverse: bool
    pairs: list[Pair]
    words: list[tuple[Words, Words]]  # of what it reads and writes
    links: list[set[Link]]  # source first

    @property
    def bytes_of_pairs(self) -> list[int]:
        """How many weights the page holds of each pair."""
        return [count_weights(self.named.translator, pair) for pair in self.pairs]

    def first(self, count: int) -> "_System":
        """The same of the first pairs."""
        return _System(self.named, self.reverse, self.pairs[:count], self.words[:count], self.links[:count])


def page_data(
    found: Sequence[Aligned],
    translations: Sequence[Translation] | None,
    runs: Sequence[Named],
    reverse: Named | None,
    gold: Sequence[Gold] | None,
    of: str,
    total: int,
    how: Combination,
) -> dict[str, Any]:
    """What the page shows, as `alignment_page` takes it.

    found: by the first of the runs, and the reverse, if there is one. translations: what the first run has found,
    where its targets were not given. of: what the lines are, for people; total: how many pairs of them there are.
    how: links of both directions are combined.
    """
    systems = list(_systems(found, translations, runs, reverse))
    sizes = accumulate(map(sum, zip(*(system.bytes_of_pairs for system in systems), strict=True)))
    count = max(1, sum(size <= MOST_BYTES for size in sizes))
    found, systems = found[:count], [system.first(count) for system in systems]
    gold = None if gold is None else gold[:count]
    judges: list[Gold | None] = [None] * len(found) if gold is None else list(gold)
    combined = how if reverse else None
    read = [_readings(system) for system in systems]
    return {
        "title": " beside ".join(system.named.name for system in systems),
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "facts": [f"{len(found):,} {'pair' if len(found) == 1 else 'pairs'} of lines: {of}."],
        "notes": [f"the page shows the first {len(found):,} of {total:,} pairs"] if len(found) < total else [],
        "worths": None if gold is None else _worths(found, systems, combined, gold),
        "systems": [_described(system, own, gold) for system, own in zip(systems, read, strict=True)],
        "combined": combined,
        "sort": "error" if gold is not None else "disagreement" if len(systems) > 1 else "crossing",
        "sentences": [
            {
                "line": row + 1,
                "source": line.forward.source.text,
                "target": line.forward.target.text,
                "words": [line.forward.source.spans, line.forward.target.spans],
                "gold": own and {"sure": pharaoh(own.sure), "possible": pharaoh(own.possible - own.sure)},
                "disagreement": _disagreement([system.links[row] for system in systems]),
                "systems": [_of_sentence(*both, row, own) for both in zip(systems, read, strict=True)],
                "combined": _judged(line.links, own) if combined else None,
            }
            for row, (line, own) in enumerate(zip(found, judges, strict=True))
        ],
    }


def _systems(
    found: Sequence[Aligned],
    translations: Sequence[Translation] | None,
    runs: Sequence[Named],
    reverse: Named | None,
) -> Iterator[_System]:
    sources, targets = [line.forward.source for line in found], [line.forward.target for line in found]
    for number, named in enumerate(runs):
        quiet = replace(named.translator, warn=lambda message: None)  # aligning has told of what is too long
        subwords = quiet.subwords
        pieces = [subwords.target.encode_pieces(words.text) for words in targets]
        own = [links(line.forward) for line in found]
        if number:
            own = [links(attention) for attention in named.translator.align(sources, targets)]
        elif translations:  # the very pieces that it found: its text may be written in others
            pieces = [subwords.target.decode_pieces(translation.ids) for translation in translations]
        pairs = quiet.cut_pairs([subwords.source.encode_pieces(words.text) for words in sources], pieces)
        yield _System(named, False, pairs, list(zip(sources, targets, strict=True)), own)
    if reverse:
        quiet = replace(reverse.translator, warn=lambda message: None)
        subwords = quiet.subwords
        own = [turned(links(line.backward)) for line in found if line.backward is not None]
        pairs = quiet.cut_pairs(
            [subwords.source.encode_pieces(words.text) for words in targets],
            [subwords.target.encode_pieces(words.text) for words in sources],
        )
        yield _System(reverse, True, pairs, list(zip(targets, sources, strict=True)), own)


@dataclass(frozen=True)
class _Readings:
    """What can be read from a system, of each pair: weights as bytes, links by each reading."""

    own: list[bytes]
    attention: list[bytes]
    links: list[list[Set[Link]]]  # of each pair, of each of the readings that `described` names


def _readings(system: _System) -> _Readings:
    translator, pairs = system.named.translator, system.pairs
    attention = [b""] * len(pairs)
    found: list[list[Set[Link]]] = [[own] for own in system.links]
    for layer, row, weights, _ in translator.attentions(pairs):
        attention[row] += quantised(weights)
        for one in extractions(translator, layer):
            own = links(to_words(extract(weights, None, one), *pairs[row], system.words[row], translator.threshold))
            found[row].append(turned(own) if system.reverse else own)
    return _Readings([quantised(own) for own in translator.read(pairs)], attention, found)


def _described(system: _System, readings: _Readings, gold: Sequence[Gold] | None) -> dict[str, Any]:
    """A system, of the page's systems."""
    config, shown = system.named.run.config(), described(system.named.translator)
    for place, reading in enumerate(shown["readings"]):
        reading["error"] = _error([own[place] for own in readings.links], gold)
    return {
        "name": system.named.name,
        "description": f"{config.model.kind}, {config.data.source_language} to {config.data.target_language}; "
        f"links read from: {system.named.translator.reading}",
        "reverse": system.reverse,
        **shown,
    }


def _of_sentence(system: _System, readings: _Readings, row: int, gold: Gold | None) -> dict[str, Any]:
    """A system's part of a sentence."""
    return {
        **heatmap(system.pairs[row], readings.own[row], readings.attention[row]),
        "readings": [_judged(own, gold) for own in readings.links[row]],
    }


def _judged(found: Set[Link], gold: Gold | None) -> dict[str, Any]:
    error = None if gold is None else _error([found], [gold])
    return {"links": pharaoh(found), "error": error, "crossing": crossing(found)}


def _error(found: Sequence[Set[Link]], gold: Sequence[Gold] | None) -> float | None:
    return None if gold is None else round(worth(found, gold).error_rate, 4)


def crossing(found: Set[Link]) -> float:
    """The share of the pairs of links that cross: 0 where nothing moves."""
    pairs = list(combinations(found, 2))
    return round(fmean((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in pairs), 4) if pairs else 0.0


def _disagreement(systems: Sequence[Set[Link]]) -> float | None:
    """1 - F1 of the links of a sentence, the mean over each two systems."""
    pairs = list(combinations(systems, 2))
    agreements = [2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0 for a, b in pairs]
    return round(1 - fmean(agreements), 4) if pairs else None


def _worths(
    found: Sequence[Aligned], systems: Sequence[_System], how: str | None, gold: Sequence[Gold]
) -> dict[str, Any]:
    rows = [(system.named.name, system.links) for system in systems]
    if how:
        rows.append((f"{how}, of {systems[0].named.name} and {systems[-1].named.name}", [line.links for line in found]))
    rows.append(("the diagonal", [diagonal(len(line.forward.source), len(line.forward.target)) for line in found]))
    columns = [
        Column("", number=False),
        Column("error rate", "less is better; 0 where all sure links and none but possible ones are found"),
        Column("precision", "of the links, those that are possible"),
        Column("recall", "of the sure links, those that are found"),
    ]
    judged = [(name, worth(own, gold)) for name, own in rows]
    cells = [[name, *(f"{100 * x:.1f} %" for x in (own.error_rate, own.precision, own.recall))] for name, own in judged]
    return Table(columns, cells).data()
