"""What a translation model is: the legend of dimensions, Memory, State, and the contract Seq2Seq.

Legend, for the shapes in all comments:

    B  sentences                 H  heads                    V  target vocabulary
    K  hypotheses of a sentence  Dh width of a head          N  real target positions of a batch
    S  source length             D  width                    P  positions held in a State
    T  target length             L  decoder layers
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Extraction:
    """Which cross-attention to read a word alignment from."""

    layer: int  # decoder layer, from 0
    head: int | None = None  # from 0; None: the mean of all heads
    shift: int = 0  # row i + shift of the weights is read for target piece i; 0 or 1
    norms: bool = False  # not the weights alone, but times the norm of what they carry (Kobayashi et al. 2020)

    def __str__(self) -> str:
        head = "mean of heads" if self.head is None else f"head {self.head + 1}"
        return f"layer {self.layer + 1}, {head}, shift {self.shift}" + (", norms" if self.norms else "")


@dataclass(frozen=True)
class Moves:
    """Which sentences leave: the last ones that stay take the places of those that left, so that few rows are moved."""

    rows: list[int]  # where each of the sentences that stay has been so far, in their new order
    moved: Tensor  # those that move ...
    vacant: Tensor  # ... and the places, among the first len(rows), that they move to

    @staticmethod
    def keeping(stays: Sequence[bool], device: torch.device) -> "Moves":
        """The moves after which only those sentences are left that stay."""
        count = sum(stays)
        rows = list(range(count))
        vacant = [row for row in rows if not stays[row]]
        moved = [row for row in range(count, len(stays)) if stays[row]]
        for place, row in zip(vacant, moved, strict=True):
            rows[place] = row
        return Moves(
            rows,
            torch.tensor(moved, device=device, dtype=torch.long),
            torch.tensor(vacant, device=device, dtype=torch.long),
        )

    def apply(self, tensor: Tensor) -> Tensor:
        """The rows of the sentences that stay; writes over others."""
        return tensor.index_copy_(0, self.vacant, tensor.index_select(0, self.moved))[: len(self.rows)]


@dataclass(frozen=True)
class Memory:
    """What the decoder reads of the source, fixed while a sentence is decoded."""

    states: Tensor  # (B, S, D) the encoder's last layer
    mask: Tensor  # (B, S) True at real positions
    # What is already projected of them, for each layer with cross-attention:
    keys: tuple[Tensor, ...]  # (B, H, ·, S), as queries are multiplied by them
    values: tuple[Tensor, ...]  # (B, H, S, ·), as anything else reads them

    def contiguous(self) -> "Memory":
        """The same laid out for many reads: what `encode` gives may be views into larger tensors."""
        return Memory(
            self.states.contiguous(),
            self.mask,
            tuple(keys.contiguous() for keys in self.keys),
            tuple(values.contiguous() for values in self.values),
        )

    def keep(self, moves: Moves) -> "Memory":
        """The memory of some of the sentences; uses this one up."""
        return Memory(
            moves.apply(self.states),
            moves.apply(self.mask),
            tuple(moves.apply(keys) for keys in self.keys),
            tuple(moves.apply(values) for values in self.values),
        )

    def join(self, other: "Memory") -> "Memory":
        """The memory of these sentences, then others, as wide as the longest source."""
        longest = max(int(memory.mask.any(0).sum()) for memory in (self, other))
        return Memory(
            stack(self.states, other.states, 1, longest),
            stack(self.mask, other.mask, 1, longest),
            tuple(stack(*both, 3, longest) for both in zip(self.keys, other.keys, strict=True)),
            tuple(stack(*both, 2, longest) for both in zip(self.values, other.values, strict=True)),
        )


ROOM = 16  # steps that a buffer of entries has room for at first, before it is copied to grow


@dataclass(frozen=True)
class State:
    """What the decoder carries from step to step for K hypotheses of each sentence."""

    carried: tuple[Tensor, ...]  # (B, K, ·) follow their hypothesis
    entries: tuple[Tensor, ...]  # (B, H, P or more, Dh) buffers that hypotheses share; an entry never moves
    visible: Tensor  # (B, K, P) which entries lie on a hypothesis' path
    lengths: list[int]  # B: the tokens that a sentence's hypotheses have read so far

    def keep(self, moves: Moves) -> "State":
        """The state of some of the sentences; uses this one up."""
        return replace(
            self,
            carried=tuple(moves.apply(tensor) for tensor in self.carried),
            entries=tuple(moves.apply(tensor) for tensor in self.entries),
            visible=moves.apply(self.visible),
            lengths=[self.lengths[row] for row in moves.rows],
        )

    def reorder(self, parents: Tensor) -> "State":
        """The state whose hypothesis k goes on from hypothesis parents[b, k] of this one; parents: (B, K')."""
        return replace(
            self,
            carried=tuple(_follow(tensor, parents) for tensor in self.carried),
            visible=_follow(self.visible, parents),
        )

    def join(self, other: "State") -> "State":
        """The state of these sentences, then others, with as many hypotheses of each; the last entries meet."""
        held = max(state._held() for state in (self, other))
        room = ROOM * self.visible.shape[1]

        def newest(first: Tensor, second: Tensor) -> Tensor:
            own = first[:, :, : self.visible.shape[2]], second[:, :, : other.visible.shape[2]]
            return stack(*own, 2, held, room=room, newest=True)

        return State(
            tuple(torch.cat(both) for both in zip(self.carried, other.carried, strict=True)),
            tuple(newest(*both) for both in zip(self.entries, other.entries, strict=True)),
            stack(self.visible, other.visible, 2, held, newest=True),
            self.lengths + other.lengths,
        )

    def _held(self) -> int:
        """The number of entries from the first one on that any hypothesis sees."""
        seen = self.visible.flatten(0, 1).any(0)  # (P,)
        return int(seen.int().cumsum(0).bool().sum())


def append(buffer: Tensor, used: int, new: Tensor) -> Tensor:
    """The buffer (B, H, P or more, Dh) with new entries (B, H, K, Dh) behind its first `used`; grown by doubling."""
    held = used + new.shape[2]
    if held > buffer.shape[2]:
        old, buffer = buffer, new.new_empty(*new.shape[:2], max(held, 2 * used, ROOM * new.shape[2]), new.shape[3])
        buffer[:, :, :used] = old[:, :, :used]
    buffer[:, :, used:held] = new
    return buffer


def stack(first: Tensor, second: Tensor, dim: int, size: int, *, room: int = 0, newest: bool = False) -> Tensor:
    """The rows of two tensors, of which one dimension is cut or padded with 0 to a size.

    newest: what stands at the end of that dimension is kept, and stays there. room: how much more is left behind it.
    """
    shape = list(first.shape)
    shape[0], shape[dim] = len(first) + len(second), size + room
    stacked = first.new_zeros(shape)
    for rows, tensor in zip(stacked.split([len(first), len(second)]), (first, second), strict=True):
        count = min(size, tensor.shape[dim])
        place, origin = (size - count, tensor.shape[dim] - count) if newest else (0, 0)
        rows.narrow(dim, place, count).copy_(tensor.narrow(dim, origin, count))
    return stacked


def _follow(tensor: Tensor, parents: Tensor) -> Tensor:
    return tensor.gather(1, parents[:, :, None].expand(-1, -1, tensor.shape[2]))


class Seq2Seq(nn.Module, abc.ABC):
    """The contract of both models: all that trainer, search and alignment know of them."""

    attention_layers: int  # decoder layers with cross-attention; 0: `attention` has nothing to give
    attention_heads: int  # of each such layer
    default_extraction: Extraction | None  # where this model aligns best; None without attention
    most_positions: int | None = None  # of a side, <s> or </s> counted, that it can read; None: any number

    def forward(self, source: Tensor, target_in: Tensor) -> Tensor:
        """Features (B, T, D): encode, then decode."""
        return self.decode(self.encode(source), target_in)

    @abc.abstractmethod
    def encode(self, source: Tensor) -> Memory:
        """The memory of source ids (B, S), padded on the right, each row ending in </s>."""

    @abc.abstractmethod
    def decode(self, memory: Memory, target_in: Tensor, weights: Tensor | None = None) -> Tensor:
        """Features (B, T, D) of target ids (B, T): teacher forcing.

        Where `weights` (B, L, H, T, S) are given, as `attention` returns them for all layers, the decoder reads the
        source by these instead of by its own: what would it say had it looked elsewhere?
        """

    @property
    @abc.abstractmethod
    def output(self) -> tuple[Tensor, Tensor]:
        """Weight (V, D) and bias (V) of the last layer, which is linear; tied: the embedding's own tensor."""

    @abc.abstractmethod
    def initial_state(self, memory: Memory) -> State:
        """The state before the first step, with one hypothesis a sentence (K = 1)."""

    @abc.abstractmethod
    def step(self, memory: Memory, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Logits (B, K, V) after the tokens (B, K), the caller's to write over, and the next state; uses `state` up."""

    @abc.abstractmethod
    def attention(self, memory: Memory, target_in: Tensor, layers: Sequence[int]) -> Tensor:
        """Cross-attention weights (B, L, H, T, S) of the given layers, by teacher forcing.

        Rows of real positions sum to 1 and are 0 on source padding.
        """

    @abc.abstractmethod
    def value_products(self, memory: Memory, layers: Sequence[int]) -> Tensor:
        """(B, L, S, H, H) products <f_h(x), f_h'(x)> of what the heads of the given layers carry over from position x.

        Of that the weight a_h is read by head h, so a position's share of what is read has the squared norm a · P a
        (Kobayashi et al. 2020, section 2.2), without a vector of width D for each of T × S.
        """


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Trainable numbers of a model, tied ones once: all of them, and those of embeddings."""
    embeddings = {
        parameter for module in model.modules() if isinstance(module, nn.Embedding) for parameter in module.parameters()
    }
    return sum(p.numel() for p in model.parameters()), sum(p.numel() for p in embeddings)


def lengths_of(mask: Tensor) -> Tensor:
    """(B,) the number of real positions of each row of a mask (B, S)."""
    return mask.sum(1, dtype=torch.long)
