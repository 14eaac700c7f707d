"""The update, the schedule and what a training is made of."""

import math
import shutil

import datasets
import pytest
import torch
import torch.nn.functional as F

from nmt.batching import make_batch
from nmt.config import Config, InputError, SubwordConfig, parse_config
from nmt.corpus import FEATURES, TrainingCorpus
from nmt.lines import TextPairs
from nmt.optimisation import Updater, learning_rate
from nmt.preparation import Prepared, training_ids
from nmt.subwords import Subwords, Vocabulary, learn_subwords
from tests.conftest import make_model, random_pairs

LENGTHS = [(3, 5), (8, 2), (4, 4), (1, 7), (6, 6), (2, 2), (9, 9)]


def make_config(**training: object) -> Config:
    files = {"source": "a", "target": "b"}
    return parse_config(
        {
            "data": {"source_language": "xx", "target_language": "yy", "train": files, "valid": files},
            "model": {"kind": "rnn"},
            "training": {"label_smoothing": 0.1, "warmup_updates": 0, **training},
        },
        "test",
    )


def updater(name: str, config: Config) -> Updater:
    sources, targets = random_pairs(LENGTHS)
    rows = datasets.Dataset.from_dict({"source": sources, "target": targets}, features=FEATURES)
    corpus = TrainingCorpus(rows, torch.tensor(LENGTHS), torch.arange(len(LENGTHS)), {})
    vocabulary = object.__new__(Vocabulary)  # ids are given, so no text is encoded
    return Updater(
        Prepared(
            config,
            Subwords(vocabulary, vocabulary),
            corpus,
            TextPairs([], []),
            {},
            torch.device("cpu"),
            make_model(name),
        )
    )


@pytest.mark.parametrize("name", ["rnn", "transformer"])
@pytest.mark.parametrize("parts", [2, 3, 9])
def test_accumulation_leaves_the_update_as_it_is(name, parts):
    weights, totals = [], []
    for accumulation in (1, parts):
        config = make_config(accumulation=accumulation, learning_rate=0.1)
        updates = updater(name, config)
        updates.objective.eval()  # no dropout: it is keyed by part
        for number in range(1, 4):
            totals.append(updates.update(torch.arange(len(LENGTHS)), number, epoch=0))
        weights.append(torch.cat([p.detach().flatten() for p in updates.prepared.model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-9, atol=1e-9)
    assert totals[2] == (pytest.approx(totals[5][0].item()), pytest.approx(totals[5][1].item()), totals[5][2])


@pytest.mark.parametrize("name", ["rnn", "transformer"])
def test_the_gradient_is_that_of_the_mean_over_real_tokens(name, monkeypatch):
    updates = updater(name, make_config(clip_norm=0.0))
    updates.objective.eval()
    model = updates.prepared.model
    lines = torch.arange(len(LENGTHS))
    batch = make_batch(*updates.prepared.corpus.ids(lines), lines)
    logits = F.linear(model(batch.source, batch.target_in), *model.output)
    naive = F.cross_entropy(
        logits.flatten(0, 1), batch.target_out.flatten(), ignore_index=0, label_smoothing=0.1, reduction="mean"
    )
    expected = torch.autograd.grad(naive, list(model.parameters()))
    monkeypatch.setattr(updates.optimiser, "zero_grad", lambda: None)
    monkeypatch.setattr(updates.optimiser, "step", lambda: None)
    loss, norm, tokens = updates.update(torch.arange(len(LENGTHS)), 1, epoch=0)
    assert tokens == sum(target + 1 for _, target in LENGTHS)
    assert loss.item() / tokens == pytest.approx(naive.item())
    assert norm.item() == pytest.approx(math.sqrt(sum(g.square().sum().item() for g in expected)))
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_dropout_depends_on_seed_and_update_alone():
    config = make_config(learning_rate=1e-3)

    def losses(config: Config, numbers: tuple[int, ...], disturb: bool = False) -> list[float]:
        updates = updater("transformer", config)
        found = []
        for number in numbers:
            if disturb:
                torch.rand(11)
            found.append(updates.update(torch.arange(len(LENGTHS)), number, epoch=0)[0].item())
        return found

    assert losses(config, (1, 2)) == losses(config, (1, 2), disturb=True)
    assert losses(config, (1,)) != losses(config, (2,))
    other = config.model_copy(update={"training": config.training.model_copy(update={"seed": 2})})
    assert losses(config, (1,)) != losses(other, (1,))


def test_sampled_pieces_follow_from_seed_epoch_and_pair_alone():
    text = ["aa ab ba bb abab", "ab ab", "bbaa abba", "abbaab aabb"] * 3
    subwords, _ = learn_subwords(text, text, SubwordConfig(vocabulary_size=16))
    ids = subwords.source.encode(text)
    corpus = TrainingCorpus(
        datasets.Dataset.from_dict({"source": ids, "target": ids}, features=FEATURES),
        torch.tensor([[len(row)] * 2 for row in ids]),
        torch.arange(len(ids)),
        {},
    )

    def sampled(lines: list[int], epoch: int = 0, seed: int = 1, most: int | None = None) -> list[list[int]]:
        config = make_config(seed=seed).model_copy(update={"subwords": SubwordConfig(sampling=8, sampling_alpha=0.1)})
        prepared = Prepared(
            config, subwords, corpus, TextPairs([], []), {}, torch.device("cpu"), make_model("transformer")
        )
        prepared.model.most_positions = most
        sources, targets = training_ids(prepared, torch.tensor(lines), epoch)
        assert subwords.source.decode(sources) == subwords.target.decode(targets) == [text[line] for line in lines]
        assert sources != targets or most  # each side by a draw of its own
        return [*sources, *targets]

    whole = sampled(list(range(12)))
    assert sampled(list(range(12))) == whole
    assert sampled([7, 3]) == [whole[7], whole[3], whole[19], whole[15]]  # whatever else is drawn
    assert len(set(map(tuple, [whole[0], whole[4], whole[8]]))) > 1  # the same text on three lines
    longest = max(map(len, ids))
    bounded = sampled(list(range(12)), most=longest + 1)  # samples that do not fit with </s> are left out
    assert max(map(len, whole)) > longest == max(map(len, bounded))
    assert all(few in (drawn, plain) for few, drawn, plain in zip(bounded, whole, ids * 2, strict=True))
    assert whole not in (sampled(list(range(12)), epoch=1), sampled(list(range(12)), seed=2))


def test_clipping_bounds_the_step(monkeypatch):
    updates = updater("rnn", make_config(clip_norm=0.01))
    monkeypatch.setattr(updates.optimiser, "zero_grad", lambda: None)
    _, norm, _ = updates.update(torch.arange(len(LENGTHS)), 1, epoch=0)
    clipped = math.sqrt(sum(p.grad.square().sum().item() for p in updates.prepared.model.parameters()))
    assert norm > 0.01 >= clipped * (1 - 1e-6)


def test_schedules():
    config = make_config(learning_rate=0.4, warmup_updates=100).training
    assert learning_rate(config, 1) == pytest.approx(0.004)
    assert learning_rate(config, 50) == pytest.approx(0.2)
    assert learning_rate(config, 100) == pytest.approx(0.4)
    assert learning_rate(config, 400) == pytest.approx(0.2)
    constant = config.model_copy(update={"schedule": "constant"})
    assert learning_rate(constant, 50) == pytest.approx(0.2)
    assert learning_rate(constant, 400) == pytest.approx(0.4)
    cosine = config.model_copy(update={"schedule": "cosine", "updates": 300})
    assert [learning_rate(cosine, update) for update in (50, 100, 200, 300)] == pytest.approx([0.2, 0.4, 0.2, 0.0])
    plateau = config.model_copy(update={"schedule": "plateau", "plateau_factor": 0.1})
    assert [learning_rate(plateau, 50, 1), learning_rate(plateau, 400, 0)] == pytest.approx([0.2, 0.4])
    assert [learning_rate(plateau, 400, 1), learning_rate(plateau, 400, 2)] == pytest.approx([0.04, 0.004])
    at_once = config.model_copy(update={"warmup_updates": 0, "schedule": "constant"})
    assert learning_rate(at_once, 1) == pytest.approx(0.4)


@pytest.mark.parametrize("name", ["rnn", "transformer"])
def test_bfloat16_autocast_stays_near_float32_which_a_cpu_computes_in_unasked(name):
    losses = {}
    for precision in ("float32", "bfloat16", "auto"):
        updates = updater(name, make_config(precision=precision))
        updates.objective.float().eval()
        losses[precision] = updates.update(torch.arange(len(LENGTHS)), 1, epoch=0)[0].item()
    assert losses["auto"] == losses["float32"] != losses["bfloat16"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)


@pytest.mark.parametrize("name", ["rnn", "transformer"])
def test_an_update_reads_no_result(name, monkeypatch):
    read = torch.Tensor.item

    def item(tensor):
        assert not tensor.is_floating_point(), "a GPU would have to be waited for"
        return read(tensor)

    updates = updater(name, make_config(accumulation=2))
    for method in ("item", "__float__", "tolist"):
        monkeypatch.setattr(torch.Tensor, method, item)
    loss, norm, _ = updates.update(torch.arange(len(LENGTHS)), 1, epoch=0)
    monkeypatch.undo()
    assert loss.item() > 0 < norm.item()


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"no-such-compiler.*training\.compile=false"):
        updater("rnn", make_config(compile=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler warns of its own ways
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_updates_are_those_of_plain_ones():
    found = []
    for compiled in (False, True):
        updates = updater("transformer", make_config(compile=compiled, learning_rate=0.01))
        updates.objective.eval()  # compiled dropout draws other numbers
        found.append(
            [
                updates.update(lines, number, epoch=0)[0].item()
                for number, lines in enumerate(torch.arange(6).split(2), 1)
            ]
        )
    assert found[1] == pytest.approx(found[0])
