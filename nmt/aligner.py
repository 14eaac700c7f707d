"""A small network that tells from a frozen model's states which pieces belong together."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from nmt.alignment import Least
from nmt.checkpoint import load_weights
from nmt.models.base import Memory
from nmt.models.layers import linear

WIDTH, HIDDEN = 128, 384
# Of links. Error rates of the toy corpus's Transformer over 0.25, 0.3, 0.35: 6.7, 6.7, 6.6 %, of its RNN 6.2, 6.3, 6.5;
# without a lower weight beside links 7.0, 7.5, 8.0 and 6.7, 7.0, 7.4.
LEAST = Least(0.3, beside=0.15)


class Aligner(nn.Module):
    """How surely the pieces of a source and of its translation, which is known, belong together.

    Attention looks before a word is known. Here a target piece is asked for by the decoder's features that predicted
    it and by those that have read it (as in Chen et al. 2020), and has to be chosen by its source piece as much as
    it chooses it, which a softmax over each makes sure of (as in Dou & Neubig 2021).
    """

    def __init__(self, states: int, features: int) -> None:
        """States and features: widths of what the model's encoder and decoder give."""
        super().__init__()
        self.target = nn.Sequential(linear(2 * features, HIDDEN), nn.ReLU(), linear(HIDDEN, WIDTH))
        self.source = nn.Sequential(linear(states, HIDDEN), nn.ReLU(), linear(HIDDEN, WIDTH))
        # What pieces that belong to nothing choose: of the source, and of the target.
        self.no_source, self.no_target = (nn.Parameter(0.1 * torch.randn(1, 1, WIDTH)) for _ in range(2))

    @staticmethod
    def of(weights: dict[str, Tensor], origin: Path) -> "Aligner":
        """The aligner of saved weights."""
        aligner = Aligner(weights["source.0.weight"].shape[1], weights["target.0.weight"].shape[1] // 2)
        load_weights(aligner, weights, origin)
        return aligner

    def forward(self, memory: Memory, features: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, T, S) of each target piece's choice and (B, S, T) of each source piece's.

        The last choice is nothing: S and T count the source's `</s>` and the target's, in whose place it stands.
        features: (B, T, D) of target_in, so of T - 1 pieces; target: (B, T) True at pieces and `</s>`.
        """
        known = torch.cat([features[:, :-1], features[:, 1:]], dim=2)  # (B, T - 1, 2D)
        sentences = len(known)
        asking = torch.cat([self.target(known), self.no_target.expand(sentences, -1, -1)], dim=1)  # (B, T, WIDTH)
        asked = torch.cat([self.source(memory.states[:, :-1]), self.no_source.expand(sentences, -1, -1)], dim=1)
        scores = asking @ asked.mT / math.sqrt(WIDTH)  # (B, T, S)
        return (
            scores.masked_fill(~_pieces(memory.mask)[:, None], -torch.inf).log_softmax(2),
            scores.mT.masked_fill(~_pieces(target)[:, None], -torch.inf).log_softmax(2),
        )

    @torch.no_grad()
    def weights(self, memory: Memory, features: Tensor, target: Tensor) -> Tensor:
        """(B, T - 1, S) for each target piece the geometric mean of both choices, and what it lacks of 1 at the end.

        Where the mean comes to more, as both pieces of a source may choose one piece of the target, it is brought to 1.
        """
        by_target, by_source = (choice.double() for choice in self(memory, features, target))
        together = ((by_target[:, :-1, :-1] + by_source[:, :-1, :-1].mT) / 2).exp()
        total = together.sum(2, keepdim=True).clamp_min(1)
        return torch.cat([together, total - together.sum(2, keepdim=True)], dim=2) / total


def _pieces(mask: Tensor) -> Tensor:
    """True at pieces and at the last place, which is for nothing; mask: True at pieces and `</s>`, on the left."""
    found = mask.roll(-1, dims=1)
    found[:, -1] = True
    return found
