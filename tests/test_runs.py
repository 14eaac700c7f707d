"""Checkpoints, run directories and events: what is written is whole, and what is read is what was written."""

import errno
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from io import FileIO
from pathlib import Path
from typing import Any, get_args

import pytest
import safetensors.torch
import torch
from torch import Tensor

from nmt import checkpoint as checkpoint_file
from nmt.checkpoint import load_notes, load_tensors, load_weights, mean_weights, save_tensors, weights_of
from nmt.config import Config, InputError, RNNConfig, SubwordConfig, parse_config
from nmt.events import Ended, Event, Reporter, Updated, Validated, read_events
from nmt.facts import DataFile, Facts, Git
from nmt.lines import TextPairs
from nmt.models import build_model
from nmt.progress import Progress, Sums
from nmt.runs import Checkpoint, Run
from nmt.subwords import Subwords, learn_subwords
from tests.conftest import CONFIGS, VOCABULARY, make_model

SPECIAL = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-45, 3.4e38])


def random_tensors(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "a.weight": torch.randn(3, 5, generator=generator),
        "ä b": torch.randn(7, generator=generator),
        "scalar": torch.randn((), generator=generator),
        "empty": torch.zeros(0, 4),
    }


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype
        and one[name].shape == other[name].shape
        and one[name].contiguous().numpy().tobytes() == other[name].contiguous().numpy().tobytes()
        for name in one
    )


def test_tensors_and_notes_come_back_to_the_bit(tmp_path: Path) -> None:
    tensors = random_tensors(0) | {
        "special": SPECIAL,
        "transposed": torch.randn(4, 6).T,
        "part": torch.randn(10)[::3],
        "step": torch.tensor(7.0),
        "double": torch.randn(3, dtype=torch.float64),
        "integer": torch.tensor([2**62, -1]),
    }
    notes = {"update": 12, "best": None, "loss": 0.1 + 0.2, "text": 'ü\u2028\n"', "nested": {"a": [1, True]}}
    path = tmp_path / "file.safetensors"
    save_tensors(path, tensors, notes)
    loaded, found = load_tensors(path)
    assert same_bits(loaded, tensors) and found == load_notes(path) == notes


def test_gradients_are_not_saved(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(3))
    save_tensors(tmp_path / "file", {"weight": weight}, {})
    assert not load_tensors(tmp_path / "file")[0]["weight"].requires_grad


def test_a_broken_cut_or_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_tensors(Path("whole"), random_tensors(0), {"update": 1})
    whole = Path("whole").read_bytes()
    broken = {
        "empty": b"",
        "short": whole[:5],
        "cut-header": whole[:40],
        "cut": whole[:-1],
        "long": whole + b"\0",
        "no-tensors": b"what is this? " * 100,
        "no-notes": safetensors.torch.save(random_tensors(0)),
        "other-notes": safetensors.torch.save(random_tensors(0), {"nmt": "{"}),
        "no-sums": safetensors.torch.save(random_tensors(0), {"nmt": '{"notes": "{}"}'}),
    }
    for name, content in broken.items():
        Path(name).write_bytes(content)
    Path("folder").mkdir()
    for name in (*broken, "folder", "missing"):
        for load in (load_tensors, load_notes):
            with pytest.raises(InputError, match=f"^{re.escape(str(tmp_path / name))}: "):
                load(Path(name))


def test_a_changed_byte_anywhere_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    tensors, notes = random_tensors(0), {"update": 920, "finished": False}
    save_tensors(path, tensors, notes)
    whole = path.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        for bit in (1, 0x80):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            for load in (load_tensors, load_notes):
                try:
                    found = load(path)
                except InputError as error:
                    assert str(error).startswith(f"{path}: ")
                    noticed += load is load_tensors
                else:  # a byte that says nothing, or, for the notes, one of the tensors
                    assert found == notes or (same_bits(found[0], tensors) and found[1] == notes)
    assert noticed > 2 * 0.9 * len(whole)


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, step: int, failure: BaseException) -> Iterator[list[str]]:
    """The steps of writing that were taken, all of which but the one at `step` do what they do."""
    taken: list[str] = []

    def watched(name: str, act: Callable[..., object]) -> Callable[..., object]:
        def acting(*arguments: object) -> object:
            taken.append(name)
            if len(taken) == step:
                raise failure
            return act(*arguments)

        return acting

    class File(FileIO):
        def write(self, data: Any) -> int:
            written = watched("write", super().write)(data)
            assert isinstance(written, int)
            return written

        def flush(self) -> None:
            watched("flush", super().flush)()

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda path, mode: File(path, mode))
        for name in ("fsync", "replace"):
            patched.setattr(f"os.{name}", watched(name, getattr(os, name)))
        yield taken


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_at_any_step_leaves_a_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    path = tmp_path / "file"
    save_tensors(path, random_tensors(0), {"update": 1})
    with failing(monkeypatch, 0, failure) as steps:
        save_tensors(path, random_tensors(0), {"update": 1})
    assert steps[0] == "write" and steps.index("flush") < steps.index("fsync") < steps.index("replace")
    assert steps[-1] == "fsync"  # of the folder
    for step in range(1, steps.index("replace") + 2):
        with failing(monkeypatch, step, failure), pytest.raises((InputError, KeyboardInterrupt)):
            save_tensors(path, random_tensors(1), {"update": 2})
        tensors, notes = load_tensors(path)
        assert same_bits(tensors, random_tensors(0)) and notes == {"update": 1}
        assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_that_fails_at_any_step_leaves_one_to_go_on_from(
    run: "Run", monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with failing(monkeypatch, 0, full) as steps:
        save(run, 5, best=True)
    assert steps.count("replace") == 3
    for step in range(1, len(steps) + 1):
        before = run.load_training()[0].update
        try:
            with failing(monkeypatch, step, full):
                save(run, before + 5, best=True)
        except InputError as error:
            assert "No space left on device" in str(error)
        progress, weights, optimiser = run.load_training()
        assert progress.update in (before, before + 5)
        assert same_bits(weights, random_tensors(progress.update))
        assert same_bits(optimiser, random_tensors(-progress.update))
        for kind in get_args(Checkpoint):
            run.weights(kind)
        assert not [path for path in (run.path / "checkpoints").iterdir() if path.suffix != ".safetensors"]


def test_the_mean_of_weights_is_their_mean(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(5)]
    for number, path in enumerate(paths):
        save_tensors(path, random_tensors(number), {"update": number})
    mean = mean_weights(paths)
    for name, tensor in mean.items():
        expected = torch.stack([random_tensors(number)[name].double() for number in range(5)]).mean(0).float()
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-7)
        assert tensor.dtype == torch.float32
    assert same_bits(mean_weights(paths[:1]), random_tensors(0))
    assert same_bits(mean_weights([paths[0]] * 4), random_tensors(0))


@pytest.mark.parametrize("name", CONFIGS)
def test_tied_weights_are_written_once_and_stay_tied(name: str, tmp_path: Path) -> None:
    model: Any = make_model(name)
    weights = weights_of(model)
    assert len({id(tensor) for tensor in weights.values()}) == len(weights)
    save_tensors(tmp_path / "file", weights, {})
    loaded, _ = load_tensors(tmp_path / "file")
    with torch.no_grad():
        before = [parameter.clone() for parameter in model.parameters()]
        for parameter in model.parameters():
            parameter.add_(1)
    tied = model.output[0].data_ptr() == model.embeddings.target.weight.data_ptr()
    load_weights(model, loaded, tmp_path / "file")
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
    assert (model.output[0].data_ptr() == model.embeddings.target.weight.data_ptr()) == tied


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    narrow = make_model("rnn")
    wide = build_model(RNNConfig(kind="rnn", encoder_size=7, decoder_size=14), VOCABULARY, VOCABULARY, joint=True)
    for weights in (weights_of(wide), weights_of(make_model("transformer")), {}):
        before = {name: tensor.detach().clone() for name, tensor in weights_of(narrow).items()}
        with pytest.raises(InputError, match=f"^{tmp_path / 'file'}: does not fit the run's model, in .") as caught:
            load_weights(narrow, weights, tmp_path / "file")
        own = weights_of(narrow)
        named = str(caught.value).partition(", in ")[2].split(", ")
        for name in named:
            assert name not in own or name not in weights or own[name].shape != weights[name].shape
        assert same_bits({k: v.detach() for k, v in own.items()}, before)  # nothing was loaded by half


# ---- runs


TESTS = {
    "news": TextPairs(["ü", "", "a\u2028b\x85c\rd", "😀"], ["x", " ", "", "y"]),
    'odd ".*[name]': TextPairs(["a"], ["b"]),
    ".hidden": TextPairs(["c"], ["d"]),
}


def config(**training: object) -> Config:
    files = {"source": "a", "target": "b"}
    data = {"source_language": "de", "target_language": "en", "train": files, "valid": files}
    tree = {
        "data": data | {"test": dict.fromkeys(TESTS, files)},
        "model": {"kind": "rnn"},
        "training": training,
    }
    return parse_config(tree, "tree")


@pytest.fixture(scope="module")
def subwords() -> Subwords:
    return learn_subwords(["ab ba"] * 9, ["ab b a"] * 9, SubwordConfig(vocabulary_size=16))[0]


FACTS = Facts(
    command=["nmt", "ü"],
    started="2015-05-19T00:00:00+0000",
    machine="python 3.11 · torch 2.13 · CPU, 1 thread",
    system="Linux",
    versions={"torch": "2.13"},
    git=Git(commit="0" * 40, changed=[" M train.py"]),
    data={"train.source": DataFile(file="/a/ä b", sha256="0" * 64)},
    training_pairs=3,
    dropped_pairs={"empty": 1},
    parameters=12,
    embedding_parameters=4,
)


@pytest.fixture
def run(tmp_path: Path, subwords: Subwords) -> Run:
    made = Run(tmp_path / "runs" / "some")
    made.create(config(), subwords, TESTS, FACTS, {"Haus": 3, "ü": 1})
    return made


def save(run: Run, update: int, *, best: bool = False, keep: int = 3) -> None:
    kept = config(average_last=keep)
    run.save(Progress(update=update), random_tensors(update), random_tensors(-update), kept, best=best)


def test_a_run_holds_what_it_was_made_with(run: Run, subwords: Subwords) -> None:
    assert run.exists and run.name == "some"
    assert run.config() == config() and run.word_counts() == {"Haus": 3, "ü": 1}
    assert run.facts() == FACTS.model_copy(update={"sums": run.facts().sums})
    assert run.subwords().digest() == subwords.digest()
    assert run.progress() == Progress()
    assert run.metrics.read_bytes() == b""
    assert run.tests() == TESTS


def test_a_run_can_be_moved(run: Run, subwords: Subwords) -> None:
    save(run, 5, best=True)
    run.path.rename(run.path.parent / "moved")
    moved = Run(run.path.parent / "moved")
    assert moved.config() == config() and moved.tests() == TESTS and moved.subwords().digest() == subwords.digest()
    assert same_bits(moved.weights("best")[0], random_tensors(5)) and moved.name == "moved"


def test_a_changed_byte_in_what_a_run_keeps_is_noticed(run: Run) -> None:
    readers: dict[str, Callable[[], object]] = {
        "subwords/subwords.model": run.subwords,
        "words.tsv": run.word_counts,
        **{f"tests/{name}.{side}": run.tests for name in TESTS for side in ("source", "target")},
    }
    assert set(run.facts().sums) == set(readers)
    for name, read in readers.items():
        path = run.path / name
        whole = path.read_bytes()
        for place in {0, len(whole) // 2, len(whole) - 1} if whole else set():
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(InputError, match=f"^{re.escape(str(path))}: not the file that the run was made with"):
                read()
        path.write_bytes(whole[:-1] if whole else b"more")
        with pytest.raises(InputError, match="not the file"):
            read()
        path.write_bytes(whole)
        read()


def test_where_no_run_is_an_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for name in ("missing", "file", "folder"):
        assert not Run(Path(name)).exists
        with pytest.raises(InputError, match=f"^{tmp_path / name}: not a run"):
            Run(Path(name)).config()


def test_a_directory_that_cannot_be_made_is_a_mistake(tmp_path: Path, subwords: Subwords) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match=f"^{re.escape(str(path))}: cannot be written"):
            Run(path).create(config(), subwords, {}, FACTS, {})


def test_the_name_of_a_run_is_its_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Run(Path(".")).name == tmp_path.name


def test_another_config_is_refused_by_its_keys(run: Run) -> None:
    run.check_same(config())
    with pytest.raises(InputError) as caught:
        run.check_same(config(seed=9, learning_rate=0.5, updates=7))
    assert str(run.path.absolute()) in str(caught.value) and "--overwrite" in str(caught.value)
    assert re.findall(r"^  (\S+): (\S+) → (\S+)$", str(caught.value), re.MULTILINE) == [
        ("training.learning_rate", "0.001", "0.5"),
        ("training.seed", "1", "9"),
    ]


def test_the_last_weights_are_kept_and_the_best(run: Run) -> None:
    for update in (5, 10, 15, 900, 1000, 99_999_999):
        save(run, update, best=update == 10, keep=3)
    kept = sorted(path.name for path in (run.path / "checkpoints").iterdir())
    assert kept == ["best.safetensors", "training.safetensors"] + [
        f"weights-{update:08d}.safetensors" for update in (900, 1000, 99_999_999)
    ]
    weights, update, path = run.weights("best")
    assert same_bits(weights, random_tensors(10)) and update == 10 and path.name == "best.safetensors"
    weights, update, path = run.weights("last")
    assert same_bits(weights, random_tensors(99_999_999)) and update == 99_999_999 and "99999999" in path.name
    weights, update, _ = run.weights("average")
    mean = mean_weights([run.path / "checkpoints" / f"weights-{u:08d}.safetensors" for u in (900, 1000, 99_999_999)])
    assert same_bits(weights, mean) and update == 99_999_999


def test_a_run_without_a_checkpoint_says_so(run: Run) -> None:
    for kind in get_args(Checkpoint):
        with pytest.raises(InputError, match=f"^{re.escape(str(run.path.absolute()))}: .*no checkpoint yet"):
            run.weights(kind)
    save(run, 5)  # never a best one, which only an interfering hand can bring about
    with pytest.raises(InputError, match="best"):
        run.weights("best")


def test_all_that_resuming_needs_comes_back(run: Run) -> None:
    progress = Progress(
        update=12,
        epoch=3,
        position=2,
        best=-0.1 - 0.2,
        best_update=8,
        waited=1,
        seconds=1.1,
        tokens=77,
        reported=Sums(0.1, 0.2, 3, 4, 0.5),
        validated=Sums().plus(1.5, 0.25, 10, 0.5),
    )
    run.save_training(progress, random_tensors(1), random_tensors(2))
    assert run.progress() == progress
    found, weights, optimiser = run.load_training()
    assert found == progress and same_bits(weights, random_tensors(1)) and same_bits(optimiser, random_tensors(2))
    run.save(replace(progress, update=13, finished=True), random_tensors(3), {}, config(), best=False)
    found, weights, optimiser = run.load_training()
    assert found.finished and found.update == 13 and same_bits(weights, random_tensors(3)) and optimiser == {}


def test_a_checkpoint_that_fails_leaves_the_older_one_to_go_on_from(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    save(run, 5, best=True)
    written = []

    def third_fails(path: Path, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt
        checkpoint_file.save_tensors(path, tensors, notes)

    monkeypatch.setattr("nmt.runs.save_tensors", third_fails)
    with pytest.raises(KeyboardInterrupt):
        save(run, 10, best=True)
    progress, weights, _ = run.load_training()
    assert progress.update == 5 and same_bits(weights, random_tensors(5))


def test_removing_a_run_removes_nothing_else(run: Run) -> None:
    save(run, 5, best=True)
    for name in ("notes.txt", "checkpoints/mine.pt", "evaluation/mine.txt"):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_text("mine")
    run.remove()
    left = sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())
    assert left == ["checkpoints/mine.pt", "evaluation/mine.txt", "notes.txt"]
    assert not run.exists
    run.remove()
    Run(run.path / "never").remove()


def test_facts_that_cannot_be_read_are_named(run: Run) -> None:
    whole = json.loads((run.path / "run.json").read_bytes())
    wrong = [whole | {"parameters": "many"}, whole | {"git": 1}, {"command": []}, [whole]]
    for content in (b"{", b"\xff", b"", *(json.dumps(facts).encode() for facts in wrong)):
        (run.path / "run.json").write_bytes(content)
        with pytest.raises(InputError, match=rf"^{re.escape(str(run.path))}/run\.json: broken: "):
            run.facts()
    (run.path / "run.json").unlink()
    with pytest.raises(InputError, match=r"run\.json cannot be read: No such file"):
        run.facts()


# ---- events


def test_events_that_are_read_are_those_that_were_written(tmp_path: Path) -> None:
    happened: list[Event] = [updated(1), replace(validated(2, "ä\u2028"), loss=float("inf")), Ended(2, "all", 3.0)]
    reporter = Reporter(tmp_path / "metrics.jsonl", 0)
    for event in happened:
        reporter.write(event)
    assert read_events(tmp_path / "metrics.jsonl") == happened


def test_a_line_that_is_no_event_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    Reporter(path, 0).write(updated(5))
    good = path.read_bytes()
    for bad in (b"", b"{", b"[]", b"{}", b'{"event": ["a"]}', b'{"event": "born"}', b'{"event": "ended"}', b"\xff"):
        path.write_bytes(good + bad + b"\n" + good)
        for read in (read_events, lambda path: Reporter(path, 10)):
            with pytest.raises(InputError, match=f"^{re.escape(str(path))}, line 2: broken: "):
                read(path)
        assert path.read_bytes() == good + bad + b"\n" + good
    with pytest.raises(InputError, match="cannot be read"):
        read_events(tmp_path / "none")


def updated(update: int) -> Updated:
    return Updated(update, 0, 1.0, 1.0, 1e-3, 100.0)


def validated(update: int, sample: str = "") -> Validated:
    some: dict[str, Any] = {"int": 1, "float": 1.0, "float | None": None, "bool": True, "str": sample}
    return Validated(
        **{field.name: some[getattr(field.type, "__name__", str(field.type))] for field in fields(Validated)}
        | {"update": update}
    )


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_an_event_is_a_line(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path / "metrics.jsonl", 0)
    odd = 'ä😀\u2028\x85\r\n"\\'
    for event in (updated(1), validated(2, odd), Ended(2, "interrupted", 3.0)):
        reporter.write(event)
    found = events(tmp_path / "metrics.jsonl")
    assert [(event["event"], event["update"]) for event in found] == [("updated", 1), ("validated", 2), ("ended", 2)]
    assert found[1]["sample_source"] == odd and found[1]["perplexity"] == 1.0


def test_events_behind_the_resumed_update_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reporter = Reporter(path, 0)
    odd = "ä😀\u2028\x85\x0b\x1c"
    for event in (updated(5), validated(10, odd), Ended(10, "interrupted", 1.0), updated(15), validated(20, odd)):
        reporter.write(event)
    before = path.read_bytes().split(b"\n")
    reporter = Reporter(path, 10)
    assert path.read_bytes() == b"".join(line + b"\n" for line in before[:2])
    reporter.write(updated(15))
    assert [event["update"] for event in events(path)] == [5, 10, 15]
    Reporter(path, 0)
    assert path.read_bytes() == b""


def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reporter = Reporter(path, 0)
    reporter.write(updated(5))
    whole = path.read_bytes()
    reporter.write(validated(10, "ä"))
    for cut in (1, 3, 30):
        path.write_bytes(path.read_bytes()[:-cut])
        Reporter(path, 10)
        assert path.read_bytes() == whole
        Reporter(path, 10).write(validated(10, "ä"))


def test_metrics_may_be_missing(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path / "metrics.jsonl", 10)
    reporter.write(updated(11))
    assert len(events(tmp_path / "metrics.jsonl")) == 1
