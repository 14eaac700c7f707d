"""The plan of updates: every pair once, within max_tokens, from the arguments alone; and batches made of pairs."""

import random

import numpy as np
import pytest
import torch

from nmt import batching
from nmt.batching import make_batch, pad, padding_share, plan_in_order_of_length, plan_updates, share
from nmt.subwords import BOS, EOS, PAD


def random_lengths(pairs: int, longest: int = 40) -> torch.Tensor:
    return torch.randint(1, longest + 1, (pairs, 2), generator=torch.Generator().manual_seed(pairs))


@pytest.mark.parametrize("pairs", [1, 2, 37, 1000])
@pytest.mark.parametrize("max_tokens", [41, 64, 700])
def test_every_pair_once_within_max_tokens(pairs, max_tokens):
    lengths = random_lengths(pairs)
    for plan in (list(plan_updates(lengths, max_tokens, 1, 0)), plan_in_order_of_length(lengths, max_tokens)):
        assert sorted(torch.cat(plan).tolist()) == list(range(pairs))
        for update in plan:
            assert len(update) * (int(lengths[update].max()) + 1) <= max_tokens


def naive_plan(lengths, max_tokens, seed, epoch):
    """What `plan_updates` plans, by a sort of tuples and lists of pairs."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    sides = lengths.tolist()
    pairs = torch.randperm(len(lengths), generator=generator).tolist()
    pairs.sort(key=lambda pair: (max(sides[pair]), *sides[pair]))
    updates = []
    while pairs:
        update = pairs[: max(1, max_tokens // (max(sides[pairs[0]]) + 1))]
        while len(update) > 1 and len(update) * (max(sides[update[-1]]) + 1) > max_tokens:
            update = update[: max(1, max_tokens // (max(sides[update[-1]]) + 1))]
        updates.append(torch.tensor(update))
        pairs = pairs[len(update) :]
    return [updates[index] for index in torch.randperm(len(updates), generator=generator).tolist()]


@pytest.mark.parametrize("part", [7, 1 << 16])
@pytest.mark.parametrize("longest", [3, 40, 70_000])
def test_the_plan_is_the_naive_one(monkeypatch, part, longest):
    monkeypatch.setattr(batching, "PART", part)
    lengths = random_lengths(150, longest)
    for max_tokens in (1, 41, 700):
        plan = plan_updates(lengths, max_tokens, 3, 1)
        assert same(plan, naive_plan(lengths, max_tokens, 3, 1))
        assert all(torch.equal(plan[index], update) for index, update in enumerate(plan))
        assert same(plan[1:][:3], list(plan)[1:4])


def test_some_pairs_are_planned_as_if_there_were_no_others():
    lengths = random_lengths(300)
    pairs = torch.randperm(300)[:200].sort().values
    expected = [pairs[update] for update in plan_updates(lengths[pairs], 300, 5, 2)]
    for kept in (pairs, pairs.int()):
        plan = plan_updates(lengths, 300, 5, 2, kept)
        assert same(plan, expected) and plan.order.dtype == kept.dtype


def test_a_plan_of_nothing_is_empty():
    nothing = torch.zeros(0, dtype=torch.int32)
    assert list(plan_updates(random_lengths(5), 100, 1, 0, nothing)) == []
    assert plan_in_order_of_length(torch.zeros(0, 2, dtype=torch.long), 100) == []


def test_updates_are_full():
    # Two updates next to each other in length would not fit one: at least half of max_tokens is used on average.
    lengths = random_lengths(1000)
    plan = plan_updates(lengths, 700, 1, 0)
    used = [len(update) * (int(lengths[update].max()) + 1) for update in plan]
    assert sum(used) / len(used) > 0.9 * 700


def test_like_lengths_go_together():
    lengths = random_lengths(1000)
    lengths[:, 1] = (lengths[:, 0] + lengths[:, 1] % 5 - 2).clamp_min(1)  # as in real text: alike on both sides
    bucketed = padding_share(plan_updates(lengths, 700, 1, 0), lengths)
    shuffled = padding_share(list(torch.randperm(1000).split(17)), lengths)
    assert bucketed < shuffled / 2
    assert padding_share([torch.tensor([0])], torch.tensor([[3, 3]])) == 0
    assert padding_share([torch.tensor([0, 1])], torch.tensor([[1, 1], [3, 3]])) == pytest.approx(1 / 4)


def test_rows_of_an_update_are_sorted_by_length():
    lengths = random_lengths(200)
    for update in plan_updates(lengths, 300, 1, 0):
        longer = lengths[update].amax(1)
        assert (longer.diff() >= 0).all()


def same(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_plan_follows_from_its_arguments_alone():
    lengths = random_lengths(300)
    plan = plan_updates(lengths, 300, 5, 2)
    torch.manual_seed(99)
    torch.rand(7)
    assert same(plan_updates(lengths, 300, 5, 2), plan)
    assert not same(plan_updates(lengths, 300, 5, 3), plan)
    assert not same(plan_updates(lengths, 300, 6, 2), plan)


def test_the_plan_draws_nothing_from_the_default_generator():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    plan_updates(random_lengths(50), 100, 1, 0)
    assert torch.equal(torch.rand(3), expected)


def naive_pad(rows):
    longest = max(map(len, rows), default=0)
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows]).reshape(len(rows), longest)


@pytest.mark.parametrize("counts", [[3, 1, 4, 1, 5], [0, 2], [2, 0], [0], [0, 0], [7]])
def test_padding_is_what_it_is_by_hand(counts):
    draw = random.Random(sum(counts))
    rows = [[draw.randrange(5, 99) for _ in range(count)] for count in counts]
    for given in (rows, [np.array(row, np.int32) for row in rows]):
        assert torch.equal(pad(given), naive_pad(rows))
        assert torch.equal(pad(given, begin=True), naive_pad([[BOS, *row] for row in rows]))
        assert torch.equal(pad(given, end=True), naive_pad([[*row, EOS] for row in rows]))
        padded = pad(given, end=True, multiple=8)
        assert padded.shape[1] % 8 == 0 and padded.shape[1] - pad(given, end=True).shape[1] < 8
        assert torch.equal(padded[:, : pad(given, end=True).shape[1]], pad(given, end=True))
        assert not padded[:, pad(given, end=True).shape[1] :].any()  # PAD is 0
        batch = make_batch(given, given, torch.arange(len(rows)))
        assert torch.equal(batch.source, batch.target_out) and batch.source.dtype == torch.long
        assert batch.tokens == sum(counts) + len(counts)
        for row, own in enumerate(rows):
            assert batch.target_in[row, : len(own) + 1].tolist() == [BOS, *own]
            assert batch.target_out[row, : len(own) + 1].tolist() == [*own, EOS]
        real = batch.target_out.flatten()[batch.predicted]
        assert real.tolist() == [id for own in rows for id in [*own, EOS]]


def test_no_rows_are_a_batch_of_none():
    assert pad([]).shape == (0, 0) and pad([], end=True).shape == (0, 1)


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_parts_share_an_update_out(parts):
    update = torch.tensor([8, 3, 5, 1])
    shares = [update[share(part, parts)] for part in range(parts)]
    assert sorted(torch.cat(shares).tolist()) == [1, 3, 5, 8]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
