"""Additive attention and multi-head scaled dot-product attention."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.models.layers import Dropout, linear

# Numbers in a vector register. Torch's softmax takes shorter rows number by number on the CPU: of 13, six times as long
# as the four operations in `_softmax`, and attention fused with it more than twice as long as over 16 keys.
VECTOR = 16


class AdditiveAttention(nn.Module):
    """A small network scores each source position against the decoder's state (Bahdanau et al. 2015, A.1.2)."""

    def __init__(self, query_size: int, key_size: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.query = nn.Linear(query_size, hidden, bias=False)
        self.key = nn.Linear(key_size, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        """(B, S, hidden) the part of the scores that depends on the source alone: computed once a sentence."""
        projected: Tensor = self.key(states)
        return projected

    def forward(self, query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Weights (B, K, S) of queries (B, K, ·) over keys (B, S, hidden); 0 where the mask (B, S) is False."""
        hidden = (self.query(query)[:, :, None] + keys[:, None]).tanh_()  # (B, K, S, hidden)
        scores = self.score(hidden)[..., 0]  # (B, K, S)
        return self.dropout(scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1))


class SelfAttention(nn.Module):
    """A sequence projected into heads and back (Vaswani et al. 2017, 3.2.2); what lies between is a function below."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = linear(width, width, width, width)
        self.out = linear(width, width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, H, T, Dh), of (B, T, D)."""
        query, key, value = _split(self.query_key_value(x), 3, self.heads)
        return query, key, value


class CrossAttention(nn.Module):
    """The same between two sequences."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = linear(width, width)
        self.key_value = linear(width, width, width)
        self.out = linear(width, width)

    def queries(self, x: Tensor) -> Tensor:
        """(B, H, T, Dh) of (B, T, D)."""
        return _split(self.query(x), 1, self.heads)[0]

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B, H, Dh, S), as queries are multiplied by them, and values (B, H, S, Dh), of (B, S, D)."""
        key, value = _split(self.key_value(states), 2, self.heads)
        return key.transpose(2, 3), value

    def carried(self, values: Tensor) -> Tensor:
        """(B, H, S, D) what each head adds to the output if it reads one of its values (B, H, S, Dh) alone."""
        parts = self.out.weight.unflatten(1, (self.heads, -1)).permute(1, 2, 0)  # (H, Dh, D)
        return values @ parts


def _split(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """The parts that stand side by side in (B, T, parts × D), each (B, H, T, Dh)."""
    sentences, length, width = x.shape
    return x.view(sentences, length, parts, heads, width // (parts * heads)).permute(2, 0, 3, 1, 4).unbind(0)


def merge_heads(context: Tensor) -> Tensor:
    """(B, T, D), what `out` reads, of what the heads have read (B, H, T, Dh)."""
    return context.transpose(1, 2).flatten(2)


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: Dropout | None = None) -> Tensor:
    """What queries (B, H, T, Dh) read of values (B, H, S, Dh), by the fused kernel, which keeps no weights.

    mask: broadcast to (B, H, T, S), True where there is something to read; None: causal, where S is T.
    dropout: of the weights.
    """
    causal = mask is None
    dropped = dropout.p if dropout is not None and dropout.active else 0.0
    if dropout is not None and dropped and query.device.type == "cpu":
        # The CPU's fused kernel knows no dropout, and torch's way around it takes 1.2 to 1.5 times as long as this one,
        # which takes 1.0 to 1.6 times as long as the kernel: 20 to 64 keys, forwards and backwards.
        if mask is None:
            mask = torch.ones(query.shape[2], keys.shape[2], dtype=torch.bool).tril()
        return dropout(attention_weights(query, keys.mT, mask)) @ values
    missing = VECTOR - keys.shape[2] if keys.device.type == "cpu" else 0
    if missing > 0:
        keys, values = F.pad(keys, (0, 0, 0, missing)), F.pad(values, (0, 0, 0, missing))
        mask = None if mask is None else F.pad(mask, (0, missing))  # a causal one sees no key behind the last query
    return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=causal, dropout_p=dropped)


def attention_weights(query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    """(B, H, T, S) the weights by which `attend` reads: softmax of scaled products, 0 where the mask is False.

    keys: (B, H, Dh, S).
    """
    scores = query @ keys / math.sqrt(query.shape[-1])
    return scores.masked_fill(~mask, -torch.inf).softmax(-1)


def additive_mask(mask: Tensor, like: Tensor) -> Tensor:
    """0 where a mask is True and -inf elsewhere, in the number type of `like`: what `read` adds to its scores."""
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(~mask, -torch.inf)


def read(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """What `attend` gives, for few queries (B, H, K, Dh), keys (B, H, Dh, S) and an additive mask; no gradient.

    By two batched products: for 5 queries over 13 to 100 keys the CPU's fused kernel takes 2.1 to 1.3 times as long.
    """
    sentences, heads, hypotheses, width = query.shape
    scores = torch.bmm(query.flatten(0, 1), keys.flatten(0, 1)).view(sentences, heads, hypotheses, -1)
    weights = _softmax(torch.add(mask, scores, alpha=1 / math.sqrt(width)))
    return torch.bmm(weights.flatten(0, 1), values.flatten(0, 1)).view(query.shape)


def _softmax(scores: Tensor) -> Tensor:
    """Softmax of the last dimension; writes over the scores."""
    if scores.shape[-1] >= VECTOR:
        return scores.softmax(-1)
    exponentials = scores.sub_(scores.amax(-1, keepdim=True)).exp_()
    return exponentials.div_(exponentials.sum(-1, keepdim=True))
