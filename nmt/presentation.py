"""What an evaluation leaves: tables for terminal and Markdown, results.json, texts, heatmaps, the page.

results.json:
  machine, checkpoint, language    where and of which weights; of the target
  notes                            what must be said before figures are compared
  systems.NAME                     path; of runs also: runs, model, parameters, embedding_parameters; updates, of the
                                   weights; training_updates, that were trained; training_seconds,
                                   tokens_per_second; beam_size, length_penalty
  tests.TEST.sentences             how many
  tests.TEST.systems.NAME          bleu, bleu_interval, bleu_deviation, bleu_signature, length_ratio; chrf,
                                   chrf_interval, chrf_deviation, chrf_signature; perplexity, nats_per_character,
                                   sentences_per_second (null of a file); empty, copied, looping: shares
  tests.TEST.differences           first, second; bleu, chrf: second minus first; bleu_p, chrf_p
  tests.TEST.by_length             words: of the source; sentences; systems.NAME: bleu, low, high
  tests.TEST.by_rarity             training_count: of a word of the target; words; systems.NAME: F-measure
Figures of a group are means over its runs, deviations standard deviations over them, null of a single run. Intervals
are of 95 %: by resampling sentences, and runs where there are several. Null: not known, or not defined.
"""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from nmt import scores
from nmt.alignment import split_words
from nmt.config import InputError
from nmt.evaluation import Evaluation, TestResult
from nmt.lines import TextPairs, write_lines
from nmt.plotting import Panel, draw_heatmaps, save_figure
from nmt.report import page_data, report_page
from nmt.systems import System, default_out
from nmt.tables import (
    chart_table,
    charts,
    differences_table,
    runs_table,
    scores_table,
    signatures,
    tokens_per_second,
    verdict,
)
from nmt.translator import Translation, Translator

_OF_ATTENTION = (
    "Each row: where the model looked when it predicted that word, which is not yet an alignment. </s>: nowhere."
)
_OF_ALIGNERS = "Each row: with which words the trained aligner puts that word. </s>: with none."
_OF_BOTH = f"{_OF_ATTENTION} Of a trained aligner: with which words it puts that word."


def leave(evaluation: Evaluation, out: Path | None, heatmaps: int) -> str:
    """The tables as text; all else is left in `out` (or beside the run, or in runs/<a>-vs-<b>)."""
    out = out or default_out([system.path for system in evaluation.systems if system.members])
    make_folder(out / "hypotheses")
    for test in evaluation.tests:
        for name, result in test.results.items():
            for number, output in enumerate(result.outputs, 1):
                part = f".{number}" if len(result.outputs) > 1 else ""
                write_lines(out / "hypotheses" / f"{name}{part}.{test.name}.txt", output.texts)
        shown = [result.first.translations for result in test.results.values() if result.first.translations]
        _draw(evaluation.systems, test, choose_sentences(test.pairs, shown, heatmaps), out)
    write_lines(out / "results.json", json.dumps(summary(evaluation), indent=1, ensure_ascii=False).split("\n"))
    write_lines(out / "results.md", _markdown(evaluation))
    write_lines(out / "report.html", report_page(page_data(evaluation)).split("\n"))
    where = [("results", "results.json"), ("table", "results.md"), ("texts", "hypotheses"), ("report", "report.html")]
    if heatmaps:
        where.append(("heatmaps", "heatmaps"))
    return "\n".join([*_terminal(evaluation), "", *(f"{what:10} {out / name}" for what, name in where)])


def make_folder(path: Path) -> None:
    """Make a folder for results. Raises InputError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.absolute()}: results cannot be written there: {error.strerror}") from None


def _terminal(evaluation: Evaluation) -> list[str]:
    lines = [verdict(test) for test in evaluation.tests]
    for test in evaluation.tests:
        lines += ["", f"{test.name}, {len(test.pairs.sources):,} sentences", *scores_table(test).text()]
        differences = differences_table(test)
        if differences:
            lines += ["", *differences.text()]
    shown = dict.fromkeys(line for test in evaluation.tests for line in signatures(test))
    lines += ["", *runs_table(evaluation.systems).text(), "", *shown]
    return [*lines, *(f"note: {note}" for note in evaluation.notes)]


def _markdown(evaluation: Evaluation) -> list[str]:
    lines = []
    for test in evaluation.tests:
        lines += [f"## {test.name}, {len(test.pairs.sources):,} sentences", "", verdict(test), ""]
        lines += [*scores_table(test).markdown(), ""]
        differences = differences_table(test)
        if differences:
            lines += [*differences.markdown(), ""]
        for chart in charts(test, evaluation.language):
            lines += [f"### {chart['title']}", "", *chart_table(chart).markdown(), ""]
        lines += [*(f"- `{signature}`" for signature in signatures(test)), ""]
    lines += ["## Runs", "", *runs_table(evaluation.systems).markdown(), ""]
    return [*lines, *(f"- {note}" for note in evaluation.notes)]


# ---- results.json


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """What results.json holds: see the head of this file."""
    return {
        "machine": evaluation.machine,
        "checkpoint": evaluation.checkpoint,
        "language": evaluation.language,
        "notes": evaluation.notes,
        "systems": {system.name: _of_system(system) for system in evaluation.systems},
        "tests": {test.name: _of_test(test, evaluation.language) for test in evaluation.tests},
    }


def _of_system(system: System) -> dict[str, Any]:
    if not system.members:
        return {"path": str(system.path)}
    first, progress = system.members[0], [member.run.progress() for member in system.members]
    facts, search = first.run.facts(), first.translator.search
    return {
        "path": str(system.path),
        "runs": [str(member.run.path) for member in system.members],
        "model": first.run.config().model.kind,
        "parameters": facts.parameters,
        "embedding_parameters": facts.embedding_parameters,
        "updates": fmean(member.updates for member in system.members),
        "training_updates": fmean(own.update for own in progress),
        "training_seconds": fmean(own.seconds for own in progress),
        "tokens_per_second": tokens_per_second(system),
        "beam_size": search.beam_size,
        "length_penalty": search.length_penalty,
    }


def _of_test(test: TestResult, language: str) -> dict[str, Any]:
    return {
        "sentences": len(test.pairs.sources),
        "systems": {
            name: {
                "bleu": result.mean(lambda output: output.bleu.value),
                "bleu_interval": result.bleu_interval,
                "bleu_deviation": result.deviation(lambda output: output.bleu.value),
                "bleu_signature": result.first.bleu.signature,
                "length_ratio": result.mean(lambda output: output.bleu.length_ratio),
                "chrf": result.mean(lambda output: output.chrf.value),
                "chrf_interval": result.chrf_interval,
                "chrf_deviation": result.deviation(lambda output: output.chrf.value),
                "chrf_signature": result.first.chrf.signature,
                "perplexity": result.mean(lambda output: output.perplexity),
                "nats_per_character": result.mean(lambda output: output.nats_per_character),
                "sentences_per_second": result.mean(lambda output: output.sentences_per_second),
                **vars(scores.faults(test.pairs.sources, result.first.texts, test.pairs.targets, language)),
            }
            for name, result in test.results.items()
        },
        "differences": [vars(difference) for difference in test.differences],
        "by_length": [
            {
                "words": bucket.label,
                "sentences": len(bucket.lines),
                "systems": {
                    name: {"bleu": own.value, "low": own.low, "high": own.high} for name, own in of_systems.items()
                },
            }
            for bucket, of_systems in test.lengths
        ],
        "by_rarity": [
            {
                "training_count": rare.label,
                "words": rare.count,
                "systems": dict(zip(test.results, rare.f_measures, strict=True)),
            }
            for rare in test.rare_words
        ],
    }


# ---- heatmaps


def choose_sentences(pairs: TextPairs, translations: Sequence[Sequence[Translation]], count: int) -> list[int]:
    """Lines worth a picture: half spread over the lengths, half where the runs' translations differ most.

    One run: all spread over the lengths. Lines without a source are left out, and those too long for a picture.
    """
    lines = [
        line
        for line, source in enumerate(pairs.sources)
        if source.strip() and all(map(can_be_drawn, [source, *(texts[line].text for texts in translations)]))
    ]
    by_length = sorted(lines, key=lambda line: (len(pairs.sources[line]), line))
    spread = min(len(lines), count if len(translations) == 1 else (count + 1) // 2)
    # The middles of equal parts, so that one picture shows a sentence of middle length.
    chosen = [by_length[int((part + 0.5) * len(lines) / spread)] for part in range(spread)]
    rest = [line for line in lines if line not in set(chosen)]
    rest.sort(key=lambda line: (_agreement([texts[line].text for texts in translations]), line))
    return sorted(chosen + rest[: max(0, min(count, len(lines)) - len(chosen))])


def can_be_drawn(text: str) -> bool:
    """Whether a line is short enough for a picture."""
    # Twice as many words take 15 s to draw, and nobody reads them.
    return len(text) <= 1000 and len(text.split()) <= 100


def _agreement(texts: Sequence[str]) -> float:
    """How much of the first of several translations the least like of the others shares with it, by words: 0 to 1."""
    first = texts[0].split()
    return min((difflib.SequenceMatcher(None, first, text.split()).ratio() for text in texts[1:]), default=1.0)


def _draw(systems: Sequence[System], test: TestResult, lines: Sequence[int], out: Path) -> None:
    panels: list[list[Panel]] = [[] for _ in lines]
    sources = [test.pairs.sources[line] for line in lines]
    for system in systems:
        if not system.members:
            continue
        found = test.results[system.name].first.translations or []
        translations = [found[line] for line in lines]
        translator = system.members[0].translator
        if not translator.aligns:
            for row, source, translation in zip(panels, sources, translations, strict=True):
                note = "this model has no attention"
                row.append(Panel(system.name, source.split(), translation.text.split(), [], note))
            continue
        aligned = translator.align_translations(list(map(split_words, sources)), translations, "punctuation")
        for row, attention in zip(panels, aligned, strict=True):
            title = f"{system.name}: {translator.reading}"
            row.append(Panel(title, attention.source.texts, attention.target.texts, attention.weights.tolist()))
    caption = caption_of([member.translator for system in systems for member in system.members[:1]])
    for row, line in zip(panels, lines, strict=True):
        figure = draw_heatmaps(row, f"{caption} Reference: {test.pairs.targets[line]}")
        for suffix in ("png", "svg"):
            make_folder(out / "heatmaps")
            save_figure(figure, out / "heatmaps" / f"{test.name}-{line + 1:05d}.{suffix}")


def caption_of(translators: Sequence[Translator]) -> str:
    """What heatmaps of these show, for their reader."""
    aligners = [translator.aligner is not None for translator in translators]
    return _OF_ALIGNERS if all(aligners) else _OF_BOTH if any(aligners) else _OF_ATTENTION
