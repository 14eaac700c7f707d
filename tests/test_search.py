"""Search against exhaustive and naive twins."""

import itertools
import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from nmt.batching import pad
from nmt.config import SearchConfig
from nmt.models.base import Memory, Seq2Seq, State
from nmt.search import FORBIDDEN, Request, Sampling, beam_search, best_continuations
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


def repeats(ids, size, start=0):
    """Whether a piece of ids, from `start` on, ends `size` in a row that stand before it already."""
    return any(
        ids[end - size : end] == ids[other - size : other]
        for end in range(start + 1, len(ids) + 1)
        for other in range(size, end)
        if size
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("wanted", "prefix"),
    [
        ({"length_penalty": 0.0}, ()),
        ({"length_penalty": 1.0}, ()),
        ({"min_length": 2}, ()),
        ({"min_length": 9}, ()),  # more than the greatest length allows
        ({"no_repeat_ngram_size": 1}, ()),
        ({"no_repeat_ngram_size": 2}, ()),
        ({}, (6,)),
        ({}, (5, 7, 5)),  # leaves no more than </s>
        ({"no_repeat_ngram_size": 1, "min_length": 3}, (7, 7)),  # what is asked for is said, whatever it holds
    ],
)
def test_a_wide_beam_finds_the_exhaustive_optimum(seed, wanted, prefix):
    model, longest = Table(8, seed), 4  # three free pieces
    config = SearchConfig(beam_size=200, **wanted)
    [(number, found)] = beam_search(model, [(torch.tensor([[6, EOS]]), [Request(17, longest, prefix)])], config)
    assert number == 17
    scores = {
        ids: model.log_probability(ids) / (len(ids) + 1) ** config.length_penalty
        for length in range(min(config.min_length, longest - 1), longest)
        for ids in itertools.product((5, 6, 7), repeat=length)
        if ids[: len(prefix)] == prefix and not repeats(ids, config.no_repeat_ngram_size, len(prefix))
    }
    ranked = sorted(scores, key=scores.__getitem__, reverse=True)
    assert ranked and [tuple(hypothesis.ids) for hypothesis in found] == ranked
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(scores[tuple(hypothesis.ids)])
        assert hypothesis.log_probability == pytest.approx(model.log_probability(hypothesis.ids))


def test_a_hypothesis_that_cannot_go_on_ends():
    config = SearchConfig(beam_size=1, min_length=9, no_repeat_ngram_size=1)
    [(_, [best])] = beam_search(Table(8, 1), [(torch.tensor([[6, EOS]]), [Request(0, 20)])], config)
    assert sorted(best.ids) == [5, 6, 7]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.5), Sampling(top_k=2, seed=3)])
def test_samples_are_as_frequent_as_the_model_finds_them_probable(sampling):
    model, count = Table(8, 2), 4_000
    config = SearchConfig(beam_size=count)
    [(_, found)] = beam_search(model, [(torch.tensor([[6, EOS]]), [Request(3, 3)])], config, sampling)
    assert len(found) == count
    free = [EOS, 5, 6, 7]
    expected: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(2):
        for ids in [ids for ids in expected if EOS not in ids]:
            before, last = ([0, BOS, *ids])[-2:]
            logits = model.logits[before, last][free] / sampling.temperature
            if sampling.top_k:
                logits[logits < logits.topk(sampling.top_k).values[-1]] = -torch.inf
            share = expected.pop(ids)
            expected |= {(*ids, piece): share * p for piece, p in zip(free, logits.softmax(0).tolist(), strict=True)}
    drawn = Counter((*hypothesis.ids, EOS)[:2] for hypothesis in found)
    assert sum(drawn.values()) == count and len(expected) > 9
    for ids, share in expected.items():
        assert abs(drawn[ids] / count - share) <= 4 * math.sqrt(share * (1 - share) / count), ids


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


# Ways to search: what is asked of every sentence, and how hypotheses are found.
WAYS = {
    "beam": ({}, None),
    "bounded": ({"min_length": 4, "no_repeat_ngram_size": 2}, None),
    "drawn": ({}, Sampling(seed=4)),
    "drawn, bounded": ({"min_length": 4, "no_repeat_ngram_size": 2}, Sampling(2.0, 9)),
}


def prefix_of(row):
    """Of every third row, as far as its limit allows."""
    return [7, 9, 7, 9][: LIMITS[row] - 1] if row % 3 == 0 else []


def search(model, rows, beam_size, sizes=(26,), way="beam"):
    """The hypotheses of each row, in batches of those sizes."""
    waiting = iter(rows)
    groups = [list(itertools.islice(waiting, size)) for size in sizes]
    wanted, sampling = WAYS[way]
    config = SearchConfig(beam_size=beam_size, length_penalty=0.8, **wanted)

    def request(row):
        return Request(row, LIMITS[row], prefix_of(row) if wanted else [])

    batches = ((pad([[*SOURCES[row], EOS] for row in own]), list(map(request, own))) for own in groups)
    found = dict(beam_search(model, batches, config, sampling))
    return [found[row] for row in rows]


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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("beam_size", [1, 4])
def test_translations_depend_neither_on_batch_size_nor_on_order(model, beam_size, way):
    rows = list(range(len(SOURCES)))
    together = search(model, rows, beam_size, way=way)
    backwards = search(model, rows[::-1], beam_size, way=way)[::-1]
    alone = [search(model, [row], beam_size, (1,), way)[0] for row in rows]
    in_batches = [search(model, rows, beam_size, sizes, way) for sizes in ((1,) * 26, (8, 8, 10), (16, 8, 1, 1))]
    for others in (backwards, alone, *in_batches):
        assert [[h.ids for h in hypotheses] for hypotheses in others] == [
            [h.ids for h in hypotheses] for hypotheses in together
        ]


@pytest.mark.parametrize("way", WAYS)
def test_scores_are_those_of_teacher_forcing(model, way):
    rows = list(range(len(SOURCES)))
    for row, hypotheses in zip(rows, search(model, rows, 3, way=way), strict=True):
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
            if WAYS[way][0]:
                prefix = prefix_of(row)
                assert hypothesis.ids[: len(prefix)] == prefix
                assert len(hypothesis.ids) >= min(4, LIMITS[row] - 1)
                assert not repeats(hypothesis.ids, 2, len(prefix))


def test_the_coldest_draw_is_greedy_and_so_is_one_of_one(model):
    rows = list(range(len(SOURCES)))
    usual = [best.ids for best, *_ in search(model, rows, 1)]
    for sampling in (Sampling(temperature=1e-4), Sampling(top_k=1)):
        requests = [Request(row, LIMITS[row]) for row in rows]
        batch = pad([[*SOURCES[row], EOS] for row in rows]), requests
        found = dict(beam_search(model, [batch], SearchConfig(beam_size=1), sampling))
        assert [found[row][0].ids for row in rows] == usual


def test_another_seed_or_number_draws_something_else(model):
    source = pad([[*SOURCES[7], EOS]] * 2)

    def drawn(seed):
        batch = source, [Request(number, 12) for number in range(2)]
        found = dict(beam_search(model, [batch], SearchConfig(beam_size=4), Sampling(seed=seed)))
        return [[hypothesis.ids for hypothesis in found[number]] for number in range(2)]

    first, second = drawn(1), drawn(2)
    assert first == drawn(1)
    assert first[0] != first[1] and first[0] != second[0]
