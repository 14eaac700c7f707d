"""What each command does with its arguments: it prints its results, and gives the exit code.

The rest of nmt is imported inside the commands, so that help needs no torch.
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nmt.config import Config, InputError, describe_keys, load_config

if TYPE_CHECKING:
    from nmt.runs import Run
    from nmt.translator import Translator


def warn(message: str) -> None:
    """Say something on stderr."""
    print(message, file=sys.stderr)


def train(arguments: argparse.Namespace) -> int:
    """Train a model a config, and print what each will do, where it is and what to type next."""
    keys = [word for word in arguments.words if "=" in word and "/" not in word.partition("=")[0]]  # ./a=b.toml: a file
    paths = [Path(word) for word in arguments.words if word not in keys]
    if not paths:
        raise InputError("no config given: nmt train CONFIG.toml [section.key=value ...]")
    if arguments.run and len(paths) > 1:
        raise InputError(f"--run names one directory, but {len(paths)} configs are given; leave it out")
    if not arguments.run and len({path.stem for path in paths}) < len(paths):
        raise InputError("configs of one name would share a run directory; train them one at a time, each with --run")
    mistakes, configs = [], []
    for path in paths:
        try:
            configs.append(load_config(path, keys))
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
    if arguments.dry_run:
        return _train_alone(path, config, run, arguments)
    with run.locked(warn):
        return _train_alone(path, config, run, arguments)


def _train_alone(path: Path, config: Config, run: "Run", arguments: argparse.Namespace) -> int:
    """Train a run that nobody else is writing."""
    from nmt import hardware, optimisation, preparation, training
    from nmt.checkpoint import load_weights
    from nmt.events import clock
    from nmt.progress import end_of
    from nmt.tracker import check_tracker

    program = "python train.py" if Path(sys.argv[0]).name == "train.py" else "nmt train"
    seeds = arguments.seeds if arguments.seeds > 1 else None
    given = {"run": arguments.run, "seeds": seeds, "device": arguments.device, "threads": arguments.threads}
    options = [word for name, value in given.items() if value and value != "auto" for word in (f"--{name}", str(value))]
    command = f"{program} {shlex.join([*arguments.words, *options])}"
    check_tracker(config.training.tracker)
    device = hardware.choose_device(arguments.device)
    hardware.set_up(arguments.threads)
    goes_on = run.exists and not arguments.overwrite and not arguments.dry_run
    if goes_on:
        run.check_same(config)
        progress = run.progress()
        if progress.update > config.training.updates:
            raise InputError(
                f"training.updates = {config.training.updates:,}: but {run.path} has done {progress.update:,} already; "
                "give at least as many, or --overwrite to start anew"
            )
        end = end_of(progress, config.training)
        if progress.finished and end:
            print(f"{run.path} is finished: {progress.update:,} updates in {clock(progress.seconds)}; {end.reason}")
            print(f"next: python evaluate.py {run.path}, or raise {end.key} to train it further")
            return 0
        preparation.check_data(run, config, "train", "valid", "test", "subwords")
    elif not (arguments.overwrite or arguments.dry_run):
        run.check_free()
    if not (goes_on or arguments.dry_run) and path.resolve() == (run.path / "config.toml").resolve():
        raise InputError(f"{path.absolute()}: a new run would overwrite this file; keep your config outside of the run")
    begins = not (goes_on and run.training_file.exists())
    if begins and config.training.init_from and Path(config.training.init_from).resolve() == run.path.resolve():
        raise InputError(f"training.init_from: {run.path.absolute()} is this run itself; name another, or give --run")
    initial = preparation.initial(config) if begins and config.training.init_from else None
    print(f"nmt      {hardware.describe(device)}", flush=True)
    subwords = run.subwords() if goes_on else initial.subwords if initial else None
    prepared = preparation.prepare(config, device, subwords)
    print(preparation.describe(prepared), flush=True)
    if initial:
        load_weights(prepared.model, initial.weights, initial.file)
        print(f"weights  those of {initial.file}, of update {initial.update:,}", flush=True)
    if arguments.dry_run:
        print(optimisation.dry_run(prepared))
        print("nothing was written; without --dry-run this trains")
        return 0
    if goes_on:
        began, here = run.facts().machine, hardware.describe(device)
        if began != here:
            print(f"note     the run began with {began}: from here on it may differ in rounding")
        print(f"run      {run.path}, from update {progress.update:,} on", flush=True)
    else:
        run.remove()
        facts = preparation.facts(prepared, sys.argv, initial.file if initial else None)
        word_counts = preparation.target_word_counts(config)
        run.create(config, prepared.subwords, prepared.tests, facts, word_counts)
        print(f"run      {run.path}; Ctrl-C saves, and the same command goes on", flush=True)
    try:
        progress = training.train(prepared, run)
    except training.Interrupted as stop:
        print(f"stopped and saved in {run.path}; to go on: {command}")
        return stop.exit_code
    print(f"done     {progress.update:,} updates in {clock(progress.seconds)}; {training.best_of(progress, config)}")
    end = end_of(progress, config.training)
    if end and progress.update < config.training.updates:
        print(f"note     {end.reason} ({end.key}), so that not all {config.training.updates:,} updates were done")
    if progress.skipped:
        print(f"note     {progress.skipped:,} of them were skipped: see the events named skipped in {run.metrics}")
    print(f"next     python evaluate.py {run.path}\n", flush=True)
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Print the tables of an evaluation, and where all else of it is."""
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
        warn=warn,
    )
    print(presentation.leave(found, arguments.out, arguments.heatmaps))
    return 0


def load_translator(arguments: argparse.Namespace, *paths: Path, aligns: bool = False) -> "Translator":
    """The translator of a run, or of several as an ensemble, on the device that is asked for.

    aligns: whether it can be asked for alignments; else what they are read from may be broken.
    """
    from nmt import hardware
    from nmt.runs import Run
    from nmt.translator import Translator

    hardware.set_up(arguments.threads)
    runs, device = list(map(Run, paths)), hardware.choose_device(arguments.device)
    if len(runs) == 1:
        return Translator.load(runs[0], arguments.checkpoint, device, warn, aligns=aligns)
    return Translator.load_ensemble(runs, arguments.checkpoint, device, warn)


def score(arguments: argparse.Namespace) -> int:
    """Print the log-probability of each translation."""
    pairs = read_pairs_of(arguments)
    for score in load_translator(arguments, arguments.run).score(pairs[0], pairs[1], bar="scoring"):
        print(f"{score:.6f}")
    return 0


def diff(arguments: argparse.Namespace) -> int:
    """Print the keys in which two runs differ."""
    from nmt.config import differences
    from nmt.runs import members_of

    first, second = (members_of(path)[0] for path in arguments.runs)
    for line in differences(first.config(), second.config()).values():
        print(line)
    if first.facts().training_text != second.facts().training_text:
        warn("their training text differs, too: see data in their run.json")
    return 0


def plot(arguments: argparse.Namespace) -> int:
    """Print where learning curves are, drawn anew."""
    from nmt.plotting import draw_curves, save_figure
    from nmt.systems import curves, default_out

    figure = draw_curves(curves(arguments.runs, arguments.over), arguments.over)
    out = default_out(arguments.runs)
    for path in [arguments.out] if arguments.out else [out / "curves.png", out / "curves.svg"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
        print(path)
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Print what was written for another program."""
    from nmt import hardware
    from nmt.models.export import export_ctranslate2
    from nmt.runs import Run
    from nmt.translator import Translator

    translator = Translator.load(
        Run(arguments.run), arguments.checkpoint, hardware.choose_device("cpu"), warn, aligns=False
    )
    print(export_ctranslate2(translator.model, translator.subwords, translator.search, arguments.folder))
    return 0


def read_pairs_of(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The lines of --source and --target."""
    from nmt.config import FilePair
    from nmt.lines import read_pairs

    pairs = read_pairs(FilePair(source=str(arguments.source), target=str(arguments.target)))
    return pairs.sources, pairs.targets


def keys(arguments: argparse.Namespace) -> int:
    """Print every key of a config."""
    print(describe_keys())
    return 0
