"""How fast a run's test set is searched, beside other translators on the same sentences, in one run, alternating.

    python -m tests.bench.search_speed RUN [RUN ...] [--joeynmt PYTHON] [--eole PYTHON] [--source FILE] \\
        [--sentences N] [--rounds N] [--threads N] [--json FILE]

CTranslate2 has the run's own weights, through `nmt export`. The other two, of which PYTHON names an environment, have
random ones of the same sizes, so that only translations of a given length compare with theirs. Each search is a process
of its own, since two libraries' threads in one process slow each other. In a round each of the others searches just
after ours, and a ratio is one of two neighbours. Ours searches as `nmt translate` does, by the run's
`search.max_tokens`; the others by whichever of their settings was fastest in a trial on some of the sentences.

Times are from ids to ids, encoder included; `nmt, text` is `Translator.translate`, from text to text. One sentence: the
median of some twenty, each searched alone with a beam of 5, in a process that has searched them before; that ratio is
one of times, and less is better.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from nmt import hardware
from nmt.config import InputError, RNNConfig, TransformerConfig
from nmt.lines import read_lines
from nmt.models.export import export_ctranslate2
from nmt.runs import Run
from nmt.translator import Translator
from tests.bench.machine import Figures, matrix_peak, mean_and_spread, measure_each, result_of, table

PEERS = Path(__file__).parent / "peers"
OWN = (sys.executable, "-m", "tests.bench.own_search")
TRIAL = 250  # sentences on which settings are tried: enough to fill both workers of the largest

Setting = dict[str, int]
Task = dict[str, Any]


@dataclass(frozen=True)
class Measurement:
    """Something to time."""

    name: str
    heading: str
    beam_size: int
    exactly: int | None = None  # target tokens of each translation; None: as many as the search finds
    alone: bool = False  # milliseconds a sentence, each by itself; otherwise sentences/s of all together


GIVEN_LENGTH = (
    Measurement("greedy_20_tokens", "greedy, 20 tokens", 1, exactly=20),
    Measurement("beam5_20_tokens", "beam 5, 20 tokens", 5, exactly=20),
)
ALL = (
    Measurement("greedy", "greedy", 1),
    Measurement("beam5", "beam 5", 5),
    *GIVEN_LENGTH,
    Measurement("one_sentence", "one sentence, ms", 5, alone=True),
)


@dataclass
class Searcher:
    """A translator, and what its searches took."""

    name: str
    command: Sequence[str]  # searches what lies in the folder that follows it
    measurements: Sequence[Measurement]
    settings: Sequence[Setting]  # to choose from
    missing: str = ""  # why there is nothing to show
    chosen: dict[str, Setting] = field(default_factory=dict)  # by measurement
    figures: dict[str, list[float]] = field(default_factory=dict)  # by measurement, one a round
    ratios: dict[str, list[float]] = field(default_factory=dict)  # our figure over its
    tokens: dict[str, float] = field(default_factory=dict)  # target tokens a sentence

    def search(self, task: Task, setting: Setting, measurements: Sequence[Measurement]) -> dict[str, float]:
        """The figure of each measurement, all made in one process."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            whole = task | {"setting": setting, "measurements": [asdict(measurement) for measurement in measurements]}
            (folder / "task.json").write_text(json.dumps(whole), encoding="utf-8")
            result = result_of(self.command, folder)
        self.tokens |= {name: found["tokens"] for name, found in result.items()}
        figures = {name: found["figure"] for name, found in result.items()}
        shown = ", ".join(f"{name} {figure:,.1f}" for name, figure in figures.items())
        print(f"{self.name} ({in_words(setting)}): {shown}", file=sys.stderr)
        return figures

    def choose(self, trial: Task) -> None:
        """Settle on the fastest setting for each measurement."""
        tried = [
            self.search(trial, setting, self.measurements) if len(self.settings) > 1 else {}
            for setting in self.settings
        ]
        for measurement in self.measurements:
            figures = [figures.get(measurement.name, 0.0) for figures in tried]
            best = min(figures) if measurement.alone else max(figures)
            self.chosen[measurement.name] = self.settings[figures.index(best)]

    def measure(self, task: Task, measurements: Sequence[Measurement]) -> dict[str, float]:
        """The figure of each measurement, with the setting settled on; kept for the mean over rounds."""
        figures: dict[str, float] = {}
        for setting in self.settings:
            own = [measurement for measurement in measurements if self.chosen[measurement.name] == setting]
            figures |= self.search(task, setting, own) if own else {}
        for name, figure in figures.items():
            self.figures.setdefault(name, []).append(figure)
        return figures

    def rows(self) -> list[list[str]]:
        """Its means under the heading, and how many times as fast ours is."""
        means = {name: f"{sum(figures) / len(figures):,.1f}" for name, figures in self.figures.items()}
        ratios = {name: mean_and_spread(ratios) for name, ratios in self.ratios.items()}
        rows = [("  nmt over it", ratios)] if ratios else []
        return [
            [name, *(cells.get(measurement.name, "") for measurement in ALL)]
            for name, cells in [(self.name, means), *rows]
        ]

    def flat(self) -> Figures:
        """All figures under flat keys."""
        if not self.figures:
            return {"missing": self.missing}
        flat: Figures = {}
        for name, figures in self.figures.items():
            unit = "milliseconds" if name == "one_sentence" else "sentences_per_second"
            flat |= {
                f"{name}.{unit}": sum(figures) / len(figures),
                f"{name}.target_tokens": self.tokens[name],
                f"{name}.setting": in_words(self.chosen[name]),
            }
            ratios = self.ratios.get(name)
            if ratios:
                flat |= {
                    f"{name}.nmt_over_it": sum(ratios) / len(ratios),
                    f"{name}.nmt_over_it_least": min(ratios),
                    f"{name}.nmt_over_it_most": max(ratios),
                }
        return flat


def in_words(setting: Setting) -> str:
    """What a setting holds."""
    return ", ".join(f"{key} {value}" for key, value in setting.items()) or "as it is"


def compare(ours: Searcher, others: Sequence[Searcher], task: Task, rounds: int) -> None:
    """Settle on settings, then search by turns: before each of the others ours anew."""
    step = max(1, len(task["sources"]) // TRIAL)
    trial = task | {key: task[key][::step] for key in ("lines", "pieces", "sources")}
    ours.choose(trial)
    for turn in range(1 + rounds):
        for other in others:
            if other.missing:
                continue
            own = ours.measure(task, other.measurements) if turn else {}
            try:
                if turn:
                    for name, figure in other.measure(task, other.measurements).items():
                        other.ratios.setdefault(name, []).append(own[name] / figure)
                else:
                    other.choose(trial)
            except InputError as error:
                other.missing = str(error)


def others_of(arguments: argparse.Namespace, model: RNNConfig | TransformerConfig, exported: str) -> list[Searcher]:
    """What ours is compared with. exported: what keeps CTranslate2 from searching, if anything does."""
    threads = arguments.threads
    # On two cores two workers of one thread are far faster than one of two, whose threads wait for each other.
    shapes = [*((threads, 1, size) for size in (16, 32, 64)), *((1, threads, size) for size in (64, 128))]
    workers = [
        {"workers": workers, "threads": each, "batch_size": size} for workers, each, size in dict.fromkeys(shapes)
    ]
    batches = [{"batch_size": size} for size in (16, 32, 64, 128)]
    # How wide JoeyNMT's output layer is by itself, and, to compare like with like, made as wide as ours.
    widths = {"JoeyNMT": model.size if model.kind == "transformer" else model.decoder_size}
    if model.kind == "rnn":
        widths["JoeyNMT, our output width"] = model.embedding_size
    return [
        Searcher("nmt, text", OWN, ALL, [{"text": 1}]),
        Searcher("CTranslate2", (sys.executable, str(PEERS / "ctranslate2_search.py")), ALL, workers, exported),
        *(
            peer(name, "joeynmt", arguments.joeynmt, model, [setting | {"output_width": width} for setting in batches])
            for name, width in widths.items()
        ),
        peer("Eole", "eole", arguments.eole, model, batches),
    ]


def peer(
    name: str, option: str, python: Path | None, model: RNNConfig | TransformerConfig, settings: Sequence[Setting]
) -> Searcher:
    """A translator of an environment of its own, with what keeps it from searching."""
    missing = ""
    if python is None:
        missing = f"the yardstick is missing; --{option} PYTHON names an environment that holds it"
    elif model.kind == "rnn" and not (
        (model.attention, model.encoder_layers, model.decoder_layers) == ("additive", 1, 1)
        and 2 * model.encoder_size == model.decoder_size == model.attention_size
    ):
        missing = "cannot be set up like this model"
    return Searcher(name, (str(python), str(PEERS / f"{option}_search.py")), GIVEN_LENGTH, settings, missing)


def measure(run: Run, arguments: argparse.Namespace, folder: Path) -> Figures:
    """Print what searching with one run takes; the same figures under flat keys."""
    translator = Translator.load(run, "best", torch.device("cpu"), warn=print)
    lines = read_lines(arguments.source) if arguments.source else next(iter(run.tests().values())).sources
    lines = [line for line in lines if line.strip()][: arguments.sentences]
    sources = translator.subwords.source.encode(lines)
    pieces = translator.subwords.source.pieces
    exported = ""
    try:
        export_ctranslate2(translator.model, translator.subwords, translator.search, folder / "exported")
    except InputError as error:
        exported = str(error)
    config = run.config()
    task = {
        "run": str(run.path.absolute()),
        "exported": str(folder / "exported"),
        "model": config.model.model_dump(),
        "training": config.training.model_dump(),
        "search": translator.search.model_dump(),
        "target_pieces": translator.subwords.target.pieces,
        "threads": arguments.threads,
        "lines": lines,
        "sources": sources,
        "pieces": [[pieces[piece] for piece in ids] for ids in sources],
    }
    peak = matrix_peak()
    ours, others = Searcher("nmt", OWN, ALL, [{"text": 0}]), others_of(arguments, config.model, exported)
    compare(ours, others, task, arguments.rounds)

    heading = ["sentences/s, ratios", *(measurement.heading for measurement in ALL)]
    shown = [searcher for searcher in (ours, *others) if searcher.figures]
    print(
        f"{run.path}: {len(lines):,} sentences, {arguments.threads} threads, this machine's matrix-product peak "
        f"{peak:,.0f} GFLOP/s\n\n" + table([heading, *(row for searcher in shown for row in searcher.rows())]) + "\n"
    )
    for other in others:
        if other.missing:
            print(f"{other.name}: {other.missing}")
        elif len(other.settings) > 1:
            settings = (f"{name}: {in_words(setting)}" for name, setting in other.chosen.items())
            print(f"best settings of {other.name}: {'; '.join(settings)}")
    lengths = (f"{searcher.name} {searcher.tokens['beam5']:.1f}" for searcher in shown if "beam5" in searcher.tokens)
    print(f"target tokens a sentence, beam 5, of free length: {', '.join(lengths)}\n")
    figures: Figures = {"matrix_peak_gflops": peak, "sentences": len(lines)}
    for searcher in (ours, *others):
        name = searcher.name.lower().replace(", ", "_")
        figures |= {f"{name}.{key}": value for key, value in searcher.flat().items()}
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.search_speed", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--joeynmt", type=Path, metavar="PYTHON", help="of an environment that holds JoeyNMT")
    parser.add_argument("--eole", type=Path, metavar="PYTHON", help="of an environment that holds Eole")
    parser.add_argument("--source", type=Path, metavar="FILE", help="lines to search (the run's first test set)")
    parser.add_argument("--sentences", type=int, metavar="N", help="the first so many alone (all)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="searches of each (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    hardware.set_up(arguments.threads)
    return measure_each(arguments.runs, lambda path, folder: measure(Run(path), arguments, folder), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
