"""The loop: what goes wrong in it loses no training, and what changes nothing of the past may change."""

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from nmt import hardware, optimisation, training
from nmt.checkpoint import load_tensors, save_tensors, weights_of
from nmt.config import load_config
from nmt.lines import file_digest, read_lines, write_lines
from nmt.preparation import Prepared, plan_epoch, prepare
from nmt.runs import Run
from tests.bench.kill_and_resume import kill_and_resume
from tests.place import MODELS, refused, told


@contextmanager
def each_loss(change: Callable[[int, Tensor], Tensor]) -> Iterator[None]:
    """The loss of an update is what `change` makes of its number and the loss."""
    gradient, loss = optimisation.Updater.gradient, optimisation.label_smoothed_loss
    at = [0]

    def numbered(self: optimisation.Updater, lines: Tensor, number: int, epoch: int) -> Any:
        at[0] = number
        return gradient(self, lines, number, epoch)

    def changed(*arguments: Any) -> tuple[Tensor, Tensor]:
        smoothed, plain = loss(*arguments)
        return change(at[0], smoothed), plain

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimisation.Updater, "gradient", numbered)
        patch.setattr(optimisation, "label_smoothed_loss", changed)
        yield


def no_number(loss: Tensor) -> Tensor:
    return loss * torch.nan


def no_slope(loss: Tensor) -> Tensor:
    """The same loss, whose gradient is infinite."""
    return loss + (loss - loss.detach()).sqrt()


def spoiling(*numbers: int, by: Callable[[Tensor], Tensor] = no_number) -> Any:
    return each_loss(lambda number, loss: by(loss) if number in numbers else loss)


def weights_at_end(run: Run) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in run.weights("last")[0].items()}


@pytest.fixture
def prepared(corpus: Path) -> Prepared:
    return prepare(load_config(corpus / "transformer.toml"), torch.device("cpu"))


# ---- loss or gradient that is not finite


@pytest.mark.parametrize("by", [no_number, no_slope])
def test_an_update_that_is_not_finite_changes_nothing(prepared: Prepared, by: Callable[[Tensor], Tensor]) -> None:
    updater, lines = optimisation.Updater(prepared), plan_epoch(prepared, 0)[0]

    def all_there_is() -> list[bytes]:
        tensors = [*weights_of(prepared.model).values(), *updater.state().values()]
        return [tensor.detach().numpy().tobytes() for tensor in tensors]

    with spoiling(1, 4, by=by):
        untrained = [tensor.detach().clone() for tensor in weights_of(prepared.model).values()]
        loss, norm, _ = updater.update(lines, 1, 0)
        assert not (loss.isfinite() and norm.isfinite())
        assert all(map(torch.equal, untrained, weights_of(prepared.model).values()))
        updater.update(lines, 2, 0)
        updater.update(lines, 3, 0)
        before = all_there_is()
        updater.update(lines, 4, 0)
        assert all_there_is() == before
        loss, norm, _ = updater.update(lines, 5, 0)
        assert loss.isfinite() and norm.isfinite() and all_there_is() != before


@pytest.mark.parametrize("name", MODELS)
def test_skipped_updates_are_counted_and_named_by_their_lines(corpus: Path, give: Any, name: str) -> None:
    plan = plan_epoch(prepare(load_config(corpus / f"{name}.toml"), torch.device("cpu")), 0)
    with spoiling(2, 4, by=no_slope):
        outcome = give("train", f"{name}.toml")
    assert outcome.code == 0 and "2 of them were skipped" in outcome.out and "update 4 is skipped" in outcome.out
    run = Run(corpus / "runs" / name)
    assert run.progress().skipped == 2 and run.progress().update == 12
    skipped = [event for event in told(run.metrics) if event["event"] == "skipped"]
    assert skipped == [
        {"event": "skipped", "update": number, "lines": sorted(line + 1 for line in plan[number - 1].tolist())}
        for number in (2, 4)
    ]


def test_too_many_in_a_row_end_a_training_that_can_go_on(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml", "training.updates=3", "--run", "runs/good").code == 0
    command = ["train", "rnn.toml", "training.updates=20", "training.validation_interval=3"]
    with spoiling(*range(4, 30)):
        outcome = give(*command)
    assert outcome.code == 2 and "Traceback" not in outcome.error
    assert "10 updates in a row were skipped" in outcome.error and "learning_rate" in outcome.error
    run, good = Run(corpus / "runs" / "rnn"), Run(corpus / "runs" / "good")
    lines = [event["lines"] for event in told(run.metrics) if event["event"] == "skipped"]
    assert len(lines) == 10 and ", ".join(map(str, lines[-1])) in outcome.error
    assert run.progress().update == 13 and run.progress().skipped == 10
    weights = {name: tensor.numpy().tobytes() for name, tensor in run.load_training()[1].items()}
    assert weights == weights_at_end(good)
    with spoiling(*range(4, 23)):  # it tries as many again, and here there are 7
        assert give(*command).code == 0
    assert run.progress().skipped == 17 and run.progress().finished


def test_an_interruption_changes_nothing_of_what_is_skipped(corpus: Path, give: Any) -> None:
    with spoiling(2, 3, 7, 12):
        assert give("train", "rnn.toml", "--run", "runs/unbroken").code == 0
        for updates in ("1", "2", "7", "8", "12"):
            assert give("train", "rnn.toml", f"training.updates={updates}", "--run", "runs/broken").code == 0
    unbroken, broken = Run(corpus / "runs" / "unbroken"), Run(corpus / "runs" / "broken")
    assert weights_at_end(unbroken) == weights_at_end(broken)
    assert [e for e in told(unbroken.metrics) if e["event"] == "skipped"] == [
        e for e in told(broken.metrics) if e["event"] == "skipped"
    ]


# ---- keys that may change


@pytest.mark.parametrize("name", MODELS)
def test_more_updates_end_as_if_they_had_been_asked_for_at_once(corpus: Path, give: Any, name: str) -> None:
    assert give("train", f"{name}.toml", "--run", "runs/at-once").code == 0
    assert give("train", f"{name}.toml", "training.updates=10", "--run", "runs/later").code == 0
    outcome = give("train", f"{name}.toml", "training.updates=10", "--run", "runs/later")
    assert "is finished" in outcome.out and "training.updates" in outcome.out
    outcome = give("train", f"{name}.toml", "training.updates=12", "--run", "runs/later")
    assert outcome.code == 0 and "from update 10 on" in outcome.out
    at_once, later = Run(corpus / "runs" / "at-once"), Run(corpus / "runs" / "later")
    assert weights_at_end(at_once) == weights_at_end(later) and later.config() == at_once.config()
    steps = [[event for event in told(run.metrics) if event["event"] == "validated"] for run in (at_once, later)]
    for events in steps:
        for event in events:
            del event["best"]  # of the later one, the mean of the checkpoints until update 10 was one to beat
    assert steps[0] == steps[1]


def test_keys_that_change_nothing_of_the_past_may_change(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml", "training.updates=6").code == 0
    free = [
        "updates=9",
        "max_target_tokens=9999",
        "max_minutes=9",
        "validation_interval=2",
        "patience=3",
        "average_last=1",
        "accumulation=2",
    ]
    outcome = give("train", "rnn.toml", *(f"training.{key}" for key in free), "search.max_tokens=100")
    assert outcome.code == 0
    run = Run(corpus / "runs" / "rnn")
    assert run.progress().update == 9 and run.config().training.patience == 3 and run.checkpoints() == 1
    refused(give("train", "rnn.toml", "training.updates=8"), "training.updates = 8", "has done 9 already")
    refused(give("train", "rnn.toml", "training.updates=10", "training.seed=2"), "training.seed: 1 → 2")
    for key in ("search.beam_size=3", "training.best_by='loss'", "training.learning_rate=1e-3", "data.max_length=50"):
        outcome = give("train", "rnn.toml", "training.updates=10", key)
        refused(outcome, key.partition("=")[0])
        assert "updates:" not in outcome.error


def test_a_cosine_schedule_holds_the_updates_fast(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml", "training.schedule='cosine'").code == 0
    refused(
        give("train", "rnn.toml", "training.schedule='cosine'", "training.updates=20"),
        "training.updates: 12 → 20 (by the cosine schedule",
    )


PLATEAU = [f"training.{key}" for key in ("schedule='plateau'", "validation_interval=2", "warmup_updates=2")]


def rates(run: Run) -> list[float]:
    """The learning rate of each validation, over its peak."""
    return [event.learning_rate / 5e-3 for event in run.validations()]


def test_the_learning_rate_falls_when_validations_get_no_better(corpus: Path, give: Any) -> None:
    figures = iter([9.0, 1.0, 3.0, 2.0, 3.0, 3.0, 4.0, 1.0, 1.0, 1.0, 1.0, 0.0])

    def validated(prepared: Prepared) -> Any:
        found = whole(prepared)
        return replace(found, bleu=replace(found.bleu, value=next(figures)))

    whole = training.validate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "validate", validated)
        command = ["train", "rnn.toml", *PLATEAU, "training.warmup_updates=4"]
        assert give(*command, "training.updates=22", "training.plateau_patience=2").code == 0
    # Of the warm-up none counts, then 1, 3, and no better ones: 2, 3; 3 after the fall; 4; 1, 1; 1, 1 after it.
    expected = [0.5, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert rates(Run(corpus / "runs" / "rnn")) == pytest.approx(expected)


def test_a_plateau_is_found_alike_in_one_sitting_and_in_several(corpus: Path, give: Any) -> None:
    command = ["train", "rnn.toml", *PLATEAU, "training.plateau_patience=1"]
    assert give(*command, "--run", "runs/at-once").code == 0
    for updates in (1, 5, 8, 12):
        assert give(*command, f"training.updates={updates}", "--run", "runs/later").code == 0
    at_once, later = Run(corpus / "runs" / "at-once"), Run(corpus / "runs" / "later")
    assert 2 <= at_once.progress().falls == later.progress().falls
    assert weights_at_end(at_once) == weights_at_end(later)
    outcome = give(*command, "training.updates=14", "training.validation_interval=3", "--run", "runs/later")
    refused(outcome, "training.validation_interval: 2 → 3 (by the plateau schedule")


# ---- budgets


def ended(run: Run) -> dict[str, Any]:
    return told(run.metrics)[-1]


@pytest.mark.parametrize("name", MODELS)
def test_a_budget_of_tokens_ends_a_training_with_the_update_that_reaches_it(corpus: Path, give: Any, name: str) -> None:
    prepared = prepare(load_config(corpus / f"{name}.toml"), torch.device("cpu"))
    first = [int((prepared.corpus.lengths[lines, 1] + 1).sum()) for lines in plan_epoch(prepared, 0)[:3]]
    assert give("train", f"{name}.toml", "training.updates=3", "--run", "runs/by-updates").code == 0
    command = ["train", f"{name}.toml", f"training.max_target_tokens={sum(first) - 1}"]
    assert "target tokens (about 3), whichever comes first" in give(*command, "--dry-run").out
    outcome = give(*command)
    assert outcome.code == 0 and "not all 12 updates were done" in outcome.out
    run, by_updates = Run(corpus / "runs" / name), Run(corpus / "runs" / "by-updates")
    assert run.progress().tokens == sum(first) and run.weights("last")[1] == 3
    assert weights_at_end(run) == weights_at_end(by_updates)
    assert ended(run)["reason"] == f"{sum(first):,} target tokens trained on"
    outcome = give(*command)
    assert "is finished" in outcome.out and "raise training.max_target_tokens" in outcome.out
    assert give("train", f"{name}.toml", "--run", "runs/by-updates").code == 0
    assert give("train", f"{name}.toml").code == 0  # without that end
    assert run.progress().update == 12 and weights_at_end(run) == weights_at_end(by_updates)


def test_a_budget_of_minutes_counts_all_sittings(corpus: Path, give: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count(0.0, 1.0)
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))  # a second a look
    command = ["train", "rnn.toml", "training.updates=1000", "training.max_minutes=0.5"]
    assert "or 0.5 minutes, whichever comes first" in give(*command, "--dry-run").out
    outcome = give(*command)
    assert outcome.code == 0 and "0.5 minutes over (training.max_minutes)" in outcome.out
    run = Run(corpus / "runs" / "rnn")
    at_once = run.progress()
    assert at_once.update < 1000 and 30 <= at_once.seconds < 45 and run.weights("last")[1] == at_once.update
    assert run.validations()[-1].remaining == 0 < run.validations()[0].remaining
    assert ended(run)["reason"] == "0.5 minutes over"
    assert "raise training.max_minutes" in give(*command).out
    assert give("train", "rnn.toml", "training.updates=3", "--run", "runs/later").code == 0
    assert give(*command, "--run", "runs/later").code == 0
    later = Run(corpus / "runs" / "later").progress()
    assert 3 < later.update <= at_once.update and 30 <= later.seconds < 45
    assert give(*command, "training.max_minutes=1").code == 0
    assert 60 <= run.progress().seconds < 75 and run.progress().update > at_once.update


def test_a_cosine_schedule_that_a_budget_cuts_is_noted(corpus: Path, give: Any) -> None:
    command = ["train", "rnn.toml", "training.schedule='cosine'", "--dry-run"]
    assert "cosine schedule reaches" not in give(*command).out
    assert "cosine schedule reaches 0 at training.updates" in give(*command, "training.max_minutes=5").out


# ---- another run's weights


def test_a_run_begins_with_the_best_weights_of_another_and_needs_it_no_more(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml", "subwords.kind='bpe'").code == 0
    first = Run(corpus / "runs" / "rnn")
    best = {name: tensor.numpy().tobytes() for name, tensor in first.weights("best")[0].items()}
    keys = [
        "training.init_from='runs/rnn'",
        "subwords.kind='bpe'",
        "training.seed=5",
        "model.dropout=0.1",
        "model.word_dropout=0.1",
    ]
    command = ["train", "rnn.toml", *keys, "data.train={source='valid.de', target='valid.en'}"]
    outcome = give(*command, "--run", "runs/at-once")
    assert outcome.code == 0 and re.search(r"^weights +those of runs/rnn/.*of update \d+$", outcome.out, re.MULTILINE)
    later, at_once = Run(corpus / "runs" / "later"), Run(corpus / "runs" / "at-once")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):  # before the first update
        patch.setattr(optimisation.Updater, "update", lambda *_: 1 / 0)
        give(*command, "--run", "runs/later")
    assert {name: tensor.numpy().tobytes() for name, tensor in later.load_training()[1].items()} == best
    told_of = give("evaluate", "runs/at-once", "--test", "plain", "--heatmaps", "0").out
    assert "began with another run's weights, whose training is not counted" in told_of
    started = at_once.facts().initial
    assert started and started.sha256 == file_digest(corpus / "runs" / "rnn" / "checkpoints" / "best.safetensors")
    assert at_once.subwords().digest() == first.subwords().digest()
    shutil.rmtree(first.path)
    outcome = give(*command, "--run", "runs/later")
    assert outcome.code == 0 and "from update 0 on" in outcome.out
    assert weights_at_end(later) == weights_at_end(at_once)
    assert give(*command, "training.updates=14", "--run", "runs/later").code == 0
    refused(give(*command, "--overwrite", "--run", "runs/later"), "training.init_from", first.path, "not a run")


LATER_KEYS = {
    *("attention_dropout", "word_dropout", "activation", "positions", "max_positions", "plateau_factor"),
    *("plateau_patience", "max_target_tokens", "max_minutes", "init_from", "byte_fallback", "user_symbols", "tracker"),
}
LATER_PROGRESS = {"plateau_best", "plateau_waited", "falls"}


@pytest.mark.parametrize("name", MODELS)
def test_a_run_of_before_keys_came_goes_on_as_ever(corpus: Path, give: Any, name: str) -> None:
    assert give("train", f"{name}.toml", "--run", "runs/now").code == 0
    assert give("train", f"{name}.toml", "training.updates=10", "--run", "runs/then").code == 0
    now, then = Run(corpus / "runs" / "now"), Run(corpus / "runs" / "then")
    lines = read_lines(then.path / "config.toml")
    table = lines.index("[subwords.model]")
    del lines[table : table + 3]
    write_lines(then.path / "config.toml", [line for line in lines if line.partition(" ")[0] not in LATER_KEYS])
    for file in (then.path / "checkpoints").glob("*.safetensors"):
        tensors, notes = load_tensors(file)
        model = {key: value for key, value in notes.get("model", {}).items() if key not in LATER_KEYS}
        notes = {key: value for key, value in notes.items() if key not in LATER_PROGRESS}
        save_tensors(file, tensors, notes | ({"model": model} if "model" in notes else {}))
    facts = json.loads((then.path / "run.json").read_text(encoding="utf-8"))
    del facts["initial"]
    (then.path / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    assert give("translate", "runs/then", stdin=corpus / "plain.de").code == 0
    assert give("train", f"{name}.toml", "--run", "runs/then").code == 0
    assert weights_at_end(then) == weights_at_end(now) and then.config() == now.config()


def test_weights_that_do_not_fit_are_refused(corpus: Path, give: Any) -> None:
    assert give("train", "transformer.toml").code == 0
    command = ["train", "transformer.toml", "training.init_from='runs/transformer'", "--run", "runs/tuned"]
    for key in (
        "model.heads=4",
        "model.norm='post'",
        "model.activation='gelu'",
        "subwords.vocabulary_size=61",
        "subwords.joint=false",
    ):
        refused(give(*command, key), "training.init_from", f"\n  {key.partition('=')[0]}: ", "→")
    refused(give("train", "rnn.toml", "training.init_from='runs/transformer'"), 'model.kind: "transformer" → "rnn"')
    refused(give(*command, "subwords.model='a'"), "subwords.model gives others")
    refused(give(*command[:-1], "runs/transformer", "--overwrite"), "is this run itself")
    assert not (corpus / "runs" / "tuned").exists()
    for file in (corpus / "runs" / "transformer" / "checkpoints").glob("*"):
        file.unlink()
    refused(give(*command), "training.init_from", corpus / "runs" / "transformer", "has no checkpoint")


# ---- files that have moved


def test_the_data_may_have_moved_but_not_changed(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml", "training.updates=4").code == 0
    (corpus / "elsewhere").mkdir()
    for name in ("train", "valid", "plain", "nasty"):
        for side in ("de", "en"):
            (corpus / f"{name}.{side}").rename(corpus / "elsewhere" / f"{name}.{side}")
    text = (corpus / "rnn.toml").read_text(encoding="utf-8")
    (corpus / "moved.toml").write_text(re.sub(r'"(\w+\.(de|en))"', r'"elsewhere/\1"', text), encoding="utf-8")
    command = ["train", "moved.toml", "--run", "runs/rnn"]
    changed = corpus / "elsewhere" / "valid.en"
    lines = read_lines(changed)
    write_lines(changed, lines[::-1])
    refused(give(*command), changed, "has changed since", "--overwrite")
    write_lines(changed, lines)
    assert give(*command).code == 0
    assert Run(corpus / "runs" / "rnn").progress().update == 12


def test_a_run_with_given_subwords_holds_them_and_notes_their_sum(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml", "training.updates=4", "subwords.kind='bpe'").code == 0
    given = corpus / "given.model"
    given.write_bytes((corpus / "runs" / "rnn" / "subwords" / "subwords.model").read_bytes())
    command = ["train", "rnn.toml", "subwords={model='given.model'}", "--run", "runs/given"]
    outcome = give(*command, "training.updates=4")
    assert outcome.code == 0 and "subwords bpe, 60 pieces, joint" in outcome.out
    run = Run(corpus / "runs" / "given")
    assert weights_at_end(run) == weights_at_end(Run(corpus / "runs" / "rnn"))
    assert run.facts().data["subwords.model.target"].sha256 == file_digest(given)
    outcome = give(*command, "subwords.sampling=2", "--overwrite")
    assert outcome.code == 2 and "subwords.sampling = 2" in outcome.error and "of kind bpe" in outcome.error
    whole = given.read_bytes()
    given.write_bytes(whole + whole[-4:])
    refused(give(*command), given, "has changed since")
    given.unlink()
    refused(give(*command), given)
    (corpus / "moved.model").write_bytes(whole)
    command[2] = "subwords={model='moved.model'}"
    assert give(*command).code == 0 and run.progress().update == 12
    assert give("translate", "runs/given", stdin=corpus / "plain.de").code == 0


def test_going_on_elsewhere_is_noted(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml", "training.updates=4").code == 0
    assert "may differ" not in give("train", "rnn.toml", "training.updates=5").out
    facts = corpus / "runs" / "rnn" / "run.json"
    facts.write_text(facts.read_text(encoding="utf-8").replace("torch ", "torch 1"), encoding="utf-8")
    outcome = give("train", "rnn.toml", "training.updates=6")
    assert outcome.code == 0 and re.search(r"^note +the run began with python .* torch 1", outcome.out, re.MULTILINE)


def test_a_run_that_lost_a_file_is_not_started_anew(corpus: Path, give: Any) -> None:
    run = corpus / "runs" / "rnn"
    for name in ("config.toml", "checkpoints/training.safetensors"):
        assert give("train", "rnn.toml", "--overwrite").code == 0
        (run / name).unlink()
        left = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        refused(give("train", "rnn.toml"), run, Path(name).name, "--overwrite")
        assert left == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert give("train", "rnn.toml", "--overwrite").code == 0


def test_a_run_that_cannot_go_on_keeps_its_config(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml", "training.updates=4").code == 0
    run = corpus / "runs" / "rnn"
    before, broken = (run / "config.toml").read_bytes(), run / "checkpoints" / "training.safetensors"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    outcome = give("train", "rnn.toml", "training.updates=6")
    assert outcome.code == 2 and str(broken) in outcome.error
    assert (run / "config.toml").read_bytes() == before
    broken.write_bytes(whole)
    assert give("train", "rnn.toml", "training.updates=6").code == 0
    assert Run(run).config().training.updates == 6


def test_keys_may_stand_behind_options(corpus: Path, give: Any) -> None:
    outcome = give("train", "--device", "cpu", "rnn.toml", "--threads", "1", "training.updates=2")
    assert outcome.code == 0 and Run(corpus / "runs" / "rnn").progress().update == 2


def test_fewer_updates_end_with_a_checkpoint_of_where_they_end(corpus: Path, give: Any) -> None:
    with each_loss(lambda number, loss: loss if number < 8 else raise_out_of_memory()):
        assert give("train", "rnn.toml").code == 2
    assert give("train", "rnn.toml", "training.updates=7").code == 0
    run = Run(corpus / "runs" / "rnn")
    assert run.progress().finished and run.weights("last")[1] == 7


# ---- a validation that fails


def test_a_validation_that_fails_does_not_end_a_training(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml", "--run", "runs/good").code == 0
    calls = []

    def second_fails(prepared: Prepared) -> Any:
        calls.append(1)
        if len(calls) == 2:
            prepared.model.eval()
            raise ZeroDivisionError("of all things")
        return whole(prepared)

    whole = training.validate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "validate", second_fails)
        outcome = give("train", "rnn.toml")
    assert outcome.code == 0 and "ZeroDivisionError: of all things (test_training.py, line" in outcome.out
    run, good = Run(corpus / "runs" / "rnn"), Run(corpus / "runs" / "good")
    assert weights_at_end(run) == weights_at_end(good)
    events = [(event["event"], event["update"]) for event in told(run.metrics)]
    assert events == [("validated", 5), ("warned", 10), ("validated", 12), ("averaged", 12), ("ended", 12)]


def test_a_broken_old_checkpoint_keeps_no_training_from_its_end(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml").code == 0
    old = corpus / "runs" / "rnn" / "checkpoints" / "weights-00000012.safetensors"
    old.write_bytes(old.read_bytes()[:-9])
    outcome = give("train", "rnn.toml", "training.updates=14")
    assert outcome.code == 0 and f"is left out: {old}" in outcome.out
    assert Run(corpus / "runs" / "rnn").progress().finished


def test_a_training_without_a_validation_says_how_to_use_it(corpus: Path, give: Any) -> None:
    def fails(prepared: Prepared) -> Any:
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "validate", fails)
        outcome = give("train", "rnn.toml")
    assert outcome.code == 0 and "no validation succeeded" in outcome.out
    refused(give("translate", "runs/rnn", stdin=corpus / "plain.de"), "no best checkpoint", "--checkpoint last")
    assert give("translate", "runs/rnn", "--checkpoint", "last", stdin=corpus / "plain.de").code == 0


# ---- memory


def raise_out_of_memory() -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_where_memory_runs_out_the_shape_is_told_and_the_training_goes_on_in_parts(corpus: Path, give: Any) -> None:
    with each_loss(lambda number, loss: loss if number < 8 else raise_out_of_memory()):
        outcome = give("train", "rnn.toml")
    assert outcome.code == 2 and "Traceback" not in outcome.error
    assert re.search(r"update 8: \d+ pairs of at most \d+ and \d+ pieces do not fit", outcome.error)
    assert "training.accumulation" in outcome.error and "saved at update 7" in outcome.error
    outcome = give("train", "rnn.toml", "training.accumulation=3")
    assert outcome.code == 0 and "from update 7 on" in outcome.out


def test_memory_that_will_not_do_is_told_before_it_is_tried(
    corpus: Path, give: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "will take about" not in give("train", "rnn.toml", "--run", "runs/enough").out
    monkeypatch.setattr(hardware, "free_memory", lambda device: 1000)
    outcome = give("train", "rnn.toml", "--dry-run")
    assert outcome.code == 0 and "0 MiB are free" in outcome.out and "expected" not in outcome.out
    outcome = give("train", "rnn.toml")
    assert outcome.code == 0 and re.search(r"^warning  the largest update, \d+ pairs", outcome.out, re.MULTILINE)
    one, other = Run(corpus / "runs" / "enough"), Run(corpus / "runs" / "rnn")
    assert weights_at_end(one) == weights_at_end(other) and told(one.metrics) == told(other.metrics)


def test_a_model_that_does_not_fit_into_memory_is_refused(corpus: Path, give: Any) -> None:
    outcome = give("train", "transformer.toml", "model.size=100000000000")
    assert outcome.code == 2 and "does not fit into memory" in outcome.error and "[model]" in outcome.error
    assert not (corpus / "runs" / "transformer" / "config.toml").exists()


def test_a_pipe_of_training_text_is_refused(corpus: Path, give: Any) -> None:
    os.mkfifo(corpus / "pipe")
    for key in ("train", "valid", "test.plain"):
        outcome = give("train", "rnn.toml", f"data.{key}.source='pipe'")
        assert outcome.code == 2 and f"data.{key}.source: {corpus / 'pipe'} is no plain file" in outcome.error


def test_one_file_on_both_sides_is_noted(corpus: Path, give: Any) -> None:
    outcome = give("train", "rnn.toml", "data.train.target='train.de'", "--dry-run")
    assert outcome.code == 0 and "are the same file" in outcome.out


def test_memory_is_measured_while_it_is_held() -> None:
    cpu, size = torch.device("cpu"), 200 * 2**20
    taken = hardware.memory_of(lambda: torch.ones(size, dtype=torch.uint8), cpu)
    free = hardware.free_memory(cpu)
    if os.path.exists("/proc/meminfo"):
        assert taken is not None and size * 0.95 < taken < size * 1.5
        assert free is not None and free > 0
    else:
        assert taken is None and free is None


def test_a_container_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:   8000 kB\n")
    monkeypatch.setattr(hardware, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(hardware, "CGROUP", tmp_path)
    cpu = torch.device("cpu")
    assert hardware.free_memory(cpu) == 8000 * 1024
    (tmp_path / "memory.current").write_text("1000000\n")
    for limit, free in (("max", 8000 * 1024), ("1500000", 500_000), ("99999999999", 8000 * 1024)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert hardware.free_memory(cpu) == free
    monkeypatch.setattr(hardware, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(hardware, "CGROUP", tmp_path / "none")
    assert hardware.free_memory(cpu) is None


# ---- kills


@pytest.mark.slow
def test_killed_trainings_end_as_ones_left_alone(tmp_path: Path) -> None:
    assert kill_and_resume(tmp_path, 6, random.Random(1)) == 0
