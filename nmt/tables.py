"""What an evaluation comes to, as sentences, tables and charts for any medium."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from nmt import comparison
from nmt.evaluation import Difference, Output, Result, TestResult
from nmt.events import clock
from nmt.systems import System

SIGNIFICANT = 0.05
SCORE_BOUNDS = range(10, 100, 10)  # of a sentence's chrF++
LENGTH_BOUNDS = (-9, -4, -1, 0, 1, 2, 5, 10)  # of words more than the reference


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    help: str = ""
    number: bool = True  # set to the right


@dataclass(frozen=True)
class Table:
    """Rows of text under titles."""

    columns: list[Column]
    rows: list[list[str]]

    def text(self) -> list[str]:
        """Lines for a terminal."""
        rows = [[column.title for column in self.columns], *self.rows]
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        return [
            "  ".join(
                cell.rjust(width) if column.number else cell.ljust(width)
                for cell, width, column in zip(row, widths, self.columns, strict=True)
            ).rstrip()
            for row in rows
        ]

    def markdown(self) -> list[str]:
        """Lines of Markdown."""
        rows = [[cell.replace("|", "\\|") for cell in row] for row in self.rows]
        head = [column.title for column in self.columns], ["---:" if c.number else "---" for c in self.columns]
        return [f"| {' | '.join(row)} |" for row in (*head, *rows)]

    def data(self) -> dict[str, Any]:
        """For the page."""
        columns = [{"title": c.title, "help": c.help, "number": c.number} for c in self.columns]
        return {"columns": columns, "rows": self.rows}


def verdict(test: TestResult) -> str:
    """A sentence: which system is the best, and whether that can be told."""
    best, *others = sorted(test.results, key=lambda name: -_bleu(test.results[name]))
    value = _bleu(test.results[best])
    if not others:
        low, high = test.results[best].bleu_interval
        return f"{test.name}: {best} reaches BLEU {value:.1f} (95 % interval {low:.1f} to {high:.1f})."
    second = others[0]
    [difference] = [d for d in test.differences if {d.first, d.second} == {best, second}]
    p = _p(difference.bleu_p)
    figures = f"(BLEU {value:.1f} against {_bleu(test.results[second]):.1f}, p {p if p[0] == '<' else f'= {p}'})"
    if difference.bleu_p < SIGNIFICANT:
        return f"{test.name}: {best} is better than {second} {figures}."
    return f"{test.name}: no clear difference between {best} and {second} {figures}."


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _bleu(result: Result) -> float:
    return fmean(output.bleu.value for output in result.outputs)


def scores_table(test: TestResult) -> Table:
    """What each system reaches on a test set."""

    def cell(result: Result, figure: Callable[[Output], float | None], digits: int) -> str:
        mean, deviation = result.mean(figure), result.deviation(figure)
        if mean is None:
            return "–"
        return f"{mean:.{digits}f}" if deviation is None else f"{mean:.{digits}f} ± {deviation:.{digits}f}"

    def interval(bounds: tuple[float, float] | None) -> str:
        return "–" if bounds is None else f"{max(0, bounds[0]):.1f}–{min(100, bounds[1]):.1f}"

    rows = [
        [
            name,
            cell(result, lambda output: output.bleu.value, 1),
            interval(result.bleu_interval),
            cell(result, lambda output: output.chrf.value, 1),
            interval(result.chrf_interval),
            cell(result, lambda output: output.perplexity, 2),
            cell(result, lambda output: output.nats_per_character, 3),
            cell(result, lambda output: output.bleu.length_ratio, 3),
            cell(result, lambda output: output.sentences_per_second, 0),
        ]
        for name, result in test.results.items()
    ]
    columns = [
        Column("system", number=False),
        Column("BLEU", "cased, detokenised"),
        Column("95 %"),
        Column("chrF++"),
        Column("95 %"),
        Column("ppl", "comparable between equal subwords only"),
        Column("nats/char", "comparable between any subwords"),
        Column("length", "words of the translations over words of the references"),
        Column("sent/s", "sentences searched a second, all at once"),
    ]
    return Table(columns, rows)


def differences_table(test: TestResult) -> Table | None:
    """How sure the differences of each two systems are; None for one."""
    if not test.differences:
        return None

    def verdict_of(difference: Difference) -> str:
        if difference.bleu_p >= SIGNIFICANT:
            return "not clear"
        return f"{difference.second if difference.bleu > 0 else difference.first} is better"

    rows = [
        [f"{d.second} − {d.first}", _signed(d.bleu), _p(d.bleu_p), _signed(d.chrf), _p(d.chrf_p), verdict_of(d)]
        for d in test.differences
    ]
    columns = [
        Column("difference", number=False),
        Column("BLEU"),
        Column("p", "how likely so large a difference is if both are equally good; by paired bootstrap"),
        Column("chrF++"),
        Column("p"),
        Column("by BLEU", f"clear: p under {SIGNIFICANT}", number=False),
    ]
    return Table(columns, rows)


def runs_table(systems: Sequence[System]) -> Table:
    """How each run, or a group's mean run, was trained."""
    rows = []
    for system in systems:
        if not system.members:
            continue
        facts, progress = system.members[0].run.facts(), [member.run.progress() for member in system.members]
        rows.append(
            [
                system.name,
                str(len(system.members)),
                f"{facts.parameters:,}",
                f"{facts.parameters - facts.embedding_parameters:,}",
                f"{fmean(member.updates for member in system.members):,.0f}",
                f"{fmean(own.update for own in progress):,.0f}",
                clock(fmean(own.seconds for own in progress)),
                f"{tokens_per_second(system):,.0f}",
            ]
        )
    columns = [
        Column("system", number=False),
        Column("runs", "that differ in their seed alone"),
        Column("parameters"),
        Column("no embeddings", "parameters without those of embeddings"),
        Column("at update", "of the weights that were evaluated"),
        Column("updates", "that were trained"),
        Column("training", "time, validations included"),
        Column("tokens/s", "target tokens a second while training, validations left out"),
    ]
    return Table(columns, rows)


def tokens_per_second(system: System) -> float:
    """A mean over validations: 0 of a run without one."""
    found = [event.tokens_per_second for member in system.members for event in member.run.validations()]
    return fmean(found) if found else 0.0


def signatures(test: TestResult) -> list[str]:
    outputs = [output for result in test.results.values() for output in result.outputs]
    return list(
        dict.fromkeys(
            [f"BLEU    {output.bleu.signature}" for output in outputs]
            + [f"chrF++  {output.chrf.signature}" for output in outputs]
        )
    )


def phrase_table(first: str, second: str, found: Sequence[comparison.Phrase]) -> Table:
    """The n-grams that a system gets right and another does not."""
    columns = [
        Column("phrase", "words of the reference", number=False),
        Column("wanted", "how often the references have it"),
        Column(first, f"how often {first} has it where the reference has it"),
        Column(second, f"how often {second} has it where the reference has it"),
    ]
    return Table(columns, [[own.text, f"{own.wanted:,}", *(f"{right:,}" for right in own.right)] for own in found])


def charts(test: TestResult, language: str) -> list[dict[str, Any]]:
    """Charts, ready for JSON: BLEU by the source's length, words by rarity, sentences by score and by length."""
    names = list(test.results)
    found = [
        {
            "title": "BLEU by length of the source, in words",
            "help": "Bahdanau et al. 2015, figure 2; bars are 95 % intervals",
            "unit": "words",
            "labels": [bucket.label for bucket, _ in test.lengths],
            "counts": [len(bucket.lines) for bucket, _ in test.lengths],
            "count_unit": "sentences",
            "series": [
                {
                    "name": name,
                    "values": [
                        {"value": own[name].value, "low": own[name].low, "high": own[name].high}
                        for _, own in test.lengths
                    ],
                }
                for name in names
            ],
        }
    ]
    if test.rare_words:
        found.append(
            {
                "title": "Words right, by how often the training text has them",
                "help": "F-measure: how many words of a translation are in its reference, and the other way round",
                "unit": "times in training",
                "labels": [rare.label for rare in test.rare_words],
                "counts": [rare.count for rare in test.rare_words],
                "count_unit": "words",
                "series": [
                    {"name": name, "values": [{"value": rare.f_measures[place]} for rare in test.rare_words]}
                    for place, name in enumerate(names)
                ],
            }
        )
    count = len(test.pairs.sources)
    wanted = [len(comparison.words(text, language)) for text in test.pairs.targets]
    for title, text, unit, labels, bounds, values in (
        (
            "Sentences by their chrF++",
            "Share of the sentences, in per cent, whose own chrF++ is so high",
            "chrF++",
            ["0–9", *(f"{low}–{low + 9}" for low in range(10, 90, 10)), "90–100"],
            SCORE_BOUNDS,
            {name: [chrf for _, chrf in result.sentences] for name, result in test.results.items()},
        ),
        (
            "Sentences by length against the reference",
            "Share of the sentences, in per cent, that have so many words more or fewer than their reference",
            "words more",
            ["≤−10", "−9…−5", "−4…−2", "−1", "0", "1", "2…4", "5…9", "≥10"],
            LENGTH_BOUNDS,
            {
                name: [
                    len(comparison.words(text, language)) - length
                    for text, length in zip(result.first.texts, wanted, strict=True)
                ]
                for name, result in test.results.items()
            },
        ),
    ):
        histograms = {name: comparison.histogram(own, bounds) for name, own in values.items()}
        found.append(
            {
                "title": title,
                "help": text,
                "unit": unit,
                "labels": labels,
                "counts": [sum(own) for own in zip(*histograms.values(), strict=True)],
                "count_unit": "sentences of all systems",
                "series": [
                    {"name": name, "values": [{"value": 100 * own / count} for own in histogram]}
                    for name, histogram in histograms.items()
                ],
            }
        )
    return found


def chart_table(chart: dict[str, Any]) -> Table:
    """A chart in figures."""
    columns = [Column(chart["unit"], number=False), Column(chart["count_unit"])]
    columns += [Column(series["name"]) for series in chart["series"]]
    rows = [
        [label, f"{count:,}", *(_value(series["values"][place]) for series in chart["series"])]
        for place, (label, count) in enumerate(zip(chart["labels"], chart["counts"], strict=True))
    ]
    return Table(columns, rows)


def _value(point: dict[str, float]) -> str:
    within = f" ({point['low']:.1f}–{point['high']:.1f})" if "low" in point else ""
    return f"{point['value']:.1f}{within}"
