"""What is compared: runs, groups of runs and files of translations, and whether they can be compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from nmt.config import Config, FilePair, InputError, differences
from nmt.events import clock
from nmt.lines import TextPairs, read_lines, read_pairs
from nmt.plotting import Curve, Over
from nmt.runs import Checkpoint, Run, members_of
from nmt.translator import Translator

LIKE_BUDGETS = 1.1  # seconds of training within this ratio are called equal


@dataclass(frozen=True)
class Member:
    """A run ready to translate."""

    run: Run
    translator: Translator
    updates: int  # behind the checkpoint


@dataclass(frozen=True)
class System:
    """What is compared: a run, a group of runs that differ in their seed alone, or a file of translations."""

    name: str  # unique among those compared
    path: Path
    members: list[Member]  # one of a run, none of a file


def load_systems(
    paths: Sequence[Path], checkpoint: Checkpoint, device: torch.device, warn: Callable[[str], None]
) -> list[System]:
    """Runs and groups of runs, ready to translate."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("a run is given twice; each is compared with the others, so name it once")
    return [
        System(
            name,
            path,
            [
                Member(run, Translator.load(run, checkpoint, device, warn), run.weights(checkpoint)[1])
                for run in members_of(path)
            ],
        )
        for name, path in zip(_names(paths), paths, strict=True)
    ]


def _names(paths: Sequence[Path]) -> list[str]:
    names = [Run(path).name for path in paths]
    if len(set(names)) < len(names):  # runs of one name in several folders
        names = [str(path).strip("/").replace("/", "-") for path in paths]
    return [" ".join(name.split("\n")) for name in names]  # a file's name may hold anything, a table's row may not


def translation_files(
    translations: Sequence[tuple[str, Path]], systems: Sequence[System], tests: dict[str, TextPairs]
) -> list[System]:
    """Systems of files of translations, each as long as the one test set."""
    if translations and len(tests) > 1:
        raise InputError(f"--system: a file is of one test set, but there are {', '.join(tests)}; choose one by --test")
    taken = {system.name for system in systems}
    for name, path in translations:
        if name in taken or not name or "/" in name:
            raise InputError(f"--system {name}={path}: give it a name of its own, without '/'")
        taken.add(name)
        [(test, pairs)] = tests.items()
        lines = len(read_lines(path))
        if lines != len(pairs.sources):
            raise InputError(f"{path.absolute()}: {lines:,} lines, but {test} has {len(pairs.sources):,}")
    return [System(name, path, []) for name, path in translations]


def test_sets(
    systems: Sequence[System], files: tuple[Path, Path] | None, wanted: str | None
) -> tuple[dict[str, TextPairs], list[str]]:
    """The test sets by name, and notes on those that are not every run's."""
    if files:
        pairs = _read_test(FilePair(source=str(files[0]), target=str(files[1])))
        return {wanted or files[0].name.removesuffix(".gz").partition(".")[0]: pairs}, []
    own = [member.run.tests() for system in systems for member in system.members]
    tests = {name: pairs for name, pairs in own[0].items() if all(pairs == others.get(name) for others in own)}
    others = sorted({name for named in own for name in named} - tests.keys())
    if not tests:
        raise InputError(
            "no test set that is the same for all runs (a config names its own: [data.test.NAME] source, target)"
            + (f"; different: {', '.join(others)}" if others else "")
            + "; give one with --source FILE --target FILE"
        )
    if wanted is None:
        return tests, [f"test set {name} is not the same for every run, and is left out" for name in others]
    if wanted not in tests:
        raise InputError(f"--test {wanted}: not a test set of all runs; those are {', '.join(tests)}")
    return {wanted: tests[wanted]}, []


def _read_test(files: FilePair) -> TextPairs:
    pairs = read_pairs(files)
    if not pairs.sources:
        raise InputError(f"{Path(files.source).absolute()}: the file is empty, so there is nothing to score")
    return pairs


def caveats(systems: Sequence[System], runs: Sequence[Member]) -> list[str]:
    """What must be said before figures are compared."""
    configs = [member.run.config() for member in runs]
    languages = sorted({(config.data.source_language, config.data.target_language) for config in configs})
    if len(languages) > 1:
        raise InputError(f"the runs translate between different languages: {languages}")
    notes = []
    for system in systems:
        if len(system.members) > 1:
            _check_group(system)
            notes.append(f"{system.name}: {len(system.members)} runs; texts are those of its first")
    if len({member.translator.subwords.digest() for member in runs}) > 1:
        notes.append("the runs have different subwords: compare nats a character, not perplexities")
    if len({tuple(member.run.facts().training_text) for member in runs}) > 1:
        notes.append("the runs were trained on different text")
    searches = {(member.translator.search.beam_size, member.translator.search.length_penalty) for member in runs}
    if len(searches) > 1:
        notes.append("the runs' searches differ in beam size or length penalty")
    budgets = {
        system.name: fmean(m.run.progress().seconds for m in system.members) for system in systems if system.members
    }
    if max(budgets.values()) > LIKE_BUDGETS * min(budgets.values()):
        spent = ", ".join(f"{name} {clock(seconds)}" for name, seconds in budgets.items())
        notes.append(f"the runs were not trained for as long as each other: {spent}")
    tuned = [member.run.name for member in runs if member.run.config().training.init_from]
    if tuned:
        notes.append(f"began with another run's weights, whose training is not counted here: {', '.join(tuned)}")
    if len({member.run.facts().machine for member in runs}) > 1:
        notes.append("the runs were trained on different machines, so their times do not compare")
    return notes


def _check_group(system: System) -> None:
    """Raise InputError unless the runs of a group differ in their seed alone."""

    def seedless(config: Config) -> Config:
        return config.model_copy(update={"training": config.training.model_copy(update={"seed": 0})})

    first, *others = [seedless(member.run.config()) for member in system.members]
    for member, config in zip(system.members[1:], others, strict=True):
        changed = differences(first, config)
        if changed:
            raise InputError(
                f"{system.path.absolute()}: its runs are no group, as {member.run.name} differs from "
                f"{system.members[0].run.name} in {'; '.join(changed.values())}; name them one by one"
            )


def curves(paths: Sequence[Path], over: Over) -> list[Curve]:
    """The curves of runs and of the runs of groups. Raises InputError of a run without a validation."""
    found = []
    for path in paths:
        for run in members_of(path):
            run.config()  # is it a run?
            events = run.validations()
            if not events:
                raise InputError(f"{run.path.absolute()}: no validation yet, so there is no curve; train it further")
            places: dict[Over, list[float]] = {
                "updates": [event.update for event in events],
                "tokens": [event.tokens for event in events],
                "minutes": [event.elapsed / 60 for event in events],
            }
            found.append(
                Curve(
                    Run(path).name,
                    places[over],
                    [event.bleu for event in events],
                    [event.nats_per_character for event in events],
                )
            )
    return found


def default_out(paths: Sequence[Path]) -> Path:
    """Where results of systems go unless the user says otherwise: beside the one, or to runs/<a>-vs-<b>."""
    if len(paths) == 1:
        return paths[0] / "evaluation"
    return Path("runs") / "-vs-".join(_names(paths))
