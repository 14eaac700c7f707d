"""The command line: argv and print live here. Rooms are imported inside the commands, so that help needs no torch."""

import argparse
import io
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nmt.config import Config, InputError, describe_keys, load_config

if TYPE_CHECKING:
    from nmt.runs import Run
    from nmt.translator import Translator

CHECKPOINTS = ("best", "last", "average")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code: 0, 2 for a user's mistake, 128 + n when stopped by signal n.

    1 where the system refuses something, as a full disk does.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # whatever the locale or a path holds
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
        sys.stdout.flush()
        return code
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing to say, and nothing to flush at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        print(error, file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nmt", description="Train translation models, compare them, see what they look at."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a model a config", description="Train a model a config.")
    train.add_argument(
        "words", nargs="+", metavar="CONFIG.toml | section.key=value", help="configs, and keys to set in them"
    )
    train.add_argument("--run", type=Path, metavar="DIR", help="run directory (runs/<config's name>)")
    train.add_argument(
        "--seeds", type=_count, default=1, metavar="N", help="train N runs that differ in their seed: a group"
    )
    train.add_argument("--overwrite", action="store_true", help="start anew where a run exists")
    train.add_argument(
        "--dry-run", action="store_true", help="do all up to the first update, and say what a training would take"
    )
    train.set_defaults(command=_train)

    evaluate = commands.add_parser(
        "evaluate", help="score and compare runs on test sets", description="Score and compare runs on test sets."
    )
    evaluate.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    evaluate.add_argument("--source", type=Path, metavar="FILE", help="source of a test set other than the runs' own")
    evaluate.add_argument("--target", type=Path, metavar="FILE", help="its references")
    evaluate.add_argument("--test", metavar="NAME", help="the one test set to take (all that the runs share)")
    evaluate.add_argument(
        "--system",
        type=_named_file,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="another system's translations of the test set, one a line",
    )
    evaluate.add_argument(
        "--out", type=Path, metavar="DIR", help="where results go (RUN/evaluation, or runs/<a>-vs-<b>)"
    )
    evaluate.add_argument(
        "--heatmaps", type=_count_or_none, default=8, metavar="N", help="heatmaps to draw a test set (%(default)s)"
    )
    evaluate.set_defaults(command=_evaluate)

    translate = commands.add_parser(
        "translate", help="translate lines from stdin", description="Translate lines from stdin to stdout."
    )
    translate.add_argument("run", type=Path, metavar="RUN")
    translate.add_argument(
        "--beam-size", type=_count, metavar="N", help="hypotheses of a sentence (the run's config's)"
    )
    translate.set_defaults(command=_translate)

    score = commands.add_parser(
        "score",
        help="log-probability of given translations",
        description="Print the log-probability (nats, </s> counted) of each given translation, one a line.",
    )
    align = commands.add_parser(
        "align",
        help="word links of given translations",
        description="Print the word links of each given translation, `i-j` (source-target, from 0), one a line. "
        "They are read from cross-attention: where the model looked when it predicted a word.",
    )
    for command, function in ((score, _score), (align, _align)):
        command.add_argument("run", type=Path, metavar="RUN")
        command.add_argument("--source", type=Path, required=True, metavar="FILE")
        command.add_argument("--target", type=Path, required=True, metavar="FILE", help="its translations")
        command.set_defaults(command=function)
    align.add_argument(
        "--words",
        choices=("punctuation", "space"),
        default="punctuation",
        help="what a word is: with punctuation apart, or, for text that is already tokenised, whatever stands "
        "between spaces (%(default)s)",
    )

    diff = commands.add_parser(
        "diff",
        help="in what the configs of two runs differ",
        description="Print the keys in which the configs of two runs differ, `key: first → second`, one a line.",
    )
    diff.add_argument("runs", nargs=2, type=Path, metavar="RUN")
    diff.set_defaults(command=_diff)

    plot = commands.add_parser(
        "plot",
        help="draw learning curves of runs",
        description="Draw BLEU and nats a character on the validation set as runs were trained.",
    )
    plot.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    plot.add_argument(
        "--over", choices=("updates", "tokens", "minutes"), default="updates", help="what to draw over (%(default)s)"
    )
    plot.add_argument(
        "--out", type=Path, metavar="FILE", help=".png, .svg or .pdf (curves.png, .svg where `evaluate` leaves results)"
    )
    plot.set_defaults(command=_plot)

    export = commands.add_parser(
        "export",
        help="write a run for another program",
        description="Write a Transformer run as a model of CTranslate2, with all that is needed to translate with it.",
    )
    export.add_argument("run", type=Path, metavar="RUN")
    export.add_argument("--to", choices=("ctranslate2",), required=True, help="whose format")
    export.add_argument("folder", type=Path, metavar="DIR", help="where to, a new or empty folder")
    export.set_defaults(command=_export)

    keys = commands.add_parser("keys", help="every key of a config", description="Print every key of a config.")
    keys.set_defaults(command=_keys)

    for command in (train, evaluate, translate, score, align):
        command.add_argument(
            "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (%(default)s)"
        )
        command.add_argument("--threads", type=_count, default=0, metavar="N", help="CPU threads (as many as cores)")
    for command in (evaluate, translate, score, align, export):
        command.add_argument(
            "--checkpoint",
            choices=CHECKPOINTS,
            default="best",
            help="best validation, last, or the mean of the last (%(default)s)",
        )
    return parser


def _count(text: str, least: int = 1) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number, at least {least}")
    return number


def _count_or_none(text: str) -> int:
    return _count(text, least=0)


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NAME=FILE")
    return name, Path(path)


def _warn(message: str) -> None:
    print(message, file=sys.stderr)


def _train(arguments: argparse.Namespace) -> int:
    overrides = [word for word in arguments.words if "=" in word]
    paths = [Path(word) for word in arguments.words if "=" not in word]
    if not paths:
        raise InputError("no config given: nmt train CONFIG.toml [section.key=value ...]")
    if arguments.run and len(paths) > 1:
        raise InputError(f"--run names one directory, but {len(paths)} configs are given; leave it out")
    if not arguments.run and len({path.stem for path in paths}) < len(paths):
        raise InputError("configs of one name would share a run directory; train them one at a time, each with --run")
    mistakes, configs = [], []
    for path in paths:
        try:
            configs.append(load_config(path, overrides))
        except InputError as error:
            mistakes.append(str(error))
    if mistakes:
        raise InputError("\n".join(mistakes))
    for path, config in zip(paths, configs, strict=True):
        code = _train_group(path, config, arguments)
        if code:
            return code
    return 0


def _train_group(path: Path, config: Config, arguments: argparse.Namespace) -> int:
    """Train a run, or, with --seeds, a group of them."""
    from nmt.runs import SEED_PREFIX, Run, members_of

    folder: Path = arguments.run or Path("runs") / path.stem
    if arguments.seeds == 1:
        if members_of(folder)[0].path != folder:
            raise InputError(
                f"{folder.absolute()}: a group of runs is there; give --seeds, or another directory by --run"
            )
        return _train_one(path, config, Run(folder), arguments)
    if Run(folder).exists:
        raise InputError(f"{folder.absolute()}: a run is there; a group needs a directory of its own, given by --run")
    for seed in range(config.training.seed, config.training.seed + arguments.seeds):
        own = config.model_copy(update={"training": config.training.model_copy(update={"seed": seed})})
        code = _train_one(path, own, Run(folder / f"{SEED_PREFIX}{seed}"), arguments)
        if code:
            return code
    if not arguments.dry_run:
        print(f"next     python evaluate.py {folder}  # all {arguments.seeds} runs as one")
    return 0


def _train_one(path: Path, config: Config, run: "Run", arguments: argparse.Namespace) -> int:
    from nmt import hardware, preparation, training
    from nmt.events import clock

    program = "python train.py" if Path(sys.argv[0]).name == "train.py" else "nmt train"
    seeds = arguments.seeds if arguments.seeds > 1 else None
    given = {"run": arguments.run, "seeds": seeds, "device": arguments.device, "threads": arguments.threads}
    options = [word for name, value in given.items() if value and value != "auto" for word in (f"--{name}", str(value))]
    command = f"{program} {shlex.join([*arguments.words, *options])}"
    device = hardware.choose_device(arguments.device)
    hardware.set_up(arguments.threads)
    goes_on = run.exists and not arguments.overwrite and not arguments.dry_run
    if goes_on:
        run.check_same(config)
        progress = run.progress()
        if progress.finished:
            print(f"{run.path} is finished: {progress.update:,} updates in {clock(progress.seconds)}")
            print(f"next: python evaluate.py {run.path}")
            return 0
        preparation.check_training_text(run, config)
    elif not arguments.dry_run and path.resolve() == (run.path / "config.toml").resolve():
        raise InputError(f"{path.absolute()}: a new run would overwrite this file; keep your config outside of the run")
    print(f"nmt      {hardware.describe(device)}", flush=True)
    prepared = preparation.prepare(config, device, run.subwords() if goes_on else None)
    print(preparation.describe(prepared), flush=True)
    if arguments.dry_run:
        print(training.dry_run(prepared))
        print("nothing was written; without --dry-run this trains")
        return 0
    if goes_on:
        print(f"run      {run.path}, from update {progress.update:,} on", flush=True)
    else:
        run.remove()
        facts, word_counts = preparation.facts(prepared, sys.argv), preparation.target_word_counts(config)
        run.create(config, prepared.subwords, prepared.tests, facts, word_counts)
        print(f"run      {run.path}; Ctrl-C saves, and the same command goes on", flush=True)
    try:
        progress = training.train(prepared, run)
    except training.Interrupted as stop:
        print(f"stopped and saved in {run.path}; to go on: {command}")
        return stop.exit_code
    figure = f"BLEU {progress.best:.1f}" if config.training.best_by == "bleu" else f"loss {-(progress.best or 0):.3f}"
    print(f"done     {progress.update:,} updates in {clock(progress.seconds)}; ", end="")
    mean = f", the mean of {progress.best_of} checkpoints" if progress.best_of > 1 else ""
    print(f"best validation {figure} at update {progress.best_update:,}{mean}")
    print(f"next     python evaluate.py {run.path}\n", flush=True)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from nmt import evaluation, presentation

    if (arguments.source is None) != (arguments.target is None):
        raise InputError("--source and --target go together: give both files, or neither")
    found = evaluation.evaluate(
        arguments.runs,
        (arguments.source, arguments.target) if arguments.source else None,
        arguments.system,
        test=arguments.test,
        checkpoint=arguments.checkpoint,
        device=arguments.device,
        threads=arguments.threads,
        warn=_warn,
    )
    print(presentation.leave(found, arguments.out, arguments.heatmaps))
    return 0


def _translator(arguments: argparse.Namespace) -> "Translator":
    from nmt import hardware
    from nmt.runs import Run
    from nmt.translator import Translator

    hardware.set_up(arguments.threads)
    return Translator.load(Run(arguments.run), arguments.checkpoint, hardware.choose_device(arguments.device), _warn)


def _translate(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from nmt.lines import gather_lines

    translator = _translator(arguments)
    if arguments.beam_size:
        search = translator.search.model_copy(update={"beam_size": arguments.beam_size})
        translator = replace(translator, search=search)
    if sys.stdin is None:
        raise InputError("standard input is closed, so there is nothing to translate")
    first = 1
    for lines in gather_lines(sys.stdin.fileno(), "standard input", most=10_000):
        translations = translator.translate(lines, first=first, bar="translating")
        first += len(lines)
        sys.stdout.buffer.write("".join(t.text + "\n" for t in translations).encode())
        sys.stdout.buffer.flush()
    return 0


def _score(arguments: argparse.Namespace) -> int:
    pairs = _pairs(arguments)
    for score in _translator(arguments).score(pairs[0], pairs[1], bar="scoring"):
        print(f"{score:.6f}")
    return 0


def _align(arguments: argparse.Namespace) -> int:
    from nmt.alignment import links, pharaoh

    sources, targets = _pairs(arguments)
    translator = _translator(arguments)
    extraction = translator.model.default_extraction
    if extraction is None:
        raise InputError(f"{arguments.run.absolute()}: this model has no attention, so there is no alignment to read")
    for attention in translator.align(sources, targets, extraction, arguments.words):
        print(pharaoh(links(attention)))
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    from nmt.config import differences
    from nmt.runs import members_of

    first, second = (members_of(path)[0] for path in arguments.runs)
    for line in differences(first.config(), second.config()):
        print(line)
    if first.facts()["training_text"] != second.facts()["training_text"]:
        _warn("their training text differs, too: see training_text in their run.json")
    return 0


def _plot(arguments: argparse.Namespace) -> int:
    from nmt.plotting import draw_curves, save_figure
    from nmt.systems import curves, default_out

    figure = draw_curves(curves(arguments.runs, arguments.over), arguments.over)
    out = default_out(arguments.runs)
    for path in [arguments.out] if arguments.out else [out / "curves.png", out / "curves.svg"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
        print(path)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from nmt import hardware
    from nmt.models.export import export_ctranslate2
    from nmt.runs import Run
    from nmt.translator import Translator

    translator = Translator.load(Run(arguments.run), arguments.checkpoint, hardware.choose_device("cpu"), warn=_warn)
    print(export_ctranslate2(translator.model, translator.subwords, translator.search, arguments.folder))
    return 0


def _pairs(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    from nmt.config import FilePair
    from nmt.lines import read_pairs

    pairs = read_pairs(FilePair(source=str(arguments.source), target=str(arguments.target)))
    return pairs.sources, pairs.targets


def _keys(arguments: argparse.Namespace) -> int:
    print(describe_keys())
    return 0


if __name__ == "__main__":
    sys.exit(main())
