"""Updates planned by padded tokens, and the batches that they become.

`max_tokens` is the padded tokens of a whole update: rows × the longer side, <s> and </s> counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nmt.subwords import BOS, EOS, PAD


@dataclass(frozen=True)
class Batch:
    """Pairs of ids, padded on the right."""

    source: Tensor  # (B, S) ids, each row ends in </s>
    target_in: Tensor  # (B, T) ids, each row begins with <s>
    target_out: Tensor  # (B, T) the same shifted by one: each row ends in </s>
    predicted: Tensor  # (N,) flat indices of the real positions of target_out, made on the CPU
    tokens: int  # N: real target tokens, </s> counted
    lines: Tensor  # (B,) line numbers of the pairs, from 0; stays on the CPU

    def to(self, device: torch.device) -> "Batch":
        return replace(
            self,
            source=self.source.to(device),
            target_in=self.target_in.to(device),
            target_out=self.target_out.to(device),
            predicted=self.predicted.to(device),
        )


def make_batch(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], lines: Tensor) -> Batch:
    """A batch of pairs of ids, given without <s> and </s>."""
    target_out = pad([[*target, EOS] for target in targets])  # (B, T)
    predicted = (target_out != PAD).flatten().nonzero()[:, 0]
    return Batch(
        source=pad([[*source, EOS] for source in sources]),
        target_in=pad([[BOS, *target] for target in targets]),
        target_out=target_out,
        predicted=predicted,
        tokens=len(predicted),
        lines=lines,
    )


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of ids as one tensor (B, longest), PAD on the right."""
    longest = max(map(len, rows), default=0)
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows], dtype=torch.long)


def plan_updates(lengths: Tensor, max_tokens: int, seed: int, epoch: int) -> list[Tensor]:
    """The updates of an epoch: for each, the indices of its pairs, the shortest first.

    `lengths` (pairs, 2) are pieces of source and target without <s> and </s>. Every pair is in exactly one update.
    Pairs of like length go together: sorted by the longer side, then by source and target, ties in random order;
    then the updates are shuffled. Follows from the arguments alone (DESIGN's invariant: same pairs, same order).
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    shuffled = torch.randperm(len(lengths), generator=generator)
    order = shuffled[_sort_by_length(lengths[shuffled])]
    updates = _cut(order, lengths, max_tokens)
    return [updates[index] for index in torch.randperm(len(updates), generator=generator).tolist()]


def plan_in_order_of_length(lengths: Tensor, max_tokens: int) -> list[Tensor]:
    """Groups of like length within `max_tokens` padded tokens, nothing random; lengths: (pairs, 2) or (lines, 1)."""
    return _cut(_sort_by_length(lengths), lengths, max_tokens)


def share(update: Tensor, part: int, parts: int) -> Tensor:
    """The pairs of an update that one of several parts computes: each gets short and long ones alike."""
    return update[part::parts]


def padding_share(updates: Sequence[Tensor], lengths: Tensor) -> float:
    """The share of padded tokens, of both sides together, that are padding."""
    real = sum(int(lengths[update].sum()) + 2 * len(update) for update in updates)
    padded = sum(int(lengths[update].amax(0).sum() + 2) * len(update) for update in updates)
    return 1 - real / padded if padded else 0.0


def _sort_by_length(lengths: Tensor) -> Tensor:
    longer = lengths.amax(1).long()
    # One key for a stable sort; lengths fit 20 bits, since no pair is longer than a batch.
    key = (longer << 40) | (lengths[:, 0].long() << 20) | lengths[:, -1].long()
    return torch.sort(key, stable=True).indices


def _cut(order: Tensor, lengths: Tensor, max_tokens: int) -> list[Tensor]:
    """Runs of an order of rising length, each as long as `max_tokens` allows."""
    rows = lengths.amax(1)[order].long() + 1  # padded tokens of a pair's longer side: </s> or <s>
    updates, start = [], 0
    while start < len(order):
        # As lengths rise, the last pair's length is the update's: shrink until the rows fit it.
        count = max(1, min(max_tokens // int(rows[start]), len(order) - start))
        while count > 1 and count * int(rows[start + count - 1]) > max_tokens:
            count = max(1, max_tokens // int(rows[start + count - 1]))
        updates.append(order[start : start + count])
        start += count
    return updates
