"""The update, the schedule and what a training is made of."""

import math

import datasets
import pytest
import torch
import torch.nn.functional as F

from nmt.batching import make_batch
from nmt.config import Config, parse_config
from nmt.corpus import FEATURES, TrainingCorpus
from nmt.lines import TextPairs
from nmt.preparation import Prepared
from nmt.subwords import Subwords, Vocabulary
from nmt.training import Updater, learning_rate
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
            totals.append(updates.update(torch.arange(len(LENGTHS)), number))
        weights.append(torch.cat([p.detach().flatten() for p in updates.prepared.model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-9, atol=1e-9)
    assert totals[2] == pytest.approx(totals[5])


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
    loss, norm, tokens = updates.update(torch.arange(len(LENGTHS)), 1)
    assert tokens == sum(target + 1 for _, target in LENGTHS)
    assert loss / tokens == pytest.approx(naive.item())
    assert norm == pytest.approx(math.sqrt(sum(g.square().sum().item() for g in expected)))
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
            found.append(updates.update(torch.arange(len(LENGTHS)), number)[0])
        return found

    assert losses(config, (1, 2)) == losses(config, (1, 2), disturb=True)
    assert losses(config, (1,)) != losses(config, (2,))
    other = config.model_copy(update={"training": config.training.model_copy(update={"seed": 2})})
    assert losses(config, (1,)) != losses(other, (1,))


def test_clipping_bounds_the_step(monkeypatch):
    updates = updater("rnn", make_config(clip_norm=0.01))
    monkeypatch.setattr(updates.optimiser, "zero_grad", lambda: None)
    _, norm, _ = updates.update(torch.arange(len(LENGTHS)), 1)
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
    at_once = config.model_copy(update={"warmup_updates": 0, "schedule": "constant"})
    assert learning_rate(at_once, 1) == pytest.approx(0.4)


def test_bfloat16_autocast_stays_near_float32():
    losses = []
    for precision in ("float32", "bfloat16"):
        updates = updater("transformer", make_config(precision=precision))
        updates.objective.float().eval()
        losses.append(updates.update(torch.arange(len(LENGTHS)), 1)[0])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
