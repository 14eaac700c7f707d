"""Several models of the same subwords as one."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from nmt.models.base import Memory, Seq2Seq, State
from nmt.subwords import EOS


@dataclass(frozen=True)
class _Places:
    """Where a member's part is among the tensors of all."""

    states: slice  # of the width of Memory.states
    keys: slice  # of Memory.keys, and so on
    values: slice
    carried: slice
    entries: slice


class Ensemble(Seq2Seq):
    """Translates by the mean of its members' logits, which is the geometric mean of their probabilities, renormalised.

    Its memory, state and features are its members' side by side. It has no attention of its own.
    """

    attention_layers, attention_heads, default_extraction = 0, 1, None

    def __init__(self, members: Sequence[Seq2Seq]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)  # so that they are moved, trained and saved with this one
        parts = [_slices(column) for column in zip(*map(_sizes, members), strict=True)]
        places = [_Places(*own) for own in zip(*parts, strict=True)]
        self.parts = list(zip(members, places, strict=True))
        bounds = [member.most_positions for member in members if member.most_positions is not None]
        self.most_positions = min(bounds, default=None)

    def encode(self, source: Tensor) -> Memory:
        memories = [member.encode(source) for member, _ in self.parts]
        return Memory(
            torch.cat([memory.states for memory in memories], dim=2),
            memories[0].mask,
            tuple(keys for memory in memories for keys in memory.keys),
            tuple(values for memory in memories for values in memory.values),
        )

    def decode(self, memory: Memory, target_in: Tensor, weights: Tensor | None = None) -> Tensor:
        # There is no layer of attention that `weights` could be of.
        return torch.cat([member.decode(_memory_of(memory, places), target_in) for member, places in self.parts], dim=2)

    @property
    def output(self) -> tuple[Tensor, Tensor]:
        outputs = [member.output for member, _ in self.parts]
        weight = torch.cat([weight.t() for weight, _ in outputs]).t()  # laid out as search likes it
        return weight / len(outputs), torch.stack([bias for _, bias in outputs]).mean(0)

    def initial_state(self, memory: Memory) -> State:
        return _joined([member.initial_state(_memory_of(memory, places)) for member, places in self.parts])

    def step(self, memory: Memory, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        logits, states = [], []
        for member, places in self.parts:
            own = State(state.carried[places.carried], state.entries[places.entries], state.visible, state.lengths)
            found, after = member.step(_memory_of(memory, places), own, tokens)
            logits.append(found)
            states.append(after)
        total = logits[0]
        for others in logits[1:]:
            total += others
        return total.div_(len(logits)), _joined(states)

    def attention(self, memory: Memory, target_in: Tensor, layers: Sequence[int]) -> Tensor:
        sentences, length = target_in.shape
        return memory.states.new_zeros(sentences, 0, 1, length, memory.states.shape[1])

    def value_products(self, memory: Memory, layers: Sequence[int]) -> Tensor:
        sentences, length, _ = memory.states.shape
        return memory.states.new_zeros(sentences, 0, length, 1, 1)


@torch.no_grad()
def _sizes(member: Seq2Seq) -> list[int]:
    """How much of each of `_Places` a member has, by a source of no words."""
    weight, _ = member.output
    memory = member.encode(torch.tensor([[EOS]], device=weight.device))
    state = member.initial_state(memory)
    lists = (memory.keys, memory.values, state.carried, state.entries)
    return [memory.states.shape[2], *map(len, lists)]


def _slices(sizes: Sequence[int]) -> list[slice]:
    """Side by side."""
    ends = list(accumulate(sizes))
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _memory_of(memory: Memory, places: _Places) -> Memory:
    return Memory(
        memory.states[:, :, places.states], memory.mask, memory.keys[places.keys], memory.values[places.values]
    )


def _joined(states: Sequence[State]) -> State:
    """The members' states as one; those that keep entries keep them of the same steps, and others look at none."""
    return State(
        tuple(tensor for state in states for tensor in state.carried),
        tuple(tensor for state in states for tensor in state.entries),
        max((state.visible for state in states), key=lambda visible: visible.shape[2]),
        states[0].lengths,
    )
