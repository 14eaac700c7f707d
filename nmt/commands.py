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
    from nmt.alignment import Words
    from nmt.gold import Gold, Worth
    from nmt.runs import Run
    from nmt.translator import Translator


def _warn(message: str) -> None:
    print(message, file=sys.stderr)


def train(arguments: argparse.Namespace) -> int:
    """Train a model a config, and print what each will do, where it is and what to type next."""
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
    from nmt import hardware, optimisation, preparation, training
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
        print(optimisation.dry_run(prepared))
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
        warn=_warn,
    )
    print(presentation.leave(found, arguments.out, arguments.heatmaps))
    return 0


def _translator(arguments: argparse.Namespace, run: Path | None = None) -> "Translator":
    from nmt import hardware
    from nmt.runs import Run
    from nmt.translator import Translator

    hardware.set_up(arguments.threads)
    device = hardware.choose_device(arguments.device)
    return Translator.load(Run(run or arguments.run), arguments.checkpoint, device, _warn)


def translate(arguments: argparse.Namespace) -> int:
    """Print a translation of each line of standard input as soon as it is there."""
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


def score(arguments: argparse.Namespace) -> int:
    """Print the log-probability of each translation."""
    pairs = _pairs(arguments)
    for score in _translator(arguments).score(pairs[0], pairs[1], bar="scoring"):
        print(f"{score:.6f}")
    return 0


def align(arguments: argparse.Namespace) -> int:
    """Print the word links of each pair of lines, or what links are worth against gold."""
    from nmt import alignment, gold, inspection

    translator, reverse = _alignment_translators(arguments)
    sources, targets = _words_of_pairs(arguments)
    if arguments.choose:
        return _choose(arguments, translator, reverse, sources, targets)
    wanted = (
        gold.read_gold(arguments.gold, first=arguments.gold_first, target_first=arguments.gold_reversed)
        if arguments.gold
        else None
    )
    if arguments.scan:
        return _scan(arguments, translator, sources, targets, wanted)
    threshold = translator.threshold if arguments.threshold is None else arguments.threshold
    rule = inspection.Rule(threshold, arguments.combine)
    if targets is None:
        translations = translator.translate([words.text for words in sources], bar="translating")
        found = inspection.align_translations(translator, sources, translations, arguments.words, rule, reverse)
    else:
        found = inspection.align(translator, sources, targets, rule, reverse)
    _warn(f"read from: {translator.reading}" + (f"; the reverse: {reverse.reading}" if reverse else ""))
    if wanted is not None:
        _print_worths(inspection.judge(found, wanted, arguments.gold, rule))
    elif arguments.format == "npz":
        alignment.write_npz(sys.stdout.buffer, (line.forward for line in found))
    else:
        for line in found:
            print(
                alignment.pharaoh(line.links)
                if arguments.format == "pharaoh"
                else alignment.soft(line.forward)
                if arguments.format == "soft"
                else alignment.as_json(line.forward, line.links, translator.reading)
            )
    return 0


def _alignment_translators(arguments: argparse.Namespace) -> tuple["Translator", "Translator | None"]:
    """The run's translator, reading alignments as is asked, and that of the reverse run, if one is given."""
    from dataclasses import replace

    from nmt.models.base import Extraction

    translator = _translator(arguments)
    reverse = _translator(arguments, arguments.reverse) if arguments.reverse else None
    for own, run in ((translator, arguments.run), (reverse, arguments.reverse)):
        if own is not None and own.extraction is None and own.aligner is None:
            raise InputError(
                f"{run.absolute()}: this model has no attention, so there is no alignment to read; an aligner can be "
                f"taught: nmt teach {run}"
            )
    if arguments.layer is None:
        if arguments.head is not None or arguments.shift or arguments.norms:
            raise InputError("--head, --shift and --norms say how to read a layer's attention: give --layer, too")
        return translator, reverse
    model = translator.model
    for name, value, most in (
        ("layer", arguments.layer, model.attention_layers),
        ("head", arguments.head, model.attention_heads),
    ):
        if value is not None and value > most:
            raise InputError(f"--{name} {value}: the model has {most}")
    head = None if arguments.head is None else arguments.head - 1
    extraction = Extraction(arguments.layer - 1, head, arguments.shift, arguments.norms)
    return replace(translator, extraction=extraction, aligner=None), reverse


def _words_of_pairs(arguments: argparse.Namespace) -> tuple[list["Words"], list["Words"] | None]:
    from nmt.inspection import line_words
    from nmt.lines import read_lines

    if arguments.target is None:
        if arguments.target_words:
            raise InputError("--target-words: these are words of given translations; give --target, too")
        lines = read_lines(arguments.source)
        return line_words(lines, arguments.words, arguments.source_words, str(arguments.source)), None
    sources, targets = _pairs(arguments)
    return (
        line_words(sources, arguments.words, arguments.source_words, str(arguments.source)),
        line_words(targets, arguments.words, arguments.target_words, str(arguments.target)),
    )


def _choose(
    arguments: argparse.Namespace,
    translator: "Translator",
    reverse: "Translator | None",
    sources: list["Words"],
    targets: list["Words"] | None,
) -> int:
    from nmt.choosing import choose
    from nmt.runs import Run

    if reverse is None or targets is None:
        raise InputError("--choose lets two directions decide: give --reverse RUN, and pairs by --source and --target")
    if translator.extraction is None or reverse.extraction is None:
        raise InputError("--choose: one of the models has no attention")
    choice = choose(translator, reverse, sources, targets)
    print(f"links agree by F1 {choice.agreement:.1%} on these pairs, {choice.by_chance:.1%} on mismatched ones")
    for run, extraction in ((arguments.run, choice.forward), (arguments.reverse, choice.backward)):
        print(f"{run}: {extraction}; kept in {Run(run).save_extraction(extraction)}")
    return 0


def _scan(
    arguments: argparse.Namespace,
    translator: "Translator",
    sources: list["Words"],
    targets: list["Words"] | None,
    gold: list["Gold"] | None,
) -> int:
    from nmt.choosing import scan

    if gold is None or targets is None:
        raise InputError("--scan tries every way to read attention against gold: give --target FILE and --gold FILE")
    found = scan(translator, sources, targets, gold)
    _print_worths(sorted(((str(one), own) for one, own in found.items()), key=lambda item: item[1].error_rate))
    return 0


def _print_worths(worths: list[tuple[str, "Worth"]]) -> None:
    from nmt.tables import Column, Table

    columns = [Column("", number=False), Column("error rate"), Column("precision"), Column("recall")]
    rows = [[name, *(f"{x:.1%}" for x in (own.error_rate, own.precision, own.recall))] for name, own in worths]
    print("\n".join(Table(columns, rows).text()))


def teach(arguments: argparse.Namespace) -> int:
    """Teach a run's aligner, and print where it is and what it was taught by."""
    from nmt import preparation, teaching
    from nmt.checkpoint import weights_of
    from nmt.corpus import load_training_corpus
    from nmt.lines import read_pairs
    from nmt.runs import Run

    run = Run(arguments.run)
    config, translator = run.config(), _translator(arguments)
    preparation.check_training_text(run, config)
    corpus = load_training_corpus(config.data, translator.subwords)
    lines = teaching.choose_lines(corpus)
    links = None
    if arguments.links:
        pairs = read_pairs(config.data.train)
        links = teaching.given_links(arguments.links, pairs, lines.tolist(), arguments.words, translator)
    by = arguments.links or "counts of the pieces that stand in the same lines"
    print(f"teaching on {len(lines):,} of {len(corpus.kept):,} pairs, by {by}", flush=True)
    aligner = teaching.teach(translator, corpus, lines, links, config.training.seed)
    parameters = sum(weight.numel() for weight in aligner.parameters())
    print(f"done     {parameters:,} parameters in {run.save_aligner(weights_of(aligner), arguments.checkpoint)}")
    print(f"next     nmt align {run.path} --source FILE --target FILE")
    return 0


def diff(arguments: argparse.Namespace) -> int:
    """Print the keys in which two runs differ."""
    from nmt.config import differences
    from nmt.runs import members_of

    first, second = (members_of(path)[0] for path in arguments.runs)
    for line in differences(first.config(), second.config()):
        print(line)
    if first.facts()["training_text"] != second.facts()["training_text"]:
        _warn("their training text differs, too: see training_text in their run.json")
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

    translator = Translator.load(Run(arguments.run), arguments.checkpoint, hardware.choose_device("cpu"), warn=_warn)
    print(export_ctranslate2(translator.model, translator.subwords, translator.search, arguments.folder))
    return 0


def _pairs(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    from nmt.config import FilePair
    from nmt.lines import read_pairs

    pairs = read_pairs(FilePair(source=str(arguments.source), target=str(arguments.target)))
    return pairs.sources, pairs.targets


def keys(arguments: argparse.Namespace) -> int:
    """Print every key of a config."""
    print(describe_keys())
    return 0
