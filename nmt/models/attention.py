"""Additive attention and multi-head scaled dot-product attention."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AdditiveAttention(nn.Module):
    """A small network scores each source position against the decoder's state (Bahdanau et al. 2015, A.1.2)."""

    def __init__(self, query_size: int, key_size: int, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, hidden, bias=False)
        self.key = nn.Linear(key_size, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        """(B, S, hidden) the part of the scores that depends on the source alone: computed once a sentence."""
        projected: Tensor = self.key(states)
        return projected

    def forward(self, query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Weights (B, K, S) of queries (B, K, ·) over keys (B, S, hidden); 0 where the mask (B, S) is False."""
        hidden = torch.tanh(self.query(query)[:, :, None] + keys[:, None])  # (B, K, S, hidden)
        scores = self.score(hidden)[..., 0]  # (B, K, S)
        return scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1)


class MultiHeadAttention(nn.Module):
    """Projections into heads and back; what lies between is a function below (Vaswani et al. 2017, 3.2.2)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def queries(self, x: Tensor) -> Tensor:
        """(B, H, ·, Dh) of (B, ·, D)."""
        return self._split(self.query(x))

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Two of (B, H, ·, Dh) of (B, ·, D)."""
        return self._split(self.key(x)), self._split(self.value(x))

    def merge(self, context: Tensor) -> Tensor:
        """(B, ·, D) of what the heads have read (B, H, ·, Dh)."""
        merged: Tensor = self.out(context.transpose(1, 2).flatten(2))
        return merged

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """What queries (B, H, T, Dh) read of values (B, H, S, Dh), by the fused kernel, which keeps no weights.

    mask: broadcast to (B, H, T, S), True where there is something to read.
    """
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=causal)


def attention_weights(query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    """(B, H, T, S) the weights by which `attend` reads: softmax of scaled products, 0 where the mask is False."""
    scores = query @ keys.transpose(-2, -1) / math.sqrt(query.shape[-1])
    return scores.masked_fill(~mask, -torch.inf).softmax(-1)
