"""The page that compares systems."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nmt import comparison
from nmt.alignment import Matrix, Words, split_words, to_words
from nmt.evaluation import Evaluation, TestResult
from nmt.events import Validated
from nmt.heatmaps import MOST_BYTES, count_weights, described, heatmap, quantised
from nmt.page import page_text
from nmt.systems import System
from nmt.tables import charts, differences_table, phrase_table, runs_table, scores_table, signatures, verdict
from nmt.translator import Pair, Translator

MOST_SENTENCES = 5000  # on the page: more make a browser slow
LEAST_WEIGHT = 0.1  # of a link that the page shows
STYLES = ("shared/page.css", "shared/heatmaps.css", "report/page.css")
SCRIPTS = (
    *("shared/elements.js", "shared/systems.js", "shared/matrix.js", "shared/panel.js", "shared/heatmaps.js"),
    *("report/charts.js", "report/heatmaps.js", "report/sentence.js", "shared/gallery.js", "report/page.js"),
)


def report_page(data: dict[str, Any]) -> str:
    """The text of report.html.

    data: ready for JSON, all figures finite.

    - title, made, machine: texts. verdict, notes: sentences, notes may be empty.
    - systems: name and description of each, and what `described` says of its heatmaps; a system without any has
      no readings, and lacking: why, a sentence. All that says `systems` or `series` below keeps their order or names.
    - runs: a table of how they were trained. A table is {columns: [{title, help, number}], rows: [[text, …], …]}.
    - curves: {name, points: [{update, tokens, minutes, bleu, loss}, …]} of the systems that have one.
    - tests, a test set each:
        - name, sentences_count; scores: a table; signatures: of the scores; differences: a table, or None.
        - buckets: charts {title, help, labels, counts, count_unit, series: [{name, values}]}; a value is
          {value, low, high}, of which the interval may be missing, or None.
        - ngrams: [{title, table}, …].
        - sentences: {line, source, reference, words, systems: [{text, chrf, bleu, alignment, heatmap}, …]}; words of
          the source; alignment: {source, target, links} or None. Its source and target are the texts cut into words
          and what stands between them, a link is index into source, index into target, weight in percent.
          heatmap: what `heatmap` holds, and words: [[start, end], …] of the source, of the text, in characters
          that are Unicode's, not JavaScript's; or None.
    """
    return page_text("report/page.html", STYLES, SCRIPTS, data)


def page_data(evaluation: Evaluation) -> dict[str, Any]:
    """What the page shows, as `report_page` takes it."""
    notes, tests, left = list(evaluation.notes), [], MOST_BYTES
    for place, test in enumerate(evaluation.tests):
        looks = [_look(system, test) for system in evaluation.systems]
        # A test set that needs less than its share leaves the rest to those behind it.
        chosen, held = _choose(test, looks, left // (len(evaluation.tests) - place))
        left -= held
        tests.append(_page_of_test(evaluation, test, looks, chosen))
        shown = len(tests[-1]["sentences"])
        if len(test.pairs.sources) > MOST_SENTENCES:
            notes.append(f"{test.name}: the page shows the first {MOST_SENTENCES:,} sentences")
        if any(looks) and len(chosen) < shown:
            which = "on which the systems disagree most" if len(looks) > 1 else "that come first"
            notes.append(f"{test.name}: heatmaps of {len(chosen):,} of {shown:,} sentences, those {which}")
    return {
        "title": _listed([system.name for system in evaluation.systems]),
        "verdict": [verdict(test) for test in evaluation.tests],
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "machine": evaluation.machine,
        "notes": notes,
        "systems": [
            {"name": system.name, "description": _description(system), **_heatmaps_of(system)}
            for system in evaluation.systems
        ],
        "runs": runs_table(evaluation.systems).data(),
        "curves": [
            {"name": system.name, "points": [_point(event) for event in _finite(member.run.validations())]}
            for system in evaluation.systems
            for member in system.members
        ],
        "tests": tests,
    }


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _description(system: System) -> str:
    if not system.members:
        return f"translations from {system.path.name}"
    run = system.members[0].run
    return f"{run.config().model.kind}, {run.facts().parameters:,} parameters, {system.members[0].updates:,} updates"


def _heatmaps_of(system: System) -> dict[str, Any]:
    translator = _translator(system)
    if translator is not None:
        return described(translator)
    lacking = "This model has no attention." if system.members else "A file of translations tells of no attention."
    return {"layers": 0, "heads": 0, "readings": [], "lacking": lacking}


def _translator(system: System) -> Translator | None:
    """What speaks for the system where one must: its first run; None where there is no attention."""
    translator = system.members[0].translator if system.members else None
    return translator if translator is not None and translator.aligns else None


def _finite(events: Sequence[Validated]) -> list[Validated]:
    """The validations of a training whose loss was a number: no other has a place in a chart."""
    return [event for event in events if math.isfinite(event.loss)]


def _point(event: Validated) -> dict[str, Any]:
    return {
        "update": event.update,
        "tokens": event.tokens,
        "minutes": event.elapsed / 60,
        "bleu": event.bleu,
        "loss": event.loss,
    }


# ---- where systems looked


@dataclass(frozen=True)
class _Look:
    """Where a system's first run looked, of each sentence that is shown."""

    translator: Translator
    pairs: list[Pair]
    words: list[tuple[Words, Words]]
    own: list[Matrix]  # (T, S) of pieces: what its alignments are read from


def _look(system: System, test: TestResult) -> _Look | None:
    translator = _translator(system)
    if translator is None:
        return None
    translator = replace(translator, warn=lambda message: None)  # translating has told of what is too long
    sources = test.pairs.sources[: _shown(test)]
    translations = (test.results[system.name].first.translations or [])[: _shown(test)]
    read = [translator.subwords.source.encode_pieces(source) for source in sources]
    written = [translator.subwords.target.decode_pieces(translation.ids) for translation in translations]
    words = [(split_words(source), split_words(own.text)) for source, own in zip(sources, written, strict=True)]
    pairs = translator.cut_pairs(read, written)
    return _Look(translator, pairs, words, translator.read(pairs))


def _shown(test: TestResult) -> int:
    return min(len(test.pairs.sources), MOST_SENTENCES)


def _choose(test: TestResult, looks: Sequence[_Look | None], most: int) -> tuple[list[int], int]:
    """Lines with heatmaps, within so many bytes, and how many they take: those first on which systems disagree most."""

    def disagreement(line: int) -> float:
        found = [result.sentences[line][1] for result in test.results.values()]
        return max(found) - min(found)

    chosen, held = [], 0
    for line in sorted(range(_shown(test)), key=lambda line: (-disagreement(line), line)) if any(looks) else ():
        size = sum(count_weights(look.translator, look.pairs[line]) for look in looks if look)
        if held + size <= most:  # one that is too long leaves its place to the next
            chosen.append(line)
            held += size
    return chosen, held


def _heatmaps(look: _Look, chosen: Sequence[int]) -> dict[int, dict[str, Any]]:
    """By line."""
    attention = [b""] * len(chosen)
    for _, row, weights, _ in look.translator.attentions([look.pairs[line] for line in chosen]):
        attention[row] += quantised(weights)
    return {
        line: {
            **heatmap(look.pairs[line], quantised(look.own[line]), of_layers),
            "words": [words.spans for words in look.words[line]],
        }
        for line, of_layers in zip(chosen, attention, strict=True)
    }


def _alignment(look: _Look, line: int) -> dict[str, Any]:
    """The links of a sentence."""
    attention = to_words(look.own[line], *look.pairs[line], look.words[line])
    (source_parts, source_words), (target_parts, target_words) = _cut(attention.source), _cut(attention.target)
    links = [
        [source_words[i], target_words[j], round(100 * weight)]
        for j, row in enumerate(attention.weights.tolist())
        for i, weight in enumerate(row[:-1])
        if weight >= LEAST_WEIGHT
    ]
    return {"source": source_parts, "target": target_parts, "links": links}


def _cut(line: Words) -> tuple[list[str], list[int]]:
    """A line in words and what lies between them, and which of these parts are words."""
    parts, words, end = [], [], 0
    for start, stop in line.spans:
        if start > end:
            parts.append(line.text[end:start])
        words.append(len(parts))
        parts.append(line.text[start:stop])
        end = stop
    return [*parts, line.text[end:]] if end < len(line.text) else parts, words


# ---- a test set


def _page_of_test(
    evaluation: Evaluation, test: TestResult, looks: Sequence[_Look | None], chosen: Sequence[int]
) -> dict[str, Any]:
    differences = differences_table(test)
    return {
        "name": test.name,
        "sentences_count": len(test.pairs.sources),
        "scores": scores_table(test).data(),
        "signatures": signatures(test),
        "differences": differences.data() if differences else None,
        "buckets": charts(test, evaluation.language),
        "ngrams": [
            {
                "title": f"What {first} gets right and {second} does not",
                "table": phrase_table(first, second, found).data(),
            }
            for first, second, found in test.phrases
            if found
        ],
        "sentences": _page_sentences(test, evaluation.language, looks, chosen),
    }


def _page_sentences(
    test: TestResult, language: str, looks: Sequence[_Look | None], chosen: Sequence[int]
) -> list[dict[str, Any]]:
    heatmaps = [{} if look is None else _heatmaps(look, chosen) for look in looks]
    return [
        {
            "line": line + 1,
            "source": test.pairs.sources[line],
            "reference": test.pairs.targets[line],
            "words": len(comparison.words(test.pairs.sources[line], language)),
            "systems": [
                {
                    "text": result.first.texts[line],
                    "bleu": round(result.sentences[line][0], 1),
                    "chrf": round(result.sentences[line][1], 1),
                    "alignment": look and _alignment(look, line),
                    "heatmap": own.get(line),
                }
                for result, look, own in zip(test.results.values(), looks, heatmaps, strict=True)
            ],
        }
        for line in range(_shown(test))
    ]
