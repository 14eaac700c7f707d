"""Where a run comes from: run.json, written once when it begins."""

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# Those whose version may change what a training or a score comes to.
LIBRARIES = ("nmt", "torch", "numpy", "sentencepiece", "datasets", "pyarrow", "sacrebleu", "safetensors")


class Part(BaseModel):
    """A part of run.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# A name of a file need not be UTF-8, but JSON must.
Name = Annotated[str, BeforeValidator(lambda name: name.encode("utf-8", "backslashreplace").decode())]


class DataFile(Part):
    """A file that the config names."""

    file: Name
    sha256: str


class Git(Part):
    """The state of the code, where it lies in a git repository."""

    commit: str
    changed: list[str]  # files that differ from the commit, as `git status --porcelain` has them


class Facts(Part):
    """What run.json holds."""

    command: list[Name]
    started: str  # ISO 8601
    machine: str  # as `hardware.describe` has it
    system: str  # operating system, processor, memory
    versions: dict[str, str]  # of Python and of LIBRARIES
    git: Git | None  # None: the code is in no git repository, or there is no git
    data: dict[str, DataFile]  # by key, as `train.source`, or `subwords.model.source`
    initial: DataFile | None = None  # the weights that the training began with, where they are another run's
    training_pairs: int
    dropped_pairs: dict[str, int]  # by reason
    parameters: int
    embedding_parameters: int
    sums: dict[str, str] = Field(default_factory=dict)  # SHA-256 of the run's own files, by path

    @property
    def training_text(self) -> tuple[str, ...]:
        """The sums of the training text."""
        return tuple(file.sha256 for key, file in self.data.items() if key.startswith("train."))


def library_versions() -> dict[str, str]:
    """The versions of LIBRARIES."""
    return {name: version(name) for name in LIBRARIES}


def git_state() -> Git | None:
    """The commit that this code is of, and what differs from it."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
        return done.stdout

    try:
        if not git("ls-files", "__init__.py"):  # installed into somebody else's repository
            return None
        return Git(commit=git("rev-parse", "HEAD").strip(), changed=git("status", "--porcelain").splitlines())
    except (OSError, subprocess.CalledProcessError):
        return None
