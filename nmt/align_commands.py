"""What `align` and `teach` do with their arguments: they print their results, and give the exit code."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nmt.commands import load_translator, read_pairs_of, warn
from nmt.config import InputError

if TYPE_CHECKING:
    from nmt.alignment import Combination, Words
    from nmt.alignment_page import Named
    from nmt.gold import Gold, Worth
    from nmt.inspection import Aligned
    from nmt.translator import Translator


def align(arguments: argparse.Namespace) -> int:
    """Print the word links of each pair of lines, or what links are worth against gold, or write a page of them."""
    from nmt import alignment, gold, inspection

    _check_options(arguments)
    translator, reverse = _translators(arguments)
    # Error rates of the toy corpus's RNN and Transformer, taught: 5.7 and 6.0 %; grow-diag 6.0, 6.1, soft 5.6, 6.3;
    # grow-diag-final-attention 4.6, 4.7, which harms on real text (Multi30k, two Transformers: 7.2 instead of 6.4).
    how: Combination = arguments.combine or "grow-diag-final-and"
    if how == "grow-diag-final-attention":
        for run, own in ((arguments.run, translator), (arguments.reverse, reverse)):
            if own is not None and own.extraction is None:
                raise InputError(f"--combine grow-diag-final-attention: {run} has no attention")
    sources, targets = _words_of_pairs(arguments)
    if arguments.choose:
        return _choose(arguments, translator, reverse, sources, targets)
    wanted = None
    if arguments.gold:
        if targets is None:
            raise InputError("--gold: its links are of given translations; give --target FILE, too")
        wanted = gold.read_gold(arguments.gold, first=arguments.gold_first, target_first=arguments.gold_reversed)
        gold.check_gold(wanted, sources, targets, arguments.gold)
    if arguments.scan:
        return _scan(arguments, translator, sources, targets, wanted)
    if arguments.page:
        return _write_page(arguments, translator, reverse, sources, targets, wanted, how)
    if targets is None:
        translations = translator.translate([words.text for words in sources], bar="translating")
        found = inspection.align_translations(translator, sources, translations, arguments.words, how, reverse)
    else:
        found = inspection.align(translator, sources, targets, how, reverse)
    warn(f"read from: {translator.reading}" + (f"; the reverse: {reverse.reading}" if reverse else ""))
    if wanted is not None:
        _print_worths(inspection.judge(found, wanted, how))
    elif arguments.heatmaps:
        _draw(found, translator, reverse, arguments.heatmaps)
    elif arguments.format == "npz":
        alignment.write_npz(sys.stdout.buffer, (line.forward for line in found))
    else:
        for line in found:
            if arguments.format == "pharaoh":
                print(alignment.pharaoh(line.links))
            elif arguments.format == "soft":
                print(alignment.soft(line.forward))
            elif arguments.format == "grid":
                print(alignment.grid(line.forward), end="\n\n")
            else:
                print(alignment.as_json(line.forward, line.links, translator.reading))
    return 0


def _check_options(arguments: argparse.Namespace) -> None:
    """Refuse options that would have no effect beside others, but for those that exclude each other."""
    if arguments.beside and not arguments.page:
        raise InputError("--beside: another run is shown beside this one on a page only; give --page FILE.html, too")
    if arguments.combine and not arguments.reverse:
        raise InputError("--combine: there is one direction only; give --reverse RUN, too")
    if (arguments.gold_first or arguments.gold_reversed) and not arguments.gold:
        raise InputError("--gold-first and --gold-reversed say how to read gold links; give --gold FILE, too")
    for name, given in (("--heatmaps", arguments.heatmaps), ("--choose", arguments.choose)):
        if given and arguments.gold:
            raise InputError(f"{name} has no use for gold links; leave --gold out")
    if arguments.format != "pharaoh" and arguments.gold:
        raise InputError("--gold prints error rates in place of what --format says; give one of the two")
    for name, given in (("--scan", arguments.scan), ("--choose", arguments.choose)):
        if given and (arguments.layer is not None or arguments.threshold is not None):
            raise InputError(f"{name} tries every way to read attention; leave --layer and --threshold out")
    if arguments.scan and arguments.reverse:
        raise InputError("--scan reads one direction; leave --reverse out")
    if arguments.format in ("soft", "npz", "grid") and (arguments.reverse or arguments.threshold is not None):
        raise InputError(
            f"--format {arguments.format} gives the weights of one direction, not links; leave --reverse and "
            "--threshold out"
        )


def _draw(found: Iterable["Aligned"], translator: "Translator", reverse: "Translator | None", folder: Path) -> None:
    """Draw each pair's heatmap, and that of the reverse beside it."""
    from nmt.plotting import Panel, draw_heatmaps, save_figure
    from nmt.presentation import can_be_drawn, caption_of, make_folder

    make_folder(folder)
    count = 0
    for number, line in enumerate(found, 1):
        source, target = line.forward.source, line.forward.target
        if not (can_be_drawn(source.text) and can_be_drawn(target.text)):
            warn(f"line {number}: too long for a picture, and left out")
            continue
        read = [(line.forward, translator), *([(line.backward, reverse)] if line.backward and reverse else [])]
        panels = [
            Panel(own.reading, attention.source.texts, attention.target.texts, attention.weights.tolist())
            for attention, own in read
        ]
        figure = draw_heatmaps(panels, caption_of([own for _, own in read]))
        for suffix in ("png", "svg", "pdf"):
            save_figure(figure, folder / f"line-{number:05d}.{suffix}")
        count += 1
    print(f"heatmaps {folder}: {count:,}, each as PNG, SVG and PDF")


def _translators(arguments: argparse.Namespace) -> tuple["Translator", "Translator | None"]:
    """The run's translator, reading alignments as is asked, and that of the reverse run, if one is given."""
    from dataclasses import replace

    from nmt.models.base import Extraction

    translator = _load(arguments, arguments.run)
    reverse = _load(arguments, arguments.reverse) if arguments.reverse else None
    for own, run in ((translator, arguments.run), (reverse, arguments.reverse)):
        if own is not None:
            _check_aligns(own, run)
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


def _load(arguments: argparse.Namespace, run: Path) -> "Translator":
    from dataclasses import replace

    from nmt.alignment import Least

    threshold = None if arguments.threshold is None else Least(arguments.threshold)
    return replace(load_translator(arguments, run, aligns=True), threshold=threshold)


def _check_aligns(translator: "Translator", run: Path) -> None:
    if not translator.aligns:
        raise InputError(
            f"{run.absolute()}: this model has no attention, so there is no alignment to read; an aligner can be "
            f"taught: nmt teach {run}"
        )


def _words_of_pairs(arguments: argparse.Namespace) -> tuple[list["Words"], list["Words"] | None]:
    from nmt.inspection import line_words
    from nmt.lines import read_lines

    if arguments.target is None:
        if arguments.target_words:
            raise InputError("--target-words: these are words of given translations; give --target, too")
        lines = read_lines(arguments.source)
        return line_words(lines, arguments.words, arguments.source_words, str(arguments.source)), None
    sources, targets = read_pairs_of(arguments)
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


def _write_page(
    arguments: argparse.Namespace,
    translator: "Translator",
    reverse: "Translator | None",
    sources: list["Words"],
    targets: list["Words"] | None,
    gold: list["Gold"] | None,
    how: "Combination",
) -> int:
    from nmt import inspection
    from nmt.alignment_page import MOST_PAIRS, alignment_page, page_data
    from nmt.lines import write_lines

    runs, backwards = _runs_of_page(arguments, translator, reverse)
    shown, judges = sources[:MOST_PAIRS], None if gold is None else gold[:MOST_PAIRS]
    if targets is None:
        translations = translator.translate([words.text for words in shown], bar="translating")
        found = inspection.align_translations(translator, shown, translations, arguments.words, how, reverse)
    else:
        translations = None
        found = inspection.align(translator, shown, targets[:MOST_PAIRS], how, reverse)
    of = f"{arguments.source} and {arguments.target or f'its translations by {runs[0].name}'}"
    data = page_data(list(found), translations, runs, backwards, judges, of, len(sources), how)
    write_lines(arguments.page, alignment_page(data).split("\n"))
    print(f"page     {arguments.page}")
    return 0


def _runs_of_page(
    arguments: argparse.Namespace, translator: "Translator", reverse: "Translator | None"
) -> tuple[list["Named"], "Named | None"]:
    """The run and those beside it, and the reverse, each under a name of its own."""
    from nmt.alignment_page import Named
    from nmt.runs import Run

    found = [(arguments.run, translator)]
    data = Run(arguments.run).config().data
    for path in arguments.beside:
        own = _load(arguments, path)
        _check_aligns(own, path)
        other = Run(path).config().data
        if (other.source_language, other.target_language) != (data.source_language, data.target_language):
            raise InputError(
                f"--beside {path}: translates {other.source_language} to {other.target_language}, but "
                f"{arguments.run} {data.source_language} to {data.target_language}; the other direction goes by "
                "--reverse"
            )
        found.append((path, own))
    if reverse is not None:
        found.append((arguments.reverse, reverse))
    names = [Run(path).name for path, _ in found]
    if len(set(names)) < len(names):  # runs of one name in several folders
        names = [str(path) for path, _ in found]
    if len(set(names)) < len(names):
        raise InputError("--page: a run is given twice; each has one place on the page")
    named = [Named(name, Run(path), own) for name, (path, own) in zip(names, found, strict=True)]
    return (named, None) if reverse is None else (named[:-1], named[-1])


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
    config, translator = run.config(), load_translator(arguments, arguments.run)
    preparation.check_data(run, config, "train")
    corpus = load_training_corpus(config.data, translator.subwords)
    lines, pairs = teaching.choose_lines(corpus).tolist(), read_pairs(config.data.train)
    by = arguments.links or "counts of what stands in the same lines"
    print(f"teaching on {len(lines):,} of {len(corpus.kept):,} pairs, by {by}", flush=True)
    if arguments.links:
        links = teaching.read_links(arguments.links, len(pairs.sources))
        lesson = teaching.given_lesson(translator, pairs, lines, links, arguments.words)
    else:
        languages = config.data.source_language, config.data.target_language
        lesson = teaching.counted_lesson(translator, pairs, lines, languages)
    aligner = teaching.teach(translator, lesson, config.training.seed)
    parameters = sum(weight.numel() for weight in aligner.parameters())
    print(f"done     {parameters:,} parameters in {run.save_aligner(weights_of(aligner), arguments.checkpoint)}")
    print(f"next     nmt align {run.path} --source FILE --target FILE")
    return 0
