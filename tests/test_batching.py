"""The plan of updates: every pair once, within max_tokens, from the arguments alone."""

import pytest
import torch

from nmt.batching import padding_share, plan_in_order_of_length, plan_updates, share


def random_lengths(pairs: int, longest: int = 40) -> torch.Tensor:
    return torch.randint(1, longest + 1, (pairs, 2), generator=torch.Generator().manual_seed(pairs))


@pytest.mark.parametrize("pairs", [1, 2, 37, 1000])
@pytest.mark.parametrize("max_tokens", [41, 64, 700])
def test_every_pair_once_within_max_tokens(pairs, max_tokens):
    lengths = random_lengths(pairs)
    for plan in (plan_updates(lengths, max_tokens, 1, 0), plan_in_order_of_length(lengths, max_tokens)):
        assert sorted(torch.cat(plan).tolist()) == list(range(pairs))
        for update in plan:
            assert len(update) * (int(lengths[update].max()) + 1) <= max_tokens


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


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_parts_share_an_update_out(parts):
    update = torch.tensor([8, 3, 5, 1])
    shares = [share(update, part, parts) for part in range(parts)]
    assert sorted(torch.cat(shares).tolist()) == [1, 3, 5, 8]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
