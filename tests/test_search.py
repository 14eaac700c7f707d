"""Search against exhaustive and naive twins."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from nmt.batching import pad
from nmt.models.base import Memory, Seq2Seq, State
from nmt.search import FORBIDDEN, beam_search, best_continuations
from nmt.subwords import BOS, EOS
from tests.conftest import random_pairs


class Table(Seq2Seq):
    """A model that reads the next word's logits off a table by the last two words: small enough to search whole."""

    attention_layers, default_extraction = 0, None

    def __init__(self, vocabulary: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.logits = 2 * torch.randn(vocabulary, vocabulary, vocabulary, dtype=torch.float64, generator=generator)

    def encode(self, source):
        return Memory(source[:, :, None].double(), source != 0, (), ())

    def initial_state(self, memory):
        sentences = len(memory.states)
        carried = torch.zeros(sentences, 1, 1, dtype=torch.long)
        return State((carried,), (), torch.ones(sentences, 1, 0, dtype=torch.bool), [0] * sentences)

    def step(self, memory, state, tokens):
        before = state.carried[0][:, :, 0]
        return self.logits[before, tokens], State(
            (tokens[:, :, None],), (), state.visible, [length + 1 for length in state.lengths]
        )

    def decode(self, memory, target_in, weights=None):
        raise AssertionError("search must not decode by teacher forcing")

    attention = value_products = decode

    @property
    def output(self):
        raise AssertionError("search must not read the output layer")

    def log_probability(self, ids):
        """Of ids and </s>."""
        before, last, total = 0, BOS, 0.0
        for token in [*ids, EOS]:
            total += float(self.logits[before, last].log_softmax(0)[token])
            before, last = last, token
        return total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_exhaustive_optimum(seed, length_penalty):
    model, longest = Table(8, seed), 4  # three free pieces
    batches = [(torch.tensor([[6, EOS]]), [longest])]
    [(_, found)] = beam_search(model, batches, beam_size=200, length_penalty=length_penalty)
    scores = {
        ids: model.log_probability(ids) / (len(ids) + 1) ** length_penalty
        for length in range(longest)
        for ids in itertools.product((5, 6, 7), repeat=length)
    }
    ranked = sorted(scores, key=scores.__getitem__, reverse=True)
    assert [tuple(hypothesis.ids) for hypothesis in found] == ranked
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(scores[tuple(hypothesis.ids)])
        assert hypothesis.log_probability == pytest.approx(model.log_probability(hypothesis.ids))


def greedy(model, source, longest):
    """Ten lines that say what greedy search is."""
    memory, ids = model.encode(source), [BOS]
    while len(ids) < longest:
        features = model.decode(memory, torch.tensor([ids]))[0, -1]
        logits = F.linear(features, *model.output)
        logits[list(FORBIDDEN)] = -torch.inf
        ids.append(int(logits.argmax()))
        if ids[-1] == EOS:
            return ids[1:-1]
    return ids[1:]


SOURCES = random_pairs([(1 + 5 * row % 11, 0) for row in range(26)])[0]
LIMITS = [1 + 7 * row % 17 for row in range(26)]


def search(model, rows, beam_size, sizes=(26,)):
    """The hypotheses of each row, in batches of those sizes."""
    waiting = iter(rows)
    groups = [list(itertools.islice(waiting, size)) for size in sizes]
    batches = ((pad([[*SOURCES[row], EOS] for row in own]), [LIMITS[row] for row in own]) for own in groups)
    found = dict(beam_search(model, batches, beam_size=beam_size, length_penalty=0.8))
    return [found[number] for number in range(len(rows))]


def test_beam_one_equals_greedy(model):
    rows = list(range(len(SOURCES)))
    for row, hypotheses in zip(rows, search(model, rows, 1), strict=True):
        assert len(hypotheses) == 1
        assert hypotheses[0].ids == greedy(model, torch.tensor([[*SOURCES[row], EOS]]), LIMITS[row])


@pytest.mark.parametrize("size", [1, 7, 49, 50, 51, 275, 300, 8000])
@pytest.mark.parametrize("count", [1, 2, 10])
def test_best_continuations_are_those_of_a_plain_top_k(size, count):
    generator = torch.Generator().manual_seed(size)
    log_probabilities, scores = (torch.randn(2, 3, *shape, generator=generator) for shape in ((size,), ()))
    log_probabilities[0, 0] = log_probabilities[0, 0].sort().values + 3  # the best stand together
    log_probabilities[1, 0, 1:] = -torch.inf
    scores[1, 1] = -torch.inf  # no live hypothesis
    best, parents, pieces = best_continuations(scores, log_probabilities, count)
    totals = log_probabilities + scores[:, :, None]
    there = min(count, 3 * size)  # and the rest is filled up
    assert torch.equal(best[:, :there], totals.flatten(1).topk(there).values)
    assert best.shape == (2, count)
    assert (best[:, there:] == -torch.inf).all()
    live = best.isfinite()
    assert torch.equal(totals[torch.arange(2)[:, None], parents, pieces][live], best[live])
    assert all(len(set(row[own].tolist())) == own.sum() for row, own in zip(parents * size + pieces, live, strict=True))


@pytest.mark.parametrize("beam_size", [1, 4])
def test_translations_depend_neither_on_batch_size_nor_on_order(model, beam_size):
    rows = list(range(len(SOURCES)))
    together = search(model, rows, beam_size)
    backwards = search(model, rows[::-1], beam_size)[::-1]
    alone = [search(model, [row], beam_size, (1,))[0] for row in rows]
    in_batches = [search(model, rows, beam_size, sizes) for sizes in ((1,) * 26, (8, 8, 10), (16, 8, 1, 1))]
    for others in (backwards, alone, *in_batches):
        assert [[h.ids for h in hypotheses] for hypotheses in others] == [
            [h.ids for h in hypotheses] for hypotheses in together
        ]


def test_scores_are_those_of_teacher_forcing(model):
    rows = list(range(len(SOURCES)))
    for row, hypotheses in zip(rows, search(model, rows, 3), strict=True):
        assert 1 <= len(hypotheses) <= 3
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
        for hypothesis in hypotheses:
            target = torch.tensor([*hypothesis.ids, EOS])
            features = model(torch.tensor([[*SOURCES[row], EOS]]), torch.tensor([[BOS, *hypothesis.ids]]))[0]
            every = F.linear(features, *model.output).log_softmax(-1)
            assert hypothesis.log_probability == pytest.approx(every.gather(1, target[:, None]).sum().item())
            assert hypothesis.score == pytest.approx(hypothesis.log_probability / len(target) ** 0.8)
            assert len(target) <= LIMITS[row]
            assert not set(hypothesis.ids) & set(FORBIDDEN)
