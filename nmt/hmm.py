"""Which pieces or words of parallel lines belong together, from counts alone: two hidden Markov models made to agree.

A model of each direction explains every target piece by a source piece, or by none, with probabilities of pairs and of
jumps between the source pieces of neighbours (Vogel et al. 1996; Och & Ney 2003, section 3.2). Both are estimated at
once, by the product of what they believe (Liang et al. 2006): what only one of them sees is mostly wrong. It needs
neither gold nor a trained translation model, and teaches the aligner of one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from nmt.batching import Rows, pad, plan_in_order_of_length
from nmt.subwords import PAD

# Rounds of the models without and with jumps. Error rates of links over 0.3 on the toy corpus: 9.4 % after 10 rounds
# without jumps, 8.3 after 5, 8.2 after 2. More rounds fit rare words too closely: on 10,000 pairs of Europarl 1, 2, 3
# rounds with jumps had 23.5, 24.9 and 26.1 %, on the toy corpus 2 and 4 had 7.8 and 7.6.
ROUNDS, ROUNDS_WITH_JUMPS = 2, 2
NOTHING = 0.1  # probability that a target piece stands for no source piece
FARTHEST = 10  # jumps of more pieces are alike
LEAST = 1e-9  # probability of a pair that was never seen
# Agreed links of so much weight grow, and the weight of those that come of it. Error rates of links over 0.25 on the
# toy corpus: 6.6 % without growing, 6.1 with; 6.1 to 6.3 if they grow from 0.1 or 0.5, or weigh 0.3 or 0.7.
GROWING, GROWN = 0.2, 0.5
CELLS = 400_000  # pairs of pieces looked at at once


@dataclass(frozen=True)
class _Batch:
    """Some lines of like length, for one direction."""

    rows: list[int]
    pairs: Tensor  # (B, T, S + 1) which pair of pieces; the last column pairs a target piece with nothing
    source: Tensor  # (B, S) True at pieces
    target: Tensor  # (B, T)


class _Direction:
    """How each target piece comes of a source piece, or of nothing."""

    def __init__(self, batches: list[_Batch], of_pair: Tensor, pieces: int) -> None:
        """of_pair: the source piece of each pair that lines hold; `pieces` stands for nothing."""
        self.batches, self.of_pair, self.pieces = batches, of_pair, pieces
        self.probability = self._per_source(torch.ones_like(of_pair, dtype=torch.float64))  # of a pair's target piece
        self.jumps = torch.ones(2 * FARTHEST + 1, dtype=torch.float64)
        self.clear()

    def clear(self) -> None:
        """Count anew."""
        self.counts, self.jump_counts = torch.zeros_like(self.probability), torch.zeros_like(self.jumps)

    def _per_source(self, counts: Tensor) -> Tensor:
        totals = torch.zeros(self.pieces + 1, dtype=torch.float64).index_add_(0, self.of_pair, counts)
        return counts / totals[self.of_pair].clamp_min(1e-300)

    def count(self, batch: _Batch, together: Tensor, own: Tensor) -> None:
        """Count pairs (B, T, S) as often as both directions believe that they belong together.

        What came of nothing is this direction's to say, by its own belief in pairs: what the two do not agree on would
        else count as nothing, and two target pieces of one source piece are never agreed on.
        """
        alone = (batch.target.double() - own.sum(2)).clamp_min(0)
        self.counts.index_add_(0, batch.pairs.flatten(), torch.cat([together, alone[:, :, None]], 2).flatten())

    def update(self) -> None:
        """Take the counts for probabilities."""
        self.probability = self._per_source(self.counts)
        if self.jump_counts.any():
            self.jumps = (self.jump_counts + 1) / (self.jump_counts + 1).sum()
        self.clear()

    def posterior(self, batch: _Batch, *, jumps: bool) -> Tensor:
        """(B, T, S) how likely each target piece came of each source piece; where jumps are used, counts them."""
        likely = self.probability[batch.pairs].clamp_min(LEAST)
        given, nothing = likely[:, :, :-1] * batch.source[:, None], NOTHING * likely[:, :, -1:]
        lengths = batch.source.sum(1)
        if not jumps:
            given = given * ((1 - NOTHING) / lengths)[:, None, None]
            return given / (given.sum(2, keepdim=True) + nothing) * batch.target[:, :, None]
        return self._with_jumps(batch, (1 - NOTHING) * given, nothing)

    def _with_jumps(self, batch: _Batch, given: Tensor, nothing: Tensor) -> Tensor:
        """The forward-backward algorithm; a target piece of nothing stays where the one before it was."""
        sentences, length, width = given.shape
        places = torch.arange(width)
        jump = (places - places[:, None]).clamp(-FARTHEST, FARTHEST) + FARTHEST  # (S, S) from, to
        moves = self.jumps[jump] * batch.source[:, None]  # (B, S, S)
        moves = moves / moves.sum(2, keepdim=True)
        moved = (batch.source / batch.source.sum(1, keepdim=True))[:, None]  # (B, 1, S) where the first piece may be
        stayed = moved
        ahead = []  # of each time: the believed place after a source piece or after nothing, (B, 2, S); their scale
        for time in range(length):
            now = torch.cat([moved * given[:, time, None], stayed * nothing[:, time, None]], 1)  # (B, 2, S)
            scale = now.sum((1, 2), keepdim=True)
            ahead.append((now / scale, scale))
            stayed = ahead[-1][0].sum(1, keepdim=True)  # (B, 1, S)
            moved = stayed @ moves
        behind = torch.ones(sentences, 1, width, dtype=given.dtype)  # of what follows, given the place
        posterior = torch.empty_like(given)
        for time in range(length - 1, -1, -1):
            live = batch.target[:, time, None, None]
            now, scale = ahead[time]
            both = now * behind
            posterior[:, time] = both[:, 0] / both.sum((1, 2))[:, None] * live[:, 0]
            if time:
                before = ahead[time - 1][0].sum(1, keepdim=True)  # (B, 1, S)
                arrived = given[:, time, None] * behind / scale  # (B, 1, S)
                used = (before.mT * moves * arrived * live).sum(0)  # (S, S)
                self.jump_counts.index_add_(0, jump.flatten(), used.flatten())
                earlier = arrived @ moves.mT + nothing[:, time, None] * behind / scale
                behind = torch.where(live, earlier, behind)
        return posterior


def agreed_links(sources: Rows, targets: Rows, bar: str) -> list[Tensor]:
    """Of each pair of lines, none of them empty, a matrix (T, S) of how surely its pieces belong together, 0 to 1.

    Pieces, or words, are numbers from 1.

    The geometric mean of what both directions believe, in half precision. What a row or column lacks of 1 belongs to
    nothing; where several pieces believe in one, it may come to more.
    """
    pieces = 1 + max(max(ids) for side in (sources, targets) for ids in side)
    lengths = torch.tensor([list(map(len, sources)), list(map(len, targets))]).T
    groups = [
        part.tolist()
        for group in plan_in_order_of_length(lengths, 4000)
        for part in group.split(max(1, CELLS // int(lengths[group].amax(0).prod())))
    ]
    ahead, back = _direction(sources, targets, groups, pieces), _direction(targets, sources, groups, pieces)
    for number in tqdm(range(ROUNDS + ROUNDS_WITH_JUMPS), desc=bar, unit="round", disable=None, leave=False):
        for place, forward, backward in _posteriors(ahead, back, jumps=number >= ROUNDS):
            together = forward * backward.mT
            ahead.count(ahead.batches[place], together, forward)
            back.count(back.batches[place], together.mT, backward)
        ahead.update()
        back.update()
    found: list[Tensor] = [torch.empty(0)] * len(sources)
    for place, forward, backward in _posteriors(ahead, back, jumps=True):
        means = (forward * backward.mT).sqrt()
        grown = _grown(means > GROWING, _best(forward) | _best(backward).mT)
        means = torch.where(grown, means.clamp_min(GROWN), means)
        for row, mean in zip(groups[place], means, strict=True):
            found[row] = mean[: lengths[row, 1], : lengths[row, 0]].half()
    return found


def _best(posterior: Tensor) -> Tensor:
    """(B, T, S) True where each target piece most likely came of, unless that is nothing."""
    nothing = 1 - posterior.sum(2, keepdim=True)
    return (posterior == posterior.amax(2, keepdim=True)) & (posterior > nothing) & (posterior > 0)


def _grown(links: Tensor, candidates: Tensor) -> Tensor:
    """(B, T, S) the candidates beside a link, in one of eight directions, of a piece that had none; and beside these.

    Koehn et al. 2005, section 3, but for all places at once. "vor" is "in front of": both directions agree on one word
    of the three alone, since a piece of either language comes of one of the other.
    """
    found = links
    while True:
        beside = F.max_pool2d(found.float(), 3, stride=1, padding=1) > 0
        lonely = ~(found.any(2, keepdim=True) & found.any(1, keepdim=True))
        more = found | (candidates & beside & lonely)
        if torch.equal(more, found):
            return found & ~links
        found = more


def _posteriors(ahead: _Direction, back: _Direction, *, jumps: bool) -> Iterator[tuple[int, Tensor, Tensor]]:
    for place, (one, other) in enumerate(zip(ahead.batches, back.batches, strict=True)):
        yield place, ahead.posterior(one, jumps=jumps), back.posterior(other, jumps=jumps)


def _direction(sources: Rows, targets: Rows, groups: Sequence[Sequence[int]], pieces: int) -> _Direction:
    keys, masks = [], []
    for rows in groups:
        source, target = pad([list(sources[row]) for row in rows]), pad([list(targets[row]) for row in rows])
        with_nothing = F.pad(source, (0, 1), value=pieces)
        keys.append(with_nothing[:, None] * pieces + target[:, :, None])  # (B, T, S + 1)
        masks.append((source != PAD, target != PAD))
    every, numbers = torch.unique(torch.cat([key.flatten() for key in keys]), return_inverse=True)
    parts = numbers.split([key.numel() for key in keys])
    batches = [
        _Batch(list(rows), part.view(key.shape), *mask)
        for rows, part, key, mask in zip(groups, parts, keys, masks, strict=True)
    ]
    return _Direction(batches, every // pieces, pieces)
