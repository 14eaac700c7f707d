"""The command line: what can be typed, and what its end is."""

import argparse
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from nmt import align_commands, commands, translate_command
from nmt.config import InputError

MOST = 10_000  # threads, hypotheses, seeds, pictures: more are a slip of the hand, and some would overflow
CHECKPOINTS = ("best", "last", "average")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code: 0, 128 + n when stopped by signal n, or 2.

    The last for a user's mistake, or where the system refuses something, as a full disk does.
    """
    # What was closed at the start (`>&-`) is None: nobody is there to read it.
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # whatever the locale or a path holds
    warnings.formatwarning = _format_warning
    parser = _parser()
    arguments, left = parser.parse_known_args(argv)
    if arguments.command is commands.train and not any(word.startswith("-") for word in left):
        arguments.words += left  # keys behind an option, which argparse leaves over
    elif left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
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
        print(f"{error.filename}: {error.strerror}" if error.filename else error, file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Our own warnings are sentences for people; where those of libraries come from helps to understand them."""
    own = Path(filename).is_relative_to(Path(__file__).parent)
    return f"{message}\n" if own else f"{filename}:{lineno}: {category.__name__}: {message}\n"


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


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
        "translate",
        help="translate lines from stdin",
        description="Translate lines from stdin to stdout, by a run or by several of the same subwords together.",
    )
    translate.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    translate.add_argument(
        "--beam-size", type=_count, metavar="N", help="hypotheses of a sentence (the run's config's)"
    )
    translate.add_argument("--n-best", type=_count, metavar="N", help="print so many of them a line, the best first")
    translate.add_argument(
        "--format",
        choices=("text", "tsv", "jsonl"),
        help="the translation alone; line number, score and translation; the same and more as JSON (text, or tsv with "
        "--n-best)",
    )
    translate.add_argument("--links", action="store_true", help="word links, too, as `nmt align` gives them")
    translate.add_argument("--prefix", type=Path, metavar="FILE", help="what each translation begins with, a line each")
    translate.add_argument(
        "--min-length", type=_count, metavar="N", help="at least N pieces a translation (the config's)"
    )
    translate.add_argument(
        "--no-repeat-ngram-size",
        type=_count,
        metavar="N",
        help="never the same N pieces in a row twice in a translation (the config's)",
    )
    translate.add_argument("--sample", action="store_true", help="draw translations instead of searching for the best")
    translate.add_argument("--temperature", type=_temperature, metavar="X", help="under 1 bolder, over 1 freer (1)")
    translate.add_argument("--top-k", type=_count, metavar="N", help="draw from the N most probable pieces (all)")
    translate.add_argument("--seed", type=_count_or_none, metavar="N", help="of what is drawn (1)")
    translate.set_defaults(command=translate_command.translate)

    score = subparsers.add_parser(
        "score",
        help="log-probability of given translations",
        description="Print the log-probability (nats, </s> counted) of each given translation, one a line.",
    )
    score.add_argument("run", type=Path, metavar="RUN")
    score.add_argument("--source", type=Path, required=True, metavar="FILE")
    score.add_argument("--target", type=Path, required=True, metavar="FILE", help="its translations")
    score.set_defaults(command=commands.score)

    align = _add_align(subparsers)
    teach = subparsers.add_parser(
        "teach",
        help="teach a run to align words",
        description="Teach a run an aligner: a small network that reads the trained model's states and tells which "
        "words belong together. It learns from the training text, by counts of the pieces that stand in the same "
        "lines, or by links of another program. Translations stay as they are.",
    )
    teach.add_argument("run", type=Path, metavar="RUN")
    teach.add_argument("--links", type=Path, metavar="FILE", help="links of the training text, `i-j` a line")
    _add_words(teach)
    teach.set_defaults(command=align_commands.teach)

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

    for command in (train, evaluate, translate, score, align, teach):
        command.add_argument(
            "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (%(default)s)"
        )
        command.add_argument("--threads", type=_count, default=0, metavar="N", help="CPU threads (as many as cores)")
    for command in (evaluate, translate, score, align, teach, export):
        command.add_argument(
            "--checkpoint",
            choices=CHECKPOINTS,
            default="best",
            help="best validation, last, or the mean of the last (%(default)s)",
        )
    return parser


def _add_align(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    align = subparsers.add_parser(
        "align",
        help="word links of translations",
        description="Print the word links of each line and its translation, `i-j` (source-target, from 0), one a line. "
        "They are read by the aligner that `nmt teach` left, or else from cross-attention: where the model looked when "
        "it predicted a word.",
    )
    align.add_argument("run", type=Path, metavar="RUN")
    align.add_argument("--source", type=Path, required=True, metavar="FILE")
    align.add_argument("--target", type=Path, metavar="FILE", help="its translations (the model's own)")
    _add_words(align)
    align.add_argument("--source-words", type=Path, metavar="FILE", help="the source's words, with spaces between them")
    align.add_argument("--target-words", type=Path, metavar="FILE", help="the target's")
    given = align.add_mutually_exclusive_group()
    given.add_argument(
        "--format",
        choices=("pharaoh", "soft", "jsonl", "npz", "grid"),
        default="pharaoh",
        help="links; weights of each target word; both with words and their places; weights for NumPy; a heatmap for "
        "the terminal (%(default)s)",
    )
    align.add_argument(
        "--threshold",
        type=_share,
        metavar="X",
        help="all links of so much weight (of attention the greatest of each target word; an aligner has its own)",
    )
    align.add_argument("--layer", type=_count, metavar="N", help="read this decoder layer's attention, from 1")
    align.add_argument("--head", type=_count, metavar="N", help="this head of it, from 1 (the mean of all)")
    align.add_argument("--shift", type=int, choices=(0, 1), default=0, help="1: of the step that has read the word")
    align.add_argument("--norms", action="store_true", help="weights times the norm of what they carry")
    align.add_argument("--reverse", type=Path, metavar="RUN", help="a run of the other direction, to combine with")
    align.add_argument(
        "--combine",
        choices=("intersection", "union", "grow-diag", "grow-diag-final-and", "grow-diag-final-attention", "soft"),
        help="how to combine the links of two directions; grow-diag-final-attention: words without a link get one "
        "where the attention of both agrees; soft: their weights (grow-diag-final-and)",
    )
    given.add_argument("--heatmaps", type=Path, metavar="DIR", help="draw them there instead, as PNG, SVG and PDF")
    align.add_argument("--gold", type=Path, metavar="FILE", help="print the error rate against these links instead")
    align.add_argument("--gold-first", type=int, choices=(0, 1), default=0, help="number of a line's first word in it")
    align.add_argument("--gold-reversed", action="store_true", help="its links name the target word first")
    given.add_argument("--scan", action="store_true", help="print the error rate of every layer, head and shift")
    given.add_argument(
        "--choose", action="store_true", help="keep the layer, head and shift by which two directions agree most"
    )
    given.add_argument(
        "--page", type=Path, metavar="FILE", help="write a page of heatmaps and links (.html) instead of printing"
    )
    align.add_argument(
        "--beside",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="another run of this direction, to be shown beside it on the page; may be given several times",
    )
    align.set_defaults(command=align_commands.align)
    return align


def _add_words(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--words",
        choices=("punctuation", "space"),
        default="punctuation",
        help="what a word is: with punctuation apart, or, for text that is already tokenised, whatever stands "
        "between spaces (%(default)s)",
    )


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0 to 1")
    return number


def _temperature(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0.001 <= number <= 1_000:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0.001 to 1,000")
    return number


def _count(text: str, least: int = 1) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= MOST:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from {least} to {MOST:,}")
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
