"""Updates planned by padded tokens, and the batches that they become.

`max_tokens` is the padded tokens of a whole update: rows × the longer side, <s> and </s> counted.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nmt.hardware import to_device
from nmt.subwords import BOS, EOS, PAD

Rows = Sequence[Sequence[int]] | Sequence[NDArray[np.int32]]  # ids of sentences, (B, ·)

PART = 1 << 16  # pairs sorted or filtered at a time: small in memory


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
            source=to_device(self.source, device),
            target_in=to_device(self.target_in, device),
            target_out=to_device(self.target_out, device),
            predicted=to_device(self.predicted, device),
        )


def make_batch(sources: Rows, targets: Rows, lines: Tensor, *, multiple: int = 1) -> Batch:
    """A batch of pairs of ids, given without <s> and </s>; lengths are padded to a multiple of `multiple`."""
    target_out = pad(targets, end=True, multiple=multiple)  # (B, T)
    predicted = (target_out != PAD).flatten().nonzero()[:, 0]
    return Batch(
        source=pad(sources, end=True, multiple=multiple),
        target_in=pad(targets, begin=True, multiple=multiple),
        target_out=target_out,
        predicted=predicted,
        tokens=len(predicted),
        lines=lines,
    )


def pad(rows: Rows, *, begin: bool = False, end: bool = False, multiple: int = 1) -> Tensor:
    """Rows of ids as one tensor (B, longest), PAD on the right; begin: with <s> before each, end: with </s> behind.

    multiple: the longest is rounded up to a multiple of it.
    """
    counts = np.fromiter(map(len, rows), np.int64, len(rows)) + begin
    longest = -(-(int(counts.max(initial=0)) + end) // multiple) * multiple
    padded = np.full((len(rows), longest), PAD, np.int64)
    places = np.arange(padded.shape[1])
    if rows:
        # All ids in one go: ten times as fast as row by row. `casting`: of an empty list, NumPy thinks it holds floats.
        padded[(places >= begin) & (places < counts[:, None])] = np.concatenate(rows, dtype=np.int64, casting="unsafe")
    if begin:
        padded[:, 0] = BOS
    if end:
        padded[np.arange(len(rows)), counts] = EOS
    return torch.from_numpy(padded)


@dataclass(frozen=True)
class Plan(Sequence[Tensor]):
    """The updates of an epoch: for each, the indices of its pairs, the shortest first."""

    order: Tensor  # (pairs,) the indices, update behind update
    spans: Tensor  # (updates, 2) where in `order` each update begins and ends

    def __len__(self) -> int:
        return len(self.spans)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> "Plan": ...
    def __getitem__(self, index: int | slice) -> "Tensor | Plan":
        if isinstance(index, slice):
            return Plan(self.order, self.spans[index])
        begin, end = self.spans[index].tolist()
        return self.order[begin:end].long()


def plan_updates(lengths: Tensor, max_tokens: int, seed: int, epoch: int, pairs: Tensor | None = None) -> Plan:
    """The plan of an epoch: every pair is in exactly one update.

    `lengths` (lines, 2) are pieces of source and target without <s> and </s>; `pairs` are the indices of those to plan,
    if not all: in 32 or 64 bits, and so are the plan's.
    Pairs of like length go together: sorted by the longer side, then by source and target, ties in random order; then
    the updates are shuffled. Follows from the arguments alone.
    """
    if pairs is None:
        pairs = torch.arange(len(lengths))
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    shuffled = pairs.index_select(0, torch.randperm(len(pairs), generator=generator, dtype=pairs.dtype))
    order = _sort_by_length(shuffled, lengths)
    spans = _cut(order, lengths, max_tokens)
    return Plan(order, spans[torch.randperm(len(spans), generator=generator)])


def plan_in_order_of_length(lengths: Tensor, max_tokens: int) -> list[Tensor]:
    """Groups of like length within `max_tokens` padded tokens, nothing random; lengths: (pairs, 2) or (lines, 1)."""
    order = _sort_by_length(torch.arange(len(lengths)), lengths)
    return list(Plan(order, _cut(order, lengths, max_tokens)))


def share(part: int, parts: int) -> slice:
    """Which pairs of an update one of several parts computes: each gets short and long ones alike."""
    return slice(part, None, parts)


def padding_share(updates: Iterable[Tensor], lengths: Tensor) -> float:
    """The share of padded tokens, of both sides together, that are padding."""
    real = padded = 0
    for update in updates:
        own = lengths[update]  # (B, 2)
        real += int(own.sum()) + 2 * len(own)
        padded += (int(own.amax(0).sum()) + 2) * len(own)
    return 1 - real / padded if padded else 0.0


def _sort_by_length(indices: Tensor, lengths: Tensor) -> Tensor:
    """The indices in the order of their lengths; those of equal lengths keep theirs.

    A sort of integers in place, since it takes 8 bytes a pair where an indirect sort takes three times as much. In each
    lies the number of a pair's lengths, and in its lower bits the pair's place among the indices.
    """
    bits = len(indices).bit_length()
    keys = torch.empty(len(indices), dtype=torch.int64)
    for start, part in _parts(indices):
        own = lengths[part].long()  # (P, 1 or 2)
        source, longer = own[:, 0], own.amax(1)
        # Numbered in shells of the longer side (Rosenberg & Strong 1972), within a shell by source, then by target;
        # there is room for a billion sentences of 90,000 pieces.
        number = longer * longer + source + torch.where(source == longer, own[:, -1], 0)
        keys[start : start + len(part)] = (number << bits) | torch.arange(start, start + len(part))
    keys.numpy().sort()
    order = torch.empty_like(indices)
    for start, part in _parts(keys):
        order[start : start + len(part)] = indices[part & ((1 << bits) - 1)]
    return order


def _parts(tensor: Tensor) -> Iterator[tuple[int, Tensor]]:
    """A long tensor in parts, each with where it begins, so that what is computed of one takes little memory."""
    return ((start, tensor[start : start + PART]) for start in range(0, len(tensor), PART))


def _cut(order: Tensor, lengths: Tensor, max_tokens: int) -> Tensor:
    """(updates, 2) where in an order of rising length each update begins and ends: as long as `max_tokens` allows."""
    indices, sides = order.numpy(), lengths.numpy()  # which give single numbers several times as fast

    def tokens(place: int) -> int:
        return int(sides[indices[place]].max()) + 1  # of the longer side: </s> or <s>

    cuts, start = [0], 0
    while start < len(order):
        # As lengths rise, the last pair's length is the update's: shrink until the rows fit it.
        count = max(1, min(max_tokens // tokens(start), len(order) - start))
        while count > 1 and count * tokens(start + count - 1) > max_tokens:
            count = max(1, max_tokens // tokens(start + count - 1))
        start += count
        cuts.append(start)
    return torch.stack([torch.tensor(cuts[:-1]), torch.tensor(cuts[1:])], dim=1).long()
