"""The page that compares systems."""

import math
import time
from collections.abc import Sequence
from typing import Any

from nmt import comparison
from nmt.alignment import Words, split_words
from nmt.evaluation import Evaluation, TestResult
from nmt.page import page_text
from nmt.systems import System
from nmt.tables import charts, differences_table, phrase_table, runs_table, scores_table, signatures, verdict

MOST_SENTENCES = 5000  # on the page: more make a browser slow
LEAST_WEIGHT = 0.1  # of a link that the page shows
STYLES = ("shared/page.css", "report/page.css")
SCRIPTS = (
    *("shared/elements.js", "shared/systems.js", "report/charts.js", "report/sentence.js"),
    *("shared/gallery.js", "report/page.js"),
)


def report_page(data: dict[str, Any]) -> str:
    """The text of report.html.

    data: ready for JSON, all figures finite.

    - title, made, machine: texts. verdict, notes: sentences, notes may be empty.
    - systems: name and description of each; all that says `systems` or `series` below keeps their order or names.
    - runs: a table of how they were trained. A table is {columns: [{title, help, number}], rows: [[text, …], …]}.
    - curves: {name, points: [{update, tokens, minutes, bleu, loss}, …]} of the systems that have one.
    - tests, a test set each:
        - name, sentences_count; scores: a table; signatures: of the scores; differences: a table, or None.
        - buckets: charts {title, help, labels, counts, count_unit, series: [{name, values}]}; a value is
          {value, low, high}, of which the interval may be missing, or None.
        - ngrams: [{title, table}, …].
        - sentences: {line, source, reference, words, systems: [{text, chrf, bleu, alignment}, …]}; words of the
          source; alignment: {source, target, links} or None. Its source and target are the texts cut into words
          and what stands between them, a link is index into source, index into target, weight in percent.
    """
    return page_text("report/page.html", STYLES, SCRIPTS, data)


def page_data(evaluation: Evaluation) -> dict[str, Any]:
    """What the page shows, as `report_page` takes it."""
    notes = list(evaluation.notes)
    notes += [
        f"{test.name}: the page shows the first {MOST_SENTENCES:,} sentences"
        for test in evaluation.tests
        if len(test.pairs.sources) > MOST_SENTENCES
    ]
    return {
        "title": _listed([system.name for system in evaluation.systems]),
        "verdict": [verdict(test) for test in evaluation.tests],
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "machine": evaluation.machine,
        "notes": notes,
        "systems": [{"name": system.name, "description": _description(system)} for system in evaluation.systems],
        "runs": runs_table(evaluation.systems).data(),
        "curves": [
            {"name": system.name, "points": [_point(event) for event in _finite(member.run.validations())]}
            for system in evaluation.systems
            for member in system.members
        ],
        "tests": [_page_of_test(evaluation, test) for test in evaluation.tests],
    }


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _description(system: System) -> str:
    if not system.members:
        return f"translations from {system.path.name}"
    run = system.members[0].run
    return f"{run.config().model.kind}, {run.facts()['parameters']:,} parameters, {system.members[0].updates:,} updates"


def _finite(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The validations of a training whose loss was a number: no other has a place in a chart."""
    return [event for event in events if math.isfinite(event["loss"])]


def _point(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "update": event["update"],
        "tokens": event.get("tokens"),  # missing in runs of before they were counted
        "minutes": event["elapsed"] / 60,
        "bleu": event["bleu"],
        "loss": event["loss"],
    }


def _page_of_test(evaluation: Evaluation, test: TestResult) -> dict[str, Any]:
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
        "sentences": _page_sentences(evaluation.systems, test, evaluation.language),
    }


def _page_sentences(systems: Sequence[System], test: TestResult, language: str) -> list[dict[str, Any]]:
    lines = range(min(len(test.pairs.sources), MOST_SENTENCES))
    alignments = [_alignments(system, test, len(lines)) for system in systems]
    results = [test.results[system.name] for system in systems]
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
                    "alignment": aligned[line],
                }
                for result, aligned in zip(results, alignments, strict=True)
            ],
        }
        for line in lines
    ]


def _alignments(system: System, test: TestResult, count: int) -> list[dict[str, Any] | None]:
    """Of each of the first sentences the links of the system's first run; None where there is no attention."""
    translator = system.members[0].translator if system.members else None
    if translator is None or not translator.aligns:
        return [None] * count
    sources, translations = test.pairs.sources[:count], (test.results[system.name].first.translations or [])[:count]
    found: list[dict[str, Any] | None] = []
    for attention in translator.align_translations(list(map(split_words, sources)), translations, "punctuation"):
        (source_parts, source_words), (target_parts, target_words) = _cut(attention.source), _cut(attention.target)
        links = [
            [source_words[i], target_words[j], round(100 * weight)]
            for j, row in enumerate(attention.weights.tolist())
            for i, weight in enumerate(row[:-1])
            if weight >= LEAST_WEIGHT
        ]
        found.append({"source": source_parts, "target": target_parts, "links": links})
    return found


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
