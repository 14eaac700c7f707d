"""The command line: what can be typed, and what its end is."""

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from nmt import commands
from nmt.config import InputError

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
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    train = subparsers.add_parser("train", help="train a model a config", description="Train a model a config.")
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
    train.set_defaults(command=commands.train)

    evaluate = subparsers.add_parser(
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
    evaluate.set_defaults(command=commands.evaluate)

    translate = subparsers.add_parser(
        "translate", help="translate lines from stdin", description="Translate lines from stdin to stdout."
    )
    translate.add_argument("run", type=Path, metavar="RUN")
    translate.add_argument(
        "--beam-size", type=_count, metavar="N", help="hypotheses of a sentence (the run's config's)"
    )
    translate.set_defaults(command=commands.translate)

    score = subparsers.add_parser(
        "score",
        help="log-probability of given translations",
        description="Print the log-probability (nats, </s> counted) of each given translation, one a line.",
    )
    align = subparsers.add_parser(
        "align",
        help="word links of given translations",
        description="Print the word links of each given translation, `i-j` (source-target, from 0), one a line. "
        "They are read from cross-attention: where the model looked when it predicted a word.",
    )
    for command, function in ((score, commands.score), (align, commands.align)):
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

    diff = subparsers.add_parser(
        "diff",
        help="in what the configs of two runs differ",
        description="Print the keys in which the configs of two runs differ, `key: first → second`, one a line.",
    )
    diff.add_argument("runs", nargs=2, type=Path, metavar="RUN")
    diff.set_defaults(command=commands.diff)

    plot = subparsers.add_parser(
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
    plot.set_defaults(command=commands.plot)

    export = subparsers.add_parser(
        "export",
        help="write a run for another program",
        description="Write a Transformer run as a model of CTranslate2, with all that is needed to translate with it.",
    )
    export.add_argument("run", type=Path, metavar="RUN")
    export.add_argument("--to", choices=("ctranslate2",), required=True, help="whose format")
    export.add_argument("folder", type=Path, metavar="DIR", help="where to, a new or empty folder")
    export.set_defaults(command=commands.export)

    keys = subparsers.add_parser("keys", help="every key of a config", description="Print every key of a config.")
    keys.set_defaults(command=commands.keys)

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


if __name__ == "__main__":
    sys.exit(main())
