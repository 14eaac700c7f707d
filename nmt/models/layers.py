"""What both models are built from: dropout, embeddings, positions, feed-forward, GRU cell."""

import functools
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.base import lengths_of
from nmt.subwords import PAD


class Dropout(nn.Module):
    """In training each number is 0 with probability p, else 1 / (1 - p) times itself (Srivastava et al. 2014).

    On the CPU p is rounded to a 256th, but not to 0 or 1: eight bytes of one random integer decide over eight numbers,
    which takes a sixth of the time of `nn.Dropout`; that was a quarter of a small Transformer's update.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    @property
    def active(self) -> bool:
        """Whether it changes anything now."""
        return self.training and self.p > 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.active:
            return x
        if x.device.type != "cpu":  # a GPU has one kernel for it, and no trouble to draw numbers
            return F.dropout(x, self.p)
        dropped = min(max(1, round(self.p * 256)), 255)  # bytes below it stand for a 0
        # The whole range of the integers: without a range torch leaves the sign bit, and so every eighth byte, biased.
        drawn = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = drawn.view(torch.uint8)[: x.numel()].view(x.shape).ge_(dropped)  # 0 and 1, where they were drawn
        return x * kept.to(x.dtype).mul_(256 / (256 - dropped))


class WordDropout(nn.Module):
    """In training each vector (of a word, say) is 0 with probability p, else 1 / (1 - p) times itself.

    Gal & Ghahramani 2016 drop a word wherever it stands in a sentence, Sennrich et al. 2016 (Edinburgh's systems for
    WMT 16) each of its places by itself, as here.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.whole = Dropout(p)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) of (B, T, D)."""
        return x * self.whole(x.new_ones(*x.shape[:2], 1)) if self.whole.active else x


class Embeddings(nn.Module):
    """Embeddings of source and target and the output layer's weights, shared where they are tied."""

    def __init__(self, source_size: int, target_size: int, width: int, *, tied: bool, joint: bool) -> None:
        super().__init__()
        self.target = nn.Embedding(target_size, width)
        self.source = self.target if tied and joint else nn.Embedding(source_size, width)
        self.output_weight = self.target.weight if tied else nn.Parameter(torch.empty(target_size, width))
        self.output_bias = nn.Parameter(torch.zeros(target_size))
        # Tied ones once, and in this order whatever the run: a set's would follow from addresses in memory.
        for weight in dict.fromkeys([self.source.weight, self.target.weight, self.output_weight]):
            # As an output layer the variance must be 1 / width (Vaswani et al. 2017, 3.4, scale it back up on input).
            nn.init.normal_(weight, std=width**-0.5)


def sinusoidal_positions(length: int, width: int, like: Tensor) -> Tensor:
    """(length, width) encodings of positions 0, 1, ... (Vaswani et al. 2017, 3.5).

    Sines stand in the first half, cosines in the second: a permutation of the paper's.
    """
    return _position_table(1 << length.bit_length(), width, like.dtype, like.device)[:length]


@functools.lru_cache(maxsize=32)  # a search asks for them at each step
def _position_table(length: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    positions = torch.arange(length, device=device, dtype=torch.float64)
    rates = torch.exp(torch.arange(width // 2, device=device, dtype=torch.float64) * (-math.log(10_000) * 2 / width))
    angles = positions[:, None] * rates  # (length, width / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(dtype)


def linear(inputs: int, *outputs: int) -> nn.Linear:
    """One linear layer for several matrices side by side, each drawn by itself (Glorot & Bengio 2010); biases are 0."""
    layer = nn.Linear(inputs, sum(outputs))
    for weight in layer.weight.detach().split(outputs):
        nn.init.xavier_uniform_(weight)
    nn.init.zeros_(layer.bias)
    return layer


@torch.no_grad()
def lay_out_for_search(model: nn.Module) -> None:
    """Turn the memory of weights that are multiplied by, so that a product of few rows takes half to two thirds.

    5 rows by (128, 128): 4 µs instead of 7; by (128, 8000): 190 instead of 295; from 600 rows on they take as long.
    The values stay as they are, but tied weights are tied no more, as a lookup needs the rows of its table whole.
    Nothing can be trained thereafter.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight = _turned(module.weight)
        elif isinstance(module, Embeddings):
            module.output_weight = _turned(module.output_weight)


def _turned(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.t().contiguous().t(), requires_grad=False)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU (Vaswani et al. 2017, 3.3) or GELU (Hendrycks & Gimpel 2016) between."""

    def __init__(self, width: int, hidden: int, activation: Literal["relu", "gelu"] = "relu") -> None:
        super().__init__()
        self.smooth = activation == "gelu"
        self.widen = linear(width, hidden)
        self.narrow = linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.widen(x)
        narrowed: Tensor = self.narrow(F.gelu(wide) if self.smooth else F.relu_(wide))
        return narrowed


def gru_cell(from_input: Tensor, from_state: Tensor, state: Tensor) -> Tensor:
    """(·, D) a GRU's next state, from the linear parts (·, 3D) of its input and of its state: reset, update, candidate.

    The reset gate is applied to U s + b, as in `nn.GRU`; the paper (Bahdanau et al. 2015, A.1.1) applies it to s.
    This way the state's three products are one.
    """
    width = state.shape[-1]
    gates_input, candidate_input = from_input.split([2 * width, width], dim=-1)
    gates_state, candidate_state = from_state.split([2 * width, width], dim=-1)
    reset, update = torch.sigmoid(gates_input + gates_state).split(width, dim=-1)
    candidate = torch.tanh(torch.addcmul(candidate_input, reset, candidate_state))
    return torch.lerp(candidate, state, update)


class BidirectionalGRU(nn.Module):
    """One layer of two GRUs, the second reading each row from its last real position to its first."""

    def __init__(self, input_size: int, size: int) -> None:
        super().__init__()
        self.forwards = nn.GRU(input_size, size, batch_first=True)
        self.backwards = nn.GRU(input_size, size, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """States (B, S, 2 × size) of inputs (B, S, ·): forwards, then backwards; padding changes no real position."""
        # Padding stands on the right, so it comes after all real positions in either direction, and two plain GRUs
        # equal the packed form without needing lengths on the CPU.
        reverse = reversal(mask)  # (B, S)
        ahead, _ = self.forwards(x)
        back, _ = self.backwards(x.gather(1, reverse[:, :, None].expand_as(x)))
        back = back.gather(1, reverse[:, :, None].expand_as(back))
        return torch.cat([ahead, back], dim=2)


def reversal(mask: Tensor) -> Tensor:
    """(B, S) indices that reverse each row's real positions and leave padding where it is; its own inverse."""
    positions = torch.arange(mask.shape[1], device=mask.device)[None]  # (1, S)
    return torch.where(mask, lengths_of(mask)[:, None] - 1 - positions, positions)


def real_positions(source: Tensor) -> Tensor:
    """(B, S) True where there is no padding."""
    return source != PAD
