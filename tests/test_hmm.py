"""Links from counts: laws that hold by construction, against all ways to align written out."""

import itertools

import pytest
import torch

from nmt import hmm
from nmt.hmm import FARTHEST, LEAST, NOTHING, agreed_links


def made_up(lines: int, seed: int = 0) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """Sources, their translations word for word but with places moved, and of each target place its source place."""
    generator = torch.Generator().manual_seed(seed)
    sources, targets, places = [], [], []
    for _ in range(lines):
        length = int(torch.randint(2, 9, (1,), generator=generator))
        source = torch.randint(5, 25, (length,), generator=generator).tolist()
        turned = list(range(length // 2, length)) + list(range(length // 2))
        sources.append(source)
        places.append(turned)
        targets.append([100 + source[place] for place in turned])
    return sources, targets, places


def test_word_for_word_translations_are_found():
    sources, targets, places = made_up(400)
    right = total = 0
    for source, target, own, links in zip(
        sources, targets, places, agreed_links(sources, targets, "test"), strict=True
    ):
        assert links.shape == (len(target), len(source))
        assert links.min() >= 0 and links.max() <= 1
        found = links.argmax(1).tolist()
        right += sum(source[place] == source[wanted] for place, wanted in zip(found, own, strict=True))
        total += len(own)
    assert right > 0.98 * total


def test_turning_both_sides_turns_the_links():
    sources, targets, _ = made_up(50)
    for ahead, back in zip(agreed_links(sources, targets, "test"), agreed_links(targets, sources, "test"), strict=True):
        torch.testing.assert_close(ahead.float(), back.float().T, atol=2e-3, rtol=0)


def test_a_piece_that_stands_for_several_is_linked_to_each():
    source, target = ["vor", "der", "Stadt", "!"], ["in", "front", "of", "the", "city"]

    def matrix(*pairs: str) -> torch.Tensor:
        found = torch.zeros(1, len(target), len(source), dtype=torch.bool)
        for pair in pairs:
            first, second = pair.split("-")
            found[0, target.index(second), source.index(first)] = True
        return found

    agreed = matrix("vor-front", "der-the", "Stadt-city")
    believed = agreed | matrix("vor-in", "vor-of", "vor-the", "!-in")
    assert torch.equal(hmm._grown(agreed, believed), matrix("vor-in", "vor-of"))


def test_growing_stops_where_nothing_more_is_beside():
    generator = torch.Generator().manual_seed(2)
    links, candidates = (torch.rand(50, 7, 9, generator=generator) < share for share in (0.06, 0.3))
    grown = hmm._grown(links, candidates)
    assert grown.any() and not (grown & (links | ~candidates)).any()
    assert torch.equal(hmm._grown(links.mT, candidates.mT), grown.mT)
    assert not hmm._grown(links | grown, candidates).any()
    for found, first, own in zip(links | grown, links, candidates, strict=True):
        for row, column in found.logical_not().logical_and(own).nonzero().tolist():
            beside = found[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2].any()
            assert not beside or (found[row].any() and found[:, column].any())
        assert first.any() or not found.any()  # it does not begin by itself


def direction(sources: list[list[int]], targets: list[list[int]]) -> hmm._Direction:
    built = hmm._direction(sources, targets, [list(range(len(sources)))], 200)
    generator = torch.Generator().manual_seed(1)
    built.probability = torch.rand(built.probability.shape, generator=generator, dtype=torch.float64)
    built.jumps = torch.rand(built.jumps.shape, generator=generator, dtype=torch.float64)
    return built


@pytest.mark.parametrize("jumps", [False, True])
def test_posteriors_are_sums_over_all_ways_to_align(jumps):
    sources, targets = [[5, 6, 7], [5, 8]], [[100, 101, 102], [103, 104, 105]]
    built = direction(sources, targets)
    [batch] = built.batches
    found = built.posterior(batch, jumps=jumps)
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        likely = built.probability[batch.pairs[row]].clamp_min(LEAST)  # (T, S + 1)
        width = len(source)
        expected, all_ways = torch.zeros(len(target), width, dtype=torch.float64), 0.0
        # A way: of each target piece its place, and whether it came of the source piece there or of nothing.
        for way in itertools.product(itertools.product(range(width), (True, False)), repeat=len(target)):
            chance, before = 1.0, None
            for time, (place, real) in enumerate(way):
                if before is None:
                    reach = 1 / width
                elif real and jumps:
                    moves = [float(built.jumps[to - before + FARTHEST]) for to in range(width)]
                    reach = moves[place] / sum(moves)
                elif real:
                    reach = 1 / width
                else:
                    reach = float(place == before)  # nothing stays where it was
                chance *= reach * float((1 - NOTHING) * likely[time, place] if real else NOTHING * likely[time, -1])
                before = place
            all_ways += chance
            for time, (place, real) in enumerate(way):
                expected[time, place] += chance * real
        torch.testing.assert_close(found[row, : len(target), :width], expected / all_ways)


def test_padding_changes_no_posterior():
    sources, targets, _ = made_up(6)
    together = direction(sources, targets)
    for jumps in (False, True):
        found = together.posterior(together.batches[0], jumps=jumps)
        for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
            assert found[row, len(target) :].eq(0).all() and found[row, :, len(source) :].eq(0).all()
            alone = hmm._direction([source], [target], [[0]], 200)
            alone.jumps = together.jumps
            places = {int(key): together.probability[index] for index, key in enumerate(batch_keys(sources, targets))}
            alone.probability = torch.stack([places[int(key)] for key in batch_keys([source], [target])])
            torch.testing.assert_close(
                alone.posterior(alone.batches[0], jumps=jumps)[0], found[row, : len(target), : len(source)]
            )


def batch_keys(sources: list[list[int]], targets: list[list[int]]) -> torch.Tensor:
    """What the pairs of a direction over one batch are numbered by, as `_direction` does."""
    source = hmm.pad(sources)
    target = hmm.pad(targets)
    with_nothing = torch.nn.functional.pad(source, (0, 1), value=200)
    return torch.unique(with_nothing[:, None] * 200 + target[:, :, None])
