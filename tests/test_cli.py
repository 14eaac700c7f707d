"""The commands from end to end, as a user gives them: what they print, write, refuse, and how they go on."""

import errno
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt import optimisation, presentation, runs, scores, training
from nmt.checkpoint import load_tensors
from nmt.lines import read_lines, write_lines
from tests.place import CONFIG, MODELS, NASTY, Place, refused, told

REPOSITORY = Path(__file__).parent.parent


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- train


def test_a_training_leaves_a_run(place: Place) -> None:
    for name in MODELS:
        run = runs.Run(place.path / "runs" / name)
        assert run.exists and run.progress().finished and run.progress().update == 12
        assert {path.name for path in (run.path / "checkpoints").iterdir()} == {
            "best.safetensors",
            "training.safetensors",
            "weights-00000010.safetensors",
            "weights-00000012.safetensors",
        }
        facts = run.facts()
        assert facts.training_pairs == 120 and facts.data["train.source"].file == str(place.path / "train.de")
        assert facts.data["train.source"].sha256 == hashlib.sha256((place.path / "train.de").read_bytes()).hexdigest()
        assert facts.versions["torch"] == torch.__version__
        assert facts.git is None or len(facts.git.commit) == 40  # None: the code was unpacked from an archive
        happened = [json.loads(line) for line in run.metrics.read_bytes().split(b"\n")[:-1]]
        assert [(event["event"], event["update"]) for event in happened] == [
            ("validated", 5),
            ("validated", 10),
            ("validated", 12),
            ("averaged", 12),
            ("ended", 12),
        ]


def test_a_finished_run_says_so(place: Place, give: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(place.path / "runs")
    outcome = give("train", *(f"{name}.toml" for name in MODELS))
    assert outcome.code == 0 and outcome.error == ""
    for name in MODELS:
        assert f"runs/{name} is finished: 12 updates" in outcome.out
    assert contents(place.path / "runs") == before


def test_another_config_is_refused_and_its_keys_named(place: Place, give: Any) -> None:
    before = contents(place.path / "runs")
    outcome = give("train", "rnn.toml", "training.seed=3", "model.dropout=0")
    refused(outcome, place.path / "runs" / "rnn", "training.seed: 1 → 3", "model.dropout: 0.2 → 0.0", "--overwrite")
    assert "updates" not in outcome.error
    refused(give("train", "rnn.toml", "--run", "runs/transformer"), place.path / "runs" / "transformer", "model.kind")
    assert contents(place.path / "runs") == before


def test_changed_training_text_is_refused(corpus: Path, give: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 3)
        assert give("train", "rnn.toml").code == 130
    lines = read_lines(corpus / "train.en")
    write_lines(corpus / "train.en", [*lines[:-1], lines[-1] + "."])
    refused(give("train", "rnn.toml"), corpus / "train.en", "changed", "--overwrite")


def test_overwrite_starts_anew(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml").code == 0
    first = contents(corpus / "runs")
    outcome = give("train", "rnn.toml", "training.updates=5", "--overwrite")
    assert outcome.code == 0 and "done     5 updates" in outcome.out
    run = runs.Run(corpus / "runs" / "rnn")
    assert run.progress().update == 5 and run.config().training.updates == 5
    assert [path.name for path in sorted((run.path / "checkpoints").glob("weights-*"))] == [
        "weights-00000005.safetensors"
    ]
    outcome = give("train", "rnn.toml", "--overwrite")
    assert outcome.code == 0
    again = contents(corpus / "runs")
    assert again.keys() == first.keys()
    for name in again:  # and gives the same weights again
        if name.endswith("best.safetensors") or "weights-" in name or "subwords" in name or name.endswith(".toml"):
            assert again[name] == first[name], name


def test_a_dry_run_reports_and_writes_no_run(corpus: Path, give: Any) -> None:
    write_lines(corpus / "train.de", [*read_lines(corpus / "train.de"), "", "der"])
    write_lines(corpus / "train.en", [*read_lines(corpus / "train.en"), "the", "the " * 200])
    for name in MODELS:
        outcome = give("train", f"{name}.toml", "--dry-run")
        assert outcome.code == 0 and outcome.error == ""
        for said in (
            "120 training pairs",
            "dropped 2: 1 empty, 1 longer than 100 pieces",
            "pieces",
            "unknown in validation",
            "parameters",
            "an epoch",
            "padding",
            "peak memory",
            "expected",
            "nothing was written",
        ):
            assert said in outcome.out
        assert re.search(r"^note +the joint vocabulary shrank from 60 to \d+", outcome.out, re.MULTILINE)
        assert re.search(
            r"^note +\d+ of 25 sources of the test set plain also stand in the training text", outcome.out, re.M
        )
    assert not (corpus / "runs").exists()


def test_runs_go_where_they_are_told(corpus: Path, give: Any) -> None:
    outcome = give("train", "rnn.toml", "training.updates=2", "--run", "else where/ü")
    assert outcome.code == 0 and not (corpus / "runs").exists()
    run = runs.Run(corpus / "else where" / "ü")
    assert run.progress().update == 2
    assert tomllib.loads((run.path / "config.toml").read_text(encoding="utf-8"))["training"]["updates"] == 2


def test_a_config_with_an_equals_sign_in_its_path_is_no_key(corpus: Path, give: Any) -> None:
    shutil.copy(corpus / "rnn.toml", corpus / "a=b.toml")
    assert give("train", "./a=b.toml", "training.updates=1").code == 0
    assert runs.Run(corpus / "runs" / "a=b").progress().update == 1


def stop_at(patch: pytest.MonkeyPatch, update: int, number: int = signal.SIGINT, times: int = 1) -> None:
    """The process gets a signal within an update."""
    before = optimisation.Updater.update

    def stopping(self: optimisation.Updater, lines: torch.Tensor, at: int, epoch: int, falls: int) -> Any:
        done = before(self, lines, at, epoch, falls)
        if at == update:
            for _ in range(times):
                os.kill(os.getpid(), number)
        return done

    patch.setattr(optimisation.Updater, "update", stopping)


@pytest.mark.parametrize(
    ("name", "number"), [("rnn", signal.SIGINT), ("transformer", signal.SIGTERM), ("plain", signal.SIGHUP)]
)
def test_an_interrupted_training_ends_as_an_unbroken_one(corpus: Path, give: Any, name: str, number: int) -> None:
    command = ["train", f"{name}.toml", "--device", "cpu"]
    handlers = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    with pytest.MonkeyPatch.context() as every:
        every.setattr(training, "REPORT_INTERVAL", 4)
        assert give(*command, "--run", "runs/unbroken").code == 0
        # Before the first validation, at one, before the report of a loss, and at the very next update.
        for update in (1, 5, 7, 8):
            with pytest.MonkeyPatch.context() as patch:
                stop_at(patch, update, number)
                outcome = give(*command)
            assert outcome.code == 128 + number
            assert "stopped and saved in" in outcome.out and shlex.join(command) in outcome.out
            progress = runs.Run(corpus / "runs" / name).progress()
            assert progress.update == update and not progress.finished
            assert told(corpus / "runs" / name / "metrics.jsonl")[-1]["reason"] == "interrupted"
        outcome = give(*command)
        assert outcome.code == 0 and "from update 8 on" in outcome.out
    assert handlers == [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    unbroken, broken = (runs.Run(corpus / "runs" / run) for run in ("unbroken", name))
    files = sorted(path.name for path in (unbroken.path / "checkpoints").iterdir())
    assert files == sorted(path.name for path in (broken.path / "checkpoints").iterdir())
    for file in files:
        tensors, others = (load_tensors(run.path / "checkpoints" / file)[0] for run in (unbroken, broken))
        assert tensors.keys() == others.keys()
        for key, tensor in tensors.items():
            assert tensor.numpy().tobytes() == others[key].numpy().tobytes(), (file, key)
    assert told(unbroken.metrics) == told(broken.metrics)
    assert len(told(broken.metrics)) == 8
    reached = broken.progress()
    assert (reached.tokens, reached.best, reached.best_update, reached.epoch, reached.position) == tuple(
        getattr(unbroken.progress(), key) for key in ("tokens", "best", "best_update", "epoch", "position")
    )


def test_a_second_interrupt_stops_at_once(corpus: Path, give: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 7, times=2)
    assert give("train", "rnn.toml").code == 130
    assert runs.Run(corpus / "runs" / "rnn").progress().update == 5  # the last checkpoint


def test_a_training_that_died_goes_on_from_its_last_checkpoint(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml", "--run", "runs/unbroken").code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "REPORT_INTERVAL", 3)
        stop_at(patch, 8, times=2)
        assert give("train", "rnn.toml").code == 130
    assert give("train", "rnn.toml").code == 0
    weights, others = (runs.Run(corpus / "runs" / run).weights("last")[0] for run in ("unbroken", "rnn"))
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    happened = [event["update"] for event in told(corpus / "runs" / "rnn" / "metrics.jsonl")]
    assert happened == sorted(happened) and happened[-4:] == [10, 12, 12, 12]


def test_two_trainings_cannot_write_one_run(corpus: Path, give: Any) -> None:
    run = runs.Run(corpus / "runs" / "rnn")
    with run.locked(pytest.fail):
        refused(give("train", "rnn.toml"), run.path, "another training", "--run")
        assert give("train", "rnn.toml", "--dry-run").code == 0
        assert list(run.path.iterdir()) == []
    assert not run.path.exists()  # nothing was written there
    assert give("train", "rnn.toml").code == 0
    with run.locked(pytest.fail):
        refused(give("train", "rnn.toml", "--overwrite"), run.path, "another training")
        assert give("score", "runs/rnn", "--source", "plain.de", "--target", "plain.en").code == 0  # reading is free
    assert run.progress().finished


def test_a_file_system_without_locks_is_told_of(corpus: Path, give: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(runs.fcntl, "flock", flock)
    outcome = give("train", "rnn.toml")
    assert outcome.code == 0 and "cannot be locked" in outcome.error


def test_what_a_killed_training_left_half_is_cleared_away(corpus: Path, give: Any) -> None:
    assert give("train", "rnn.toml").code == 0
    folder = corpus / "runs" / "rnn"
    left = [folder / "checkpoints" / ".training.safetensors.123", folder / ".metrics.jsonl.45"]
    mine = [folder / "checkpoints" / ".training.safetensors.bak", folder / ".gitignore.1", folder / "notes.txt"]
    for path in left + mine:
        path.write_text("half")
    assert give("train", "rnn.toml").code == 0
    assert not any(path.exists() for path in left) and all(path.exists() for path in mine)


def test_training_stops_early_and_says_why(corpus: Path, give: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["training.updates=100", "training.validation_interval=1", "training.patience=2", "training.best_by='loss'"]
    outcome = give("train", "rnn.toml", *keys, "training.learning_rate=1e-30")
    assert outcome.code == 0 and re.search(r"done +\d+ updates .*best validation loss", outcome.out)
    run = runs.Run(corpus / "runs" / "rnn")
    assert run.progress().finished and run.progress().update < 100
    assert told(run.metrics)[-1]["reason"] == "no better validation in 2"
    assert "is finished" in give("train", "rnn.toml", *keys, "training.learning_rate=1e-30").out


def test_subwords_of_either_kind_train(corpus: Path, give: Any) -> None:
    outcome = give("train", "transformer.toml", "subwords.joint=false", "subwords.kind='bpe'", "training.updates=2")
    assert outcome.code == 0 and "one model a side" in outcome.out
    assert give("score", "runs/transformer", "--source", "nasty.de", "--target", "nasty.en").code == 0


# ---- translate, score, align


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("checkpoint", ["best", "last", "average"])
def test_a_translation_a_line(place: Place, give: Any, name: str, checkpoint: str) -> None:
    outcome = give("translate", f"runs/{name}", "--checkpoint", checkpoint, stdin=place.path / "nasty.de")
    assert outcome.code == 0
    assert len(outcome.lines) == len(NASTY)
    for source, translation in zip(NASTY, outcome.lines, strict=True):
        assert translation == "" or source.strip()
    assert any(outcome.lines)
    # a line is translated as it would be alone, up to rounding: here, the same as in another order
    write_lines(place.path / "reversed.de", NASTY[::-1])
    again = give("translate", f"runs/{name}", "--checkpoint", checkpoint, stdin=place.path / "reversed.de")
    assert again.lines == outcome.lines[::-1]


def test_translations_are_utf_8_whatever_the_locale(place: Place, give: Any) -> None:
    usual = give("translate", "runs/transformer", stdin=place.path / "nasty.de")
    odd = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}
    lines = (place.path / "nasty.de").read_bytes()
    assert place.run("translate", "runs/transformer", given=lines, **odd) == usual
    shown = place.run("keys", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert shown.code == 0 and "≥" in shown.out
    refused(place.run("train", "ü.toml", PYTHONIOENCODING="latin-1"), place.path / "ü.toml")
    refused(place.run("train", "\udcff.toml"), str(place.path) + "/\\udcff.toml")  # a name that is not UTF-8


@pytest.mark.parametrize(
    ("given", "lines"),
    [(b"", 0), (b"\n", 1), (b"\n\n", 2), (b"der", 1), (b"der\nHund", 2), (b"\xef\xbb\xbfder\r\nHund\r\n", 2)],
)
def test_input_of_every_shape_is_translated(place: Place, give: Any, given: bytes, lines: int) -> None:
    (place.path / "given").write_bytes(given)
    outcome = give("translate", "runs/rnn", stdin=place.path / "given")
    assert outcome.code == 0 and len(outcome.lines) == lines
    write_lines(place.path / "same", given.decode("utf-8-sig").replace("\r", "").splitlines())
    assert give("translate", "runs/rnn", stdin=place.path / "same") == outcome


def test_bytes_that_are_no_text_are_named_by_line(place: Place, give: Any) -> None:
    (place.path / "given").write_bytes(b"der\nHund\n\xff\n")
    outcome = give("translate", "runs/rnn", stdin=place.path / "given")
    assert outcome.code == 2 and len(outcome.lines) == 2
    assert "standard input, line 3, byte 1" in outcome.error


def test_a_long_line_is_cut_with_a_message(place: Place, give: Any) -> None:
    write_lines(place.path / "given", ["der", "Hund " * 500])
    outcome = give("translate", "runs/rnn", stdin=place.path / "given")
    assert outcome.code == 0 and len(outcome.lines) == 2
    assert "line 2" in outcome.error and "search.max_length = 100" in outcome.error


def test_beams_of_any_width(place: Place, give: Any) -> None:
    for width in ("1", "3", "500"):
        outcome = give("translate", "runs/rnn", "--beam-size", width, stdin=place.path / "plain.de")
        assert outcome.code == 0 and len(outcome.lines) == 25
    configured = give("translate", "runs/rnn", stdin=place.path / "plain.de")
    assert give("translate", "runs/rnn", "--beam-size", "2", stdin=place.path / "plain.de") == configured


def test_runs_translate_together(place: Place, give: Any) -> None:
    alone = give("translate", "runs/rnn", stdin=place.path / "nasty.de")
    assert give("translate", "runs/rnn", "runs/rnn", stdin=place.path / "nasty.de") == alone
    names = [f"runs/{name}" for name in MODELS]
    together = give("translate", *names, stdin=place.path / "nasty.de")
    assert together.code == 0 and len(together.lines) == len(NASTY) and together.lines != alone.lines
    assert together.lines == give("translate", *names[::-1], stdin=place.path / "nasty.de").lines
    assert give("train", "rnn.toml", "subwords.kind='bpe'", "--run", "runs/other").code == 0
    refused(give("translate", "runs/rnn", "runs/other", stdin=place.path / "plain.de"), "runs/other", "subwords differ")


@pytest.mark.parametrize("command", ["keys", "translate runs/rnn"])
def test_a_reader_that_goes_away_is_no_error(place: Place, command: str) -> None:
    with open(place.path / "plain.de", "rb") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "nmt.cli", *command.split()],
            cwd=place.path,
            env=place.environment(),
            stdin=lines,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    assert process.stdout and process.stderr
    process.stdout.close()  # long before anything is written
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(120) == 128 + signal.SIGPIPE


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("closed", ["1", "2"])
def test_closed_streams_are_no_error(place: Place, closed: str) -> None:
    command = f'"{sys.executable}" -m nmt.cli score runs/rnn --source plain.de --target plain.en {closed}>&-'
    done = subprocess.run(["bash", "-c", command], cwd=place.path, env=place.environment(), capture_output=True)
    assert done.returncode == 0 and done.stderr == b"" and done.stdout.count(b"\n") == (25 if closed == "2" else 0)


def test_a_full_disk_is_told(place: Place) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "nmt.cli", "keys"], env=place.environment(), stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 2 and b"Traceback" not in done.stderr and done.stderr.count(b"\n") == 1


def test_an_answer_comes_while_the_input_waits(place: Place) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "nmt.cli", "translate", "runs/rnn"],
        cwd=place.path,
        env=place.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin and process.stdout
    for _ in range(3):
        process.stdin.write(b"der Hund\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(b"\n")  # comes before the input's end
    process.stdin.close()
    assert process.stdout.read() == b"" and process.wait(120) == 0
    process.stdout.close()


def test_translating_imports_nothing_that_it_does_not_use(place: Place) -> None:
    program = (
        "import sys\nfrom nmt.cli import main\ncode = main(['translate', 'runs/transformer'])\n"
        "needless = {'datasets', 'pyarrow', 'pandas', 'matplotlib', 'sacrebleu', 'torch._dynamo'} & set(sys.modules)\n"
        "assert code == 0 and not needless, (code, needless)\n"
    )
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=place.path, input=b"der hund\n", capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.endswith(b"\n")


@pytest.mark.parametrize("name", MODELS)
def test_a_score_a_line(place: Place, give: Any, name: str) -> None:
    outcome = give("score", f"runs/{name}", "--source", "nasty.de", "--target", "nasty.en")
    assert outcome.code == 0
    scores = [float(line) for line in outcome.lines]
    assert len(scores) == len(NASTY) and all(score < 0 for score in scores)
    write_lines(place.path / "one.de", NASTY[6:7])
    write_lines(place.path / "one.en", NASTY[-7:-6])
    alone = give("score", f"runs/{name}", "--source", "one.de", "--target", "one.en")
    assert float(alone.out) == pytest.approx(scores[6], abs=1e-4)


@pytest.mark.parametrize("name", ["rnn", "transformer"])
@pytest.mark.parametrize("words", ["punctuation", "space"])
def test_links_a_line(place: Place, give: Any, name: str, words: str) -> None:
    for test in ("nasty", "plain"):
        files = ["--source", f"{test}.de", "--target", f"{test}.en"]
        outcome = give("align", f"runs/{name}", *files, "--words", words)
        sources, targets = read_lines(place.path / f"{test}.de"), read_lines(place.path / f"{test}.en")
        assert outcome.code == 0 and len(outcome.lines) == len(sources)
        for source, target, line in zip(sources, targets, outcome.lines, strict=True):
            links = [tuple(map(int, link.split("-"))) for link in line.split()]
            assert len({j for _, j in links}) == len(links)  # at most one for each target word
            if test == "plain" or words == "space":
                assert all(i < len(source.split()) and j < len(target.split()) for i, j in links)


def test_a_model_without_attention_has_no_alignment(place: Place, give: Any) -> None:
    outcome = give("align", "runs/plain", "--source", "plain.de", "--target", "plain.en")
    refused(outcome, place.path / "runs" / "plain", "no attention")


def test_empty_files_have_no_scores_and_no_links(place: Place, give: Any) -> None:
    for name in ("empty.de", "empty.en"):
        write_lines(place.path / name, [])
    for command in ("score", "align"):
        outcome = give(command, "runs/rnn", "--source", "empty.de", "--target", "empty.en")
        assert (outcome.code, outcome.out) == (0, "")
    refused(give("evaluate", "runs/rnn", "--source", "empty.de", "--target", "empty.en"), place.path / "empty.de")


# ---- evaluate

RESULT = {
    *("bleu", "bleu_interval", "bleu_deviation", "bleu_signature", "length_ratio", "chrf", "chrf_interval"),
    *("chrf_deviation", "chrf_signature", "perplexity", "nats_per_character", "sentences_per_second"),
    *("empty", "copied", "looping"),
}
SYSTEM = {
    *("path", "runs", "model", "parameters", "embedding_parameters", "updates", "training_updates"),
    *("training_seconds", "tokens_per_second", "beam_size", "length_penalty"),
}
VALID = ["--source", "valid.de", "--target", "valid.en"]
TESTS = {"plain": 25, "nasty": len(NASTY)}


def check_results(out: Path, names: list[str], heatmaps: int) -> dict[str, Any]:
    """Everything that an evaluation leaves is there and says what it must."""
    results: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results.keys() == {"machine", "checkpoint", "language", "notes", "systems", "tests"}
    assert list(results["systems"]) == names and list(results["tests"]) == list(TESTS)
    assert all(system.keys() == SYSTEM for system in results["systems"].values())
    assert all(re.search(rf"\b{key}\b", presentation.__doc__ or "") for key in SYSTEM | RESULT)  # documented keys
    for name, test in results["tests"].items():
        assert test["sentences"] == TESTS[name] and list(test["systems"]) == names
        assert sum(bucket["sentences"] for bucket in test["by_length"]) == test["sentences"]
        assert len(test["differences"]) == len(names) * (len(names) - 1) / 2
        for system, result in test["systems"].items():
            assert result.keys() == RESULT
            assert 0 <= result["bleu"] <= 100 and 0 <= result["chrf"] <= 100 and result["perplexity"] > 1
            assert result["bleu_interval"][0] <= result["bleu"] <= result["bleu_interval"][1]
            assert "version:" in result["bleu_signature"] and "nw:2" in result["chrf_signature"]
            assert result["length_ratio"] >= 0 and result["sentences_per_second"] > 0
            texts = read_lines(out / "hypotheses" / f"{system}.{name}.txt")
            references = read_lines(Path("runs") / "rnn" / "tests" / f"{name}.target")
            assert scores.bleu(texts, references, "en").value == pytest.approx(result["bleu"])
    pictures = sorted(path.name for path in (out / "heatmaps").iterdir())
    for test in TESTS:
        for suffix, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
            drawn = [name for name in pictures if name.startswith(test) and name.endswith(suffix)]
            assert len(drawn) == heatmaps
            assert all((out / "heatmaps" / name).read_bytes().startswith(start) for name in drawn)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in [*names, *TESTS])
    return results


def test_one_run_is_evaluated_into_its_directory(place: Place, give: Any) -> None:
    outcome = give("evaluate", "runs/rnn", "--heatmaps", "2")
    assert outcome.code == 0
    out = place.path / "runs" / "rnn" / "evaluation"
    results = check_results(out, ["rnn"], 2)
    assert outcome.lines[0].startswith("plain: rnn reaches BLEU ")
    for test in TESTS:
        assert f"{test}, {TESTS[test]} sentences" in outcome.out
        assert results["tests"][test]["systems"]["rnn"]["bleu_signature"] in outcome.out
    system = results["systems"]["rnn"]
    assert system["model"] == "rnn" and results["checkpoint"] == "best" and system["training_updates"] == 12
    translated = give("translate", "runs/rnn", stdin=place.path / "plain.de")
    assert read_lines(out / "hypotheses" / "rnn.plain.txt") == translated.lines


def test_several_runs_are_compared_side_by_side(place: Place, give: Any) -> None:
    outcome = give("evaluate", *(f"runs/{name}" for name in MODELS), "--heatmaps", "2", "--checkpoint", "last")
    assert outcome.code == 0
    out = place.path / "runs" / "rnn-vs-plain-vs-transformer"
    results = check_results(out, list(MODELS), 2)
    assert {system["updates"] for system in results["systems"].values()} == {12}
    for name in MODELS:
        assert re.search(rf"^{name} +\d", outcome.out, re.MULTILINE)
    table = (out / "results.md").read_text(encoding="utf-8")
    for test, found in results["tests"].items():
        texts = [read_lines(out / "hypotheses" / f"{name}.{test}.txt") for name in MODELS]
        references = read_lines(place.path / "runs" / "rnn" / "tests" / f"{test}.target")
        for difference, own in zip(
            found["differences"][:2], scores.p_values(texts[0], texts[1:], references, "en"), strict=True
        ):
            assert (difference["bleu_p"], difference["chrf_p"]) == (own.bleu, own.chrf)
            assert difference["first"] == "rnn" and f"{difference['second']} − rnn" in table


def test_translations_of_another_system_stand_beside_a_run(place: Place, give: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["evaluate", "runs/rnn", "--test", "plain", "--out", str(out), "--heatmaps", "1"]
    outcome = give(*words, "--system", "reference=plain.en")
    assert outcome.code == 0
    assert outcome.lines[0].startswith("plain: reference is better than rnn (BLEU 100.0 against ")
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results["systems"]["reference"] == {"path": "plain.en"} and list(results["tests"]) == ["plain"]
    found = results["tests"]["plain"]["systems"]["reference"]
    assert found["bleu"] == pytest.approx(100) and found["perplexity"] is found["sentences_per_second"] is None
    assert read_lines(out / "hypotheses" / "reference.plain.txt") == read_lines(place.path / "plain.en")
    refused(give(*words[:2], "--system", "a=plain.en"), "--system", "plain, nasty", "--test")
    refused(give(*words, "--system", "rnn=plain.en"), "--system rnn=plain.en")
    refused(give(*words, "--system", "a=valid.en"), place.path / "valid.en", "25")
    refused(give(*words[:2], "--test", "x"), "--test x", "plain, nasty")


def test_a_group_of_seeds_is_one_system(corpus: Path, give: Any) -> None:
    words = ["train", "rnn.toml", "training.updates=4", "--seeds", "2", "--run", "group"]
    outcome = give(*words)
    assert outcome.code == 0 and outcome.lines[-1].startswith("next     python evaluate.py group")
    seeds = [runs.Run(corpus / "group" / f"seed-{seed}") for seed in (1, 2)]
    assert [run.config().training.seed for run in seeds] == [1, 2] and all(run.progress().finished for run in seeds)
    assert give(*words).out.count("is finished") == 2
    refused(give(*words[:3], "--run", "group"), corpus / "group", "--seeds")
    outcome = give("evaluate", "group", "--heatmaps", "0")
    assert outcome.code == 0 and "2 runs" in outcome.out
    out = corpus / "group" / "evaluation"
    found = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert found["systems"]["group"]["runs"] == ["group/seed-1", "group/seed-2"]
    for test, result in found["tests"].items():
        references = read_lines(seeds[0].path / "tests" / f"{test}.target")
        bleu = [
            scores.bleu(read_lines(out / "hypotheses" / f"group.{number}.{test}.txt"), references, "en").value
            for number in (1, 2)
        ]
        assert result["systems"]["group"]["bleu"] == pytest.approx(statistics.fmean(bleu))
        assert result["systems"]["group"]["bleu_deviation"] == pytest.approx(statistics.stdev(bleu))
    shutil.copytree(seeds[1].path, corpus / "group" / "seed-3")
    config = corpus / "group" / "seed-3" / "config.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("updates = 4", "updates = 5"), encoding="utf-8")
    refused(give("evaluate", "group"), corpus / "group", "training.updates: 4 → 5")
    shutil.rmtree(corpus / "group")


def test_what_runs_differ_in(place: Place, give: Any) -> None:
    assert give("diff", "runs/rnn", "runs/rnn").out == ""
    outcome = give("diff", "runs/rnn", "runs/transformer")
    assert outcome.code == 0 and 'model.kind: "rnn" → "transformer"' in outcome.lines
    assert all(re.fullmatch(r"[a-z_.]+: .+ → .+", line) for line in outcome.lines)


def test_curves_are_drawn(place: Place, give: Any, tmp_path: Path) -> None:
    outcome = give("plot", *(f"runs/{name}" for name in MODELS))
    out = place.path / "runs" / "rnn-vs-plain-vs-transformer"
    assert outcome.code == 0 and [place.path / line for line in outcome.lines] == [
        out / "curves.png",
        out / "curves.svg",
    ]
    picture = (out / "curves.svg").read_text(encoding="utf-8")
    assert picture.startswith("<?xml")
    for over in ("tokens", "minutes"):
        assert give("plot", "runs/rnn", "--over", over, "--out", str(tmp_path / f"{over}.pdf")).code == 0
        assert (tmp_path / f"{over}.pdf").read_bytes().startswith(b"%PDF")
    refused(give("plot", "runs/rnn", "--out", str(tmp_path / "x.jpg")), tmp_path / "x.jpg", ".png")


def test_the_bleu_of_training_is_that_of_evaluation(place: Place, give: Any) -> None:
    for name in MODELS:
        outcome = give("evaluate", f"runs/{name}", *VALID, "--checkpoint", "last", "--heatmaps", "0", "--out", "valid")
        assert outcome.code == 0
        test = json.loads((place.path / "valid" / "results.json").read_text())["tests"]["valid"]
        events = told(place.path / "runs" / name / "metrics.jsonl")
        result, [*_, last] = test["systems"][name], [event for event in events if event["event"] == "validated"]
        for key in ("bleu", "length_ratio", "empty", "copied", "looping"):
            assert result[key] == pytest.approx(last[key], abs=1e-9)
        assert result["perplexity"] == pytest.approx(last["perplexity"], rel=1e-5)
        assert result["nats_per_character"] == pytest.approx(last["nats_per_character"], rel=1e-5)
        assert not list((place.path / "valid").glob("heatmaps/*"))


def test_the_mean_of_the_last_checkpoints_is_the_best_where_it_is_better(place: Place, give: Any) -> None:
    for name in MODELS:
        run = runs.Run(place.path / "runs" / name)
        events = told(run.metrics)
        [averaged] = [event for event in events if event["event"] == "averaged"]
        figures = [event["bleu"] for event in events if event["event"] == "validated"]
        assert averaged["checkpoints"] == 2 and averaged["best"] == (averaged["bleu"] > max(figures))
        assert run.progress().best == max(averaged["bleu"], *figures)
        weights, mean = run.weights("best")[0], run.weights("average")[0]
        assert averaged["best"] == all(torch.equal(weights[key], mean[key]) for key in mean)
        assert (
            give("evaluate", str(run.path), *VALID, "--checkpoint", "average", "--heatmaps", "0", "--out", "v").code
            == 0
        )
        test = json.loads((place.path / "v" / "results.json").read_text())["tests"]["valid"]
        assert test["systems"][name]["bleu"] == pytest.approx(averaged["bleu"], abs=1e-9)


def test_a_run_needs_nothing_but_its_directory(place: Place, tmp_path: Path, give: Any) -> None:
    shutil.copytree(place.path / "runs" / "transformer", tmp_path / "copied")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert give("evaluate", "copied", "--heatmaps", "0").code == 0
        outcome = give("translate", "copied", stdin=place.path / "plain.de")
    assert outcome == give("translate", "runs/transformer", stdin=place.path / "plain.de")


def test_runs_of_one_name_are_told_apart(place: Place, tmp_path: Path, give: Any) -> None:
    shutil.copytree(place.path / "runs" / "rnn", tmp_path / "rnn")
    out = str(tmp_path / "out")
    outcome = give("evaluate", "runs/rnn", str(tmp_path / "rnn"), "--out", out, "--heatmaps", "0")
    assert outcome.code == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["systems"]
    assert len(results) == 2 and len(list((tmp_path / "out" / "hypotheses").iterdir())) == 4


# ---- mistakes


def test_mistakes_of_a_call_are_told(place: Place, give: Any) -> None:
    for words in (
        ["train"],
        ["train", "training.updates=3"],
        ["train", "rnn.toml", "plain.toml", "--run", "x"],
        ["train", "rnn.toml", "rnn.toml"],
        ["train", "rnn.toml", "--device", "gpu"],
        ["train", "rnn.toml", "--threads", "0"],
        ["train", "rnn.toml", "--threads", "many"],
        ["translate", "runs/rnn", "--beam-size", "0"],
        ["translate", "runs/rnn", "--beam-size", "wide"],
        ["translate", "runs/rnn", "--checkpoint", "first"],
        ["evaluate"],
        ["evaluate", "runs/rnn", "--heatmaps", "-1"],
        ["evaluate", "runs/rnn", "--source", "plain.de"],
        ["evaluate", "runs/rnn", "runs/../runs/rnn"],
        ["score", "runs/rnn", "--source", "plain.de"],
        ["frobnicate"],
        [],
    ):
        refused(give(*words))


def test_missing_files_are_named_with_the_path_that_was_tried(place: Place, give: Any) -> None:
    here = place.path
    refused(give("train", "missing.toml"), here / "missing.toml")
    refused(give("train", "."), here)
    both = give("train", "missing.toml", "also-missing.toml")
    refused(both, here / "missing.toml", here / "also-missing.toml")
    for key in ("data.train.source", "data.train.target", "data.valid.source", "data.test.plain.target"):
        outcome = give("train", "rnn.toml", f"{key}='missing/text'", "--run", "new")
        assert outcome.code == 2 and str(here / "missing" / "text") in outcome.error, key
        assert outcome.error.count("\n") == 1
        assert not (here / "new").exists()
    for command in ("translate", "score", "align", "evaluate"):
        files = ["--source", "plain.de", "--target", "plain.en"] if command != "translate" else []
        for run in ("runs/missing", "runs", "rnn.toml"):
            refused(give(command, run, *files), here / run, "not a run")
        if files:
            refused(give(command, "runs/rnn", "--source", "plain.de", "--target", "missing"), here / "missing")
            refused(give(command, "runs/rnn", "--source", "plain.de", "--target", "."), here)


def test_unequal_files_name_both_counts(place: Place, give: Any) -> None:
    for command in ("score", "align", "evaluate"):
        outcome = give(command, "runs/rnn", "--source", "plain.de", "--target", "valid.en")
        refused(outcome, place.path / "plain.de", place.path / "valid.en", "25", "15")
    for key in ("data.train.source", "data.valid.target", "data.test.nasty.source"):
        outcome = give("train", "rnn.toml", f"{key}='plain.de'", "--run", "new")
        assert outcome.code == 2 and str(place.path / "plain.de") in outcome.error and "25" in outcome.error
    assert not (place.path / "new").exists()


def test_a_device_that_is_not_there_is_refused(place: Place, give: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(give("train", "rnn.toml", "--device", "cuda", "--run", "new"), "--device cuda", "--device cpu")
    refused(give("translate", "runs/rnn", "--device", "cuda"), "--device cuda")
    assert not (place.path / "new").exists()


def test_damaged_runs_are_told(place: Place, tmp_path: Path, give: Any) -> None:
    for name, content in {
        "checkpoints/best.safetensors": b"broken",
        "subwords/subwords.model": b"",
        "config.toml": b"[data]\n",
    }.items():
        run = tmp_path / name.replace("/", "-")
        shutil.copytree(place.path / "runs" / "rnn", run)
        (run / name).write_bytes(content)
        refused(give("translate", str(run)), run)
    lost = tmp_path / "lost"
    shutil.copytree(place.path / "runs" / "rnn", lost)
    (lost / "subwords" / "subwords.model").unlink()
    refused(give("translate", str(lost)), lost / "subwords", "no SentencePiece models are there")
    edited = tmp_path / "edited"
    shutil.copytree(place.path / "runs" / "transformer", edited)
    text = (edited / "config.toml").read_text(encoding="utf-8")
    (edited / "config.toml").write_text(text.replace("heads = 2", "heads = 4"), encoding="utf-8")
    refused(give("translate", str(edited)), edited / "checkpoints" / "best.safetensors", "another [model]")
    for reading in ({"layer": 2}, {"layer": -1}, {"layer": 0, "head": 2}, {"layer": 0, "shift": 2}, {"layer": "a"}, []):
        run = tmp_path / "transformer"
        shutil.copytree(place.path / "runs" / "transformer", run, dirs_exist_ok=True)
        (run / "extraction.json").write_text(json.dumps(reading))
        refused(give("align", str(run), "--source", "plain.de"), run / "extraction.json")
        (run / "checkpoints" / "aligner.safetensors").write_text("broken")
        assert give("translate", str(run), stdin=place.path / "plain.de").code == 0  # which needs neither
    other = tmp_path / "other"
    shutil.copytree(place.path / "runs" / "rnn", other)
    shutil.copy(place.path / "runs" / "plain" / "checkpoints" / "best.safetensors", other / "checkpoints")
    refused(give("translate", str(other)), other / "checkpoints" / "best.safetensors", "another [model]")


@pytest.mark.parametrize("checkpoint", ["best", "last", "average"])
def test_a_transformer_is_exported_with_the_weights_asked_for(place: Place, give: Any, checkpoint: str) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    outcome = give("export", "runs/transformer", "--checkpoint", checkpoint, "--to", "ctranslate2", checkpoint)
    assert outcome.code == 0 and outcome.out.startswith(f"{checkpoint}: ") and outcome.error == ""
    options = ["--checkpoint", checkpoint, "--source", "plain.de", "--target", "plain.en"]
    scores = [float(line) for line in give("score", "runs/transformer", *options).lines]
    subwords = runs.Run(place.path / "runs" / "transformer").subwords()
    sides = (("plain.de", subwords.source), ("plain.en", subwords.target))
    source, target = (
        [[side.pieces[piece] for piece in ids] for ids in side.encode(read_lines(place.path / name))]
        for name, side in sides
    )
    results = ctranslate2.Translator(str(place.path / checkpoint), intra_threads=1).score_batch(source, target)
    assert [sum(result.log_probs) for result in results] == pytest.approx(scores, abs=1e-3)
    refused(give("export", "runs/transformer", "--to", "ctranslate2", checkpoint), place.path / checkpoint)


def test_what_cannot_be_exported_is_refused(place: Place, give: Any) -> None:
    pytest.importorskip("ctranslate2")
    refused(give("export", "runs/rnn", "--to", "ctranslate2", "rnn-exported"), "CTranslate2 has Transformers only")
    assert not (place.path / "rnn-exported").exists()
    assert give("export", "runs/transformer", "--to", "onnx", "other").code == 2


def test_a_place_that_cannot_be_written_is_told_before_the_work(place: Place, give: Any) -> None:
    for run in ("plain.de", "plain.de/run"):
        outcome = give("train", "rnn.toml", "--run", run)
        assert outcome.code == 2 and str(place.path / run) in outcome.error
    refused(give("evaluate", "runs/rnn", "--out", "plain.de"), place.path / "plain.de")


def test_mistakes_of_several_configs_are_told_before_the_first_trains(corpus: Path, give: Any) -> None:
    (corpus / "wrong.toml").write_text(CONFIG + 'kind = "rnn"\nhaeds = 2\n', encoding="utf-8")
    outcome = give("train", "rnn.toml", "wrong.toml", "training.updats=3")
    refused(outcome, "rnn.toml: training.updats", "wrong.toml: training.updats", "wrong.toml: model.haeds")
    assert not (corpus / "runs").exists()


def test_the_scripts_of_the_repository_are_the_commands(place: Place) -> None:
    for script, words, said in (
        ("train.py", ["missing.toml"], b"no such config file"),
        ("evaluate.py", [], b"usage: nmt evaluate"),
    ):
        done = subprocess.run([sys.executable, REPOSITORY / script, *words], cwd=place.path, capture_output=True)
        assert done.returncode == 2 and said in done.stderr and done.stdout == b""


def test_what_is_too_long_for_a_picture_is_not_drawn(place: Place, give: Any) -> None:
    write_lines(place.path / "long.de", ["der Hund", "Hund " * 300, "x" * 3000])
    write_lines(place.path / "long.en", ["the dog", "dog", "dog"])
    files = ["--source", "long.de", "--target", "long.en", "--out", "long"]
    assert give("evaluate", "runs/rnn", *files).code == 0
    assert [path.name for path in (place.path / "long" / "heatmaps").glob("*.png")] == ["long-00001.png"]
    assert len(read_lines(place.path / "long" / "hypotheses" / "rnn.long.txt")) == 3


def test_what_a_picture_lacks_is_told_in_a_sentence(place: Place) -> None:
    write_lines(place.path / "glyphs.de", ["\U000130ff"])
    command = ["align", "runs/rnn", "--source", "glyphs.de", "--target", "glyphs.de", "--heatmaps", "glyphs"]
    done = subprocess.run([sys.executable, "-m", "nmt.cli", *command], cwd=place.path, capture_output=True, text=True)
    assert done.returncode == 0
    assert [line for line in done.stderr.split("\n") if "picture" in line] == [
        "No installed font can show \U000130ff: the picture has boxes there. Install the Noto fonts to see them."
    ]
