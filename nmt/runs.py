"""The run directory: self-contained, so that a trained model can be copied and used anywhere.

config.toml                          every key, written out
run.json                             versions, hardware, command, sums of the data and of the three below
subwords/*.model                     the SentencePiece models
words.tsv                            how often each word stands in the training text's target
tests/NAME.source, NAME.target       the test sets of the config, as they were when the training began
metrics.jsonl                        one JSON object an event of the training
checkpoints/weights-00001000.safetensors   the last `average_last` of them
checkpoints/best.safetensors         the best validation's weights
checkpoints/training.safetensors     weights, optimiser and progress: from here the same command goes on
checkpoints/aligner.safetensors      what `teach` leaves
extraction.json                      what `align --choose` leaves
evaluation/                          what `evaluate` leaves
tensorboard/                         what training.tracker leaves
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from nmt.checkpoint import load_notes, load_tensors, mean_weights, save_tensors
from nmt.config import Config, FilePair, InputError, ModelConfig, Section, differences, dump_config, load_config
from nmt.declared import parse_json, read_json
from nmt.events import Validated, read_events
from nmt.facts import Facts
from nmt.lines import TextPairs, aside_pattern, file_digest, read_lines, read_pairs, write_lines
from nmt.models.base import Extraction, Seq2Seq
from nmt.progress import Progress
from nmt.subwords import Subwords

Checkpoint = Literal["best", "last", "average"]
SEED_PREFIX = "seed-"  # directories of the runs of a group

# Keys that may change when a training goes on: what was done so far would have been the same with another value, or,
# for accumulation, the same but for rounding and dropout's draws, and it is what helps where memory runs out.
FREE_KEYS = {
    *("training.updates", "training.validation_interval", "training.patience", "training.average_last"),
    *("training.max_target_tokens", "training.max_minutes", "training.accumulation", "training.tracker"),
    "search.max_tokens",
}

# What never changes after the start: run.json holds the sums. (Checkpoints hold their own, config.toml may be edited.)
SUMMED = ("subwords/*.model", "words.tsv", "tests/*.source", "tests/*.target")

# What training and evaluation write into the directory, and so all that starting anew may delete.
OWN_FILES = (
    *("config.toml", "run.json", "metrics.jsonl", "extraction.json", *SUMMED),
    *(
        "checkpoints/*.safetensors",
        "tensorboard/events.out.tfevents.*",
        "evaluation/results.json",
        "evaluation/results.md",
        "evaluation/report.html",
    ),
    *("evaluation/hypotheses/*.txt", "evaluation/curves.*", "evaluation/heatmaps/*.png", "evaluation/heatmaps/*.svg"),
)


class Notes(Section):
    """What is noted beside weights: another number of heads, say, would fit them and translate otherwise."""

    update: int
    model: ModelConfig  # keys that came later have their defaults


@dataclass(frozen=True)
class Run:
    """A run directory."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def exists(self) -> bool:
        return (self.path / "config.toml").exists()

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def _aligner(self) -> Path:
        return self._checkpoints / "aligner.safetensors"

    @property
    def training_file(self) -> Path:
        return self._checkpoints / "training.safetensors"

    def create(
        self,
        config: Config,
        subwords: Subwords,
        tests: dict[str, TextPairs],
        facts: Facts,
        word_counts: dict[str, int],
    ) -> None:
        """Lay out the directory of a new run."""
        try:
            self._checkpoints.mkdir(parents=True, exist_ok=True)
            (self.path / "tests").mkdir(exist_ok=True)
            subwords.save(self.path / "subwords")
        except OSError as error:
            raise InputError(f"{self.path.absolute()}: cannot be written: {error.strerror}") from None
        write_lines(self.path / "words.tsv", (f"{word}\t{count}" for word, count in word_counts.items()))
        write_lines(self.metrics, [])
        for name, pairs in tests.items():
            files = self._test_files(name)
            write_lines(Path(files.source), pairs.sources)
            write_lines(Path(files.target), pairs.targets)
        own = sorted(path for pattern in SUMMED for path in self.path.glob(pattern))
        sums = {path.relative_to(self.path).as_posix(): file_digest(path) for path in own}
        facts = facts.model_copy(update={"sums": sums})
        write_lines(self.path / "run.json", facts.model_dump_json(indent=1).split("\n"))
        # The last file, since it says that the run exists.
        write_lines(self.path / "config.toml", dump_config(config).split("\n"))

    @contextmanager
    def locked(self, warn: Callable[[str], None]) -> Iterator[None]:
        """Nobody else can train in the directory meanwhile; what a killed training had written aside is deleted.

        The system gives the lock back when the process ends, however it ends. Raises InputError where another has it.
        warn: told where the file system has no locks, as those of some clusters.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            folder = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise InputError(f"{self.path.absolute()}: cannot be written: {error.strerror}") from None
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{self.path.absolute()}: another training is writing this run; let it end, or stop it (Ctrl-C, or "
                    "kill, which saves), or give another directory with --run"
                ) from None
            except OSError as error:
                warn(f"{self.path.absolute()}: cannot be locked against another training of it: {error.strerror}")
            else:
                for pattern in OWN_FILES:
                    for path in self.path.glob(aside_pattern(pattern)):
                        path.unlink()
            try:
                yield
            finally:
                with suppress(OSError):
                    self.path.rmdir()  # nothing was written: it goes as it came
        finally:
            os.close(folder)

    def config(self) -> Config:
        """The config that the run was made with."""
        if not self.exists:
            raise InputError(
                f"{self.path.absolute()}: not a run, as it has no config.toml; make one: python train.py CONFIG.toml"
            )
        return load_config(self.path / "config.toml")

    def check_same(self, config: Config) -> None:
        """Raise InputError, naming the keys that differ, unless the run can go on with this config.

        It can where only FREE_KEYS differ, or the places of files, whose sums are another matter.
        """
        own = self.config()
        changed = differences(own, config)
        free = FREE_KEYS | ({_key_of(name) for name in self.facts().data} & _file_keys(config))
        schedule = config.training.schedule
        key = {"cosine": "training.updates", "plateau": "training.validation_interval"}.get(schedule, "")
        if key in changed:
            free.remove(key)
            changed[key] += f" (by the {schedule} schedule, past learning rates would have been others)"
        refused = [line for key, line in changed.items() if key not in free]
        if refused:
            listed = "\n".join(f"  {line}" for line in refused)
            raise InputError(
                f"{self.path.absolute()}: a run of another config is there; these keys differ (its → yours):\n"
                f"{listed}\ngive --overwrite to start anew, or another directory with --run"
            )

    def keep(self, config: Config) -> None:
        """Go on with this config from now on."""
        try:
            self._checkpoints.mkdir(exist_ok=True)  # its loss must not be found out hours later
        except OSError as error:
            raise InputError(f"{self._checkpoints.absolute()}: cannot be made: {error.strerror}") from None
        if config != self.config():
            write_lines(self.path / "config.toml", dump_config(config).split("\n"))

    def facts(self) -> Facts:
        """Where the run comes from."""
        return read_json(Facts, self.path / "run.json")

    def _check_sum(self, path: Path) -> Path:
        """The same path; raises InputError unless the file is the one that the run was made with."""
        if self.facts().sums.get(path.relative_to(self.path).as_posix()) != file_digest(path):
            raise InputError(
                f"{path.absolute()}: not the file that the run was made with, by its sum in run.json; copy the run "
                "again, or restore the file"
            )
        return path

    def word_counts(self) -> dict[str, int]:
        """How often each word stands in the training text's target."""
        rows = (line.split("\t") for line in read_lines(self._check_sum(self.path / "words.tsv")))
        return {word: int(count) for word, count in rows}

    def validations(self) -> list[Validated]:
        """The validations of the training so far."""
        return [event for event in read_events(self.metrics) if isinstance(event, Validated)]

    def tests(self) -> dict[str, TextPairs]:
        """The test sets by name."""
        sets = {name: self._test_files(name) for name in self.config().data.test}
        for files in sets.values():
            self._check_sum(Path(files.source))
            self._check_sum(Path(files.target))
        return {name: read_pairs(files) for name, files in sets.items()}

    def _test_files(self, name: str) -> FilePair:
        folder = self.path / "tests"
        return FilePair(source=str(folder / f"{name}.source"), target=str(folder / f"{name}.target"))

    def subwords(self) -> Subwords:
        """The vocabularies."""
        for path in (self.path / "subwords").glob("*.model"):
            self._check_sum(path)
        return Subwords.load(self.path / "subwords")

    def remove(self) -> None:
        """Delete what training and evaluation write there, and nothing else that may lie in the directory."""
        for pattern in OWN_FILES:
            for path in self.path.glob(pattern):
                path.unlink()

    def check_free(self) -> None:
        """Raise InputError where a run that begins here would delete the weights of one that has lost its config."""
        if self._weights_files() and not self.exists:
            raise InputError(
                f"{self.path.absolute()}: has checkpoints, but no config.toml; restore it, give --overwrite to start "
                "anew, or another directory with --run"
            )

    def progress(self) -> Progress:
        """How far the training has come; nothing done where it was stopped before its first update."""
        if not self.training_file.exists():
            if self._weights_files():  # never written before it
                raise InputError(
                    f"{self.training_file.absolute()}: missing, so that the training cannot go on; restore it, or give "
                    "--overwrite to start anew"
                )
            return Progress()
        return self._progress(load_notes(self.training_file))

    def save(
        self,
        progress: Progress,
        weights: dict[str, Tensor],
        optimiser: dict[str, Tensor],
        config: Config,
        *,
        best: bool,
    ) -> None:
        """Write a checkpoint: the last `average_last` are kept; the best where this is it; all that resuming needs."""
        save_tensors(
            self._weights_file(progress.update),
            weights,
            Notes(update=progress.update, model=config.model).model_dump(mode="json"),
        )
        if best:
            self.save_best(weights, progress.update, config)
        self.save_training(progress, weights, optimiser)
        for old in self._weights_files()[: -config.training.average_last]:
            old.unlink()

    def save_best(self, weights: dict[str, Tensor], update: int, config: Config) -> None:
        """Write the weights that are the best so far."""
        save_tensors(
            self._checkpoints / "best.safetensors",
            weights,
            Notes(update=update, model=config.model).model_dump(mode="json"),
        )

    def save_training(self, progress: Progress, weights: dict[str, Tensor], optimiser: dict[str, Tensor]) -> None:
        """Write what resuming needs, and no checkpoint to translate with; the first time before any checkpoint."""
        tensors = {f"model.{name}": tensor for name, tensor in weights.items()}
        tensors |= {f"optimiser.{name}": tensor for name, tensor in optimiser.items()}
        save_tensors(self.training_file, tensors, asdict(progress))

    def load_training(self) -> tuple[Progress, dict[str, Tensor], dict[str, Tensor]]:
        """Progress, weights and optimiser state, as `save_training` wrote them."""
        tensors, notes = load_tensors(self.training_file)
        parts: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            parts[kind == "optimiser"][rest] = tensor
        return self._progress(notes), *parts

    def _progress(self, notes: dict[str, Any]) -> Progress:
        return parse_json(Progress, json.dumps(notes), str(self.training_file.absolute()))

    def weights(self, checkpoint: Checkpoint) -> tuple[dict[str, Tensor], int, Path]:
        """A checkpoint's weights, the updates behind it, and the file (for `average`, the last) they came from."""
        files = self._weights_files()
        if not files:
            raise InputError(f"{self.path.absolute()}: the run has no checkpoint yet; train it further")
        path = self._checkpoints / "best.safetensors" if checkpoint == "best" else files[-1]
        if not path.exists():
            raise InputError(
                f"{self.path.absolute()}: no best checkpoint, as no validation succeeded or it was deleted; give "
                "--checkpoint last"
            )
        weights, notes = load_tensors(path)
        noted = parse_json(Notes, json.dumps(notes), str(path.absolute()))
        if noted.model != self.config().model:
            raise InputError(
                f"{path.absolute()}: was trained with another [model] than config.toml has; restore either"
            )
        return mean_weights(files) if checkpoint == "average" else weights, noted.update, path

    def save_aligner(self, weights: dict[str, Tensor], checkpoint: Checkpoint) -> Path:
        """Keep an aligner that was taught to read a checkpoint's states."""
        notes = {"checkpoint": checkpoint, "update": self.weights(checkpoint)[1]}
        save_tensors(self._aligner, weights, notes)
        return self._aligner

    def aligner(self, checkpoint: Checkpoint, update: int) -> dict[str, Tensor] | None:
        """The weights of the aligner for a checkpoint of so many updates; None where there is none for it."""
        if not self._aligner.exists():
            return None
        weights, notes = load_tensors(self._aligner)
        return weights if notes == {"checkpoint": checkpoint, "update": update} else None

    def save_extraction(self, extraction: Extraction) -> Path:
        """Keep the choice of where to read alignments."""
        write_lines(self.path / "extraction.json", [json.dumps(asdict(extraction))])
        return self.path / "extraction.json"

    def extraction(self, model: Seq2Seq) -> Extraction | None:
        """The choice that was kept, of where to read the run's model; None where none was made."""
        path = self.path / "extraction.json"
        if not path.exists():
            return None
        kept, heads = read_json(Extraction, path), model.attention_heads
        fits = 0 <= kept.layer < model.attention_layers and (kept.head is None or 0 <= kept.head < heads)
        if not fits or kept.shift not in (0, 1):
            raise InputError(
                f"{path.absolute()}: {kept}: but the model has {model.attention_layers} layers of {heads} heads, and a "
                "shift is 0 or 1; delete the file, and choose anew (nmt align --choose)"
            )
        return kept

    def checkpoints(self) -> int:
        """How many of the last checkpoints are there."""
        return len(self._weights_files())

    def has_checkpoint(self, update: int) -> bool:
        """Whether the weights of this update are there."""
        return self._weights_file(update).exists()

    def _weights_file(self, update: int) -> Path:
        return self._checkpoints / f"weights-{update:08d}.safetensors"

    def _weights_files(self) -> list[Path]:
        return sorted(self._checkpoints.glob("weights-*.safetensors"))


def _key_of(name: str) -> str:
    """The config's key of a file in `Facts.data`."""
    return name if name.startswith("subwords.") else f"data.{name}"


def _file_keys(config: Config) -> set[str]:
    """The keys that name files."""
    sets = {"train", "valid", *(f"test.{name}" for name in config.data.test)}
    given = {f"subwords.model.{side}" for side, file in config.subwords.model if file}
    return {f"data.{name}.{side}" for name in sets for side in ("source", "target")} | given


def members_of(path: Path) -> list[Run]:
    """The runs of a path: itself, or, of a group that `train --seeds` made, those in its directory, by their seeds."""
    if not Run(path).exists:
        inside = [Run(folder) for folder in path.glob(f"{SEED_PREFIX}*") if Run(folder).exists]
        if inside:
            return sorted(inside, key=lambda run: run.config().training.seed)
    return [Run(path)]
