"""Label-smoothed loss and log-probabilities of real target positions, never all the logits at once."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

# Rows of logits held at a time. On 2 CPU cores (N 2,000, V 8,000, D 128) 512 took 188 ms forward and backward, the
# library's automatic size 312, all logits at once 376.
CHUNK = 512
CONSISTENT_CHUNK = 64  # positions, of both passes


def negative_log_likelihood(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """The sum over positions, in nats, of -log p(target); features (N, D), weight (V, D), bias (V), target (N)."""
    if hasattr(F, "linear_cross_entropy"):  # torch 2.13: chunks, with the gradient computed in the forward pass
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=CHUNK)
        return F.linear_cross_entropy(features, weight, target, linear_bias=bias, reduction="sum", options=options)
    return chunked_negative_log_likelihood(features, weight, bias, target)


def chunked_negative_log_likelihood(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """The same for a torch that lacks it: chunks whose logits are computed once more in the backward pass."""
    total = features.new_zeros(())
    for rows, wanted in zip(features.split(CHUNK), target.split(CHUNK), strict=True):
        total = total + checkpoint(_chunk_loss, rows, weight, bias, wanted, use_reentrant=False)
    return total


def _chunk_loss(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(features, weight, bias), target, reduction="sum")


def label_smoothed_loss(
    features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, smoothing: float
) -> tuple[Tensor, Tensor]:
    """The smoothed loss to descend, and the plain negative log-likelihood (detached): sums in nats over N positions.

    A share `smoothing` of the target's probability is spread over all V pieces (Szegedy et al. 2016, section 7):
    (1 - ε) (-z_y + log Z) + ε (-mean z + log Z) = nll + ε (z_y - mean z), and that is linear in the logits z, so it
    needs none of them: mean z = x · mean W + mean b.
    """
    nll = negative_log_likelihood(features, weight, bias, target)
    if not smoothing:
        return nll, nll.detach()
    # Not weight[target]: on the CPU its backward adds up repeated targets in whatever order the threads come.
    weight_of_target, bias_of_target = F.embedding(target, weight), bias.index_select(0, target)
    above_mean = (features * (weight_of_target - weight.mean(0))).sum() + (bias_of_target - bias.mean()).sum()
    return nll + smoothing * above_mean, nll.detach()


def consistent_loss(
    features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, smoothing: float, consistency: float
) -> tuple[Tensor, Tensor]:
    """The loss of two passes that differ in what dropout left out, and their plain negative log-likelihood's mean.

    features (2, N, D), of both passes; sums in nats over N positions. To the mean of both smoothed losses comes half of
    `consistency` times the mean of KL(p || q) and KL(q || p), p and q being what the passes predict: R-Drop's loss over
    two (Liang et al. 2021, section 2.2).
    """
    loss, nll = _ConsistentLoss.apply(features, weight, bias, target, smoothing, consistency)  # type: ignore[no-untyped-call]
    return loss, nll


class _ConsistentLoss(torch.autograd.Function):
    """In chunks, with the gradient computed in the forward pass: logits are neither kept nor computed once more."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, smoothing: float, consistency: float
    ) -> tuple[Tensor, Tensor]:
        loss, nll = features.new_zeros(()), features.new_zeros(())
        of_features, of_weight, of_bias = torch.empty_like(features), torch.zeros_like(weight), torch.zeros_like(bias)
        for start in range(0, len(target), CONSISTENT_CHUNK):
            chunk = slice(start, start + CONSISTENT_CHUNK)
            rows, wanted = features[:, chunk].flatten(0, 1), target[chunk].repeat(2)[:, None]  # (2n, D), (2n, 1)
            logs = F.linear(rows, weight, bias).log_softmax(1)  # (2n, V): of p, then of q
            of_logits = logs.exp()
            of_target = logs.gather(1, wanted)
            nll -= of_target.sum() / 2
            loss -= ((1 - smoothing) * of_target.sum() + smoothing * logs.mean(1).sum()) / 2

            probabilities, ratio = of_logits.unflatten(0, (2, -1)), logs.unflatten(0, (2, -1))
            ratio = ratio - ratio.flip(0)  # (2, n, V): log p/q, then log q/p
            divergence = (probabilities * ratio).sum(2, keepdim=True)  # (2, n, 1): KL(p || q), then KL(q || p)
            loss += consistency / 4 * divergence.sum()
            of_divergences = probabilities * (ratio - divergence + 1) - probabilities.flip(0)
            of_logits = of_logits - smoothing / weight.shape[0]
            of_logits.scatter_add_(1, wanted, of_logits.new_full((1, 1), smoothing - 1).expand_as(wanted))
            of_logits.add_(of_divergences.flatten(0, 1), alpha=consistency / 2).div_(2)

            of_features[:, chunk] = (of_logits @ weight).unflatten(0, (2, -1))
            of_weight.addmm_(of_logits.T, rows)
            of_bias += of_logits.sum(0)
        ctx.save_for_backward(of_features, of_weight, of_bias)
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        of_features, of_weight, of_bias = ctx.saved_tensors
        return of_features * scale, of_weight * scale, of_bias * scale, None, None, None


@torch.no_grad()
def log_probabilities(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """(N,) log p(target) in nats of each position."""
    chunks = [
        -F.cross_entropy(F.linear(rows, weight, bias), wanted, reduction="none")
        for rows, wanted in zip(features.split(CHUNK), target.split(CHUNK), strict=True)
    ]
    return torch.cat(chunks) if chunks else features.new_zeros(0)
