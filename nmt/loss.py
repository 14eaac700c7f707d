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
    needs none of them.
    """
    nll = negative_log_likelihood(features, weight, bias, target)
    if not smoothing:
        return nll, nll.detach()
    return nll + smoothing * _above_mean(features, weight, bias, target), nll.detach()


def consistent_loss(
    features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, smoothing: float, consistency: float
) -> tuple[Tensor, Tensor]:
    """The loss of two passes that differ in what dropout left out, and their plain negative log-likelihood's mean.

    features (2, N, D), of both passes; sums in nats over N positions. To the mean of both smoothed losses comes half of
    `consistency` times the mean of KL(p || q) and KL(q || p), p and q being what the passes predict: R-Drop's loss over
    two (Liang et al. 2021, section 2.2).
    """
    # torch has no type for `apply`.
    loss, nll = _ConsistentLoss.apply(features, weight, bias, target, consistency)  # type: ignore[no-untyped-call]
    if smoothing:
        loss = loss + smoothing * _above_mean(features.flatten(0, 1), weight, bias, target.repeat(2)) / 2
    return loss, nll


class _ConsistentLoss(torch.autograd.Function):
    """In chunks, with the gradient computed in the forward pass: logits are neither kept nor computed once more."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, consistency: float
    ) -> tuple[Tensor, Tensor]:
        divergence, nll = features.new_zeros(()), features.new_zeros(())
        of_features, of_weight, of_bias = torch.empty_like(features), torch.zeros_like(weight), torch.zeros_like(bias)
        share = consistency / 4
        for start in range(0, len(target), CONSISTENT_CHUNK):
            chunk = slice(start, start + CONSISTENT_CHUNK)
            rows = features[:, chunk].flatten(0, 1)  # (2n, D)
            wanted = target[chunk].expand(2, -1)[:, :, None]  # (2, n, 1)
            logs = F.linear(rows, weight, bias).log_softmax(1).unflatten(0, (2, -1))  # (2, n, V): of p, then of q
            nll -= logs.gather(2, wanted).sum() / 2
            p, q = logs.exp()
            ratio = logs[0] - logs[1]  # (n, V)
            of_p, of_q = torch.linalg.vecdot(p, ratio), -torch.linalg.vecdot(q, ratio)  # (n,) KL(p || q), KL(q || p)
            divergence += of_p.sum() + of_q.sum()
            # By the logits of p: p / 2 from the likelihood, p (ratio - KL(p || q) + 1) - q from both divergences.
            of_logits = logs
            of_logits[0] = (ratio * share).add_((0.5 + share * (1 - of_p))[:, None]).mul_(p).sub_(q, alpha=share)
            of_logits[1] = (ratio * -share).add_((0.5 + share * (1 - of_q))[:, None]).mul_(q).sub_(p, alpha=share)
            of_logits.scatter_add_(2, wanted, of_logits.new_full((1, 1, 1), -0.5).expand_as(wanted))

            flat = of_logits.flatten(0, 1)
            of_features[:, chunk] = (flat @ weight).unflatten(0, (2, -1))
            of_weight.addmm_(flat.T, rows)
            of_bias += flat.sum(0)
        ctx.save_for_backward(of_features, of_weight, of_bias)
        ctx.mark_non_differentiable(nll)
        return nll + share * divergence, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        of_features, of_weight, of_bias = ctx.saved_tensors
        return of_features * scale, of_weight * scale, of_bias * scale, None, None


def _above_mean(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """The sum over positions of z_y - mean z, of logits z that are not computed: mean z = x · mean W + mean b."""
    # Not weight[target]: on the CPU its backward adds up repeated targets in whatever order the threads come.
    weight_of_target, bias_of_target = F.embedding(target, weight), bias.index_select(0, target)
    return (features * (weight_of_target - weight.mean(0))).sum() + (bias_of_target - bias.mean()).sum()


@torch.no_grad()
def log_probabilities(features: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """(N,) log p(target) in nats of each position."""
    chunks = [
        -F.cross_entropy(F.linear(rows, weight, bias), wanted, reduction="none")
        for rows, wanted in zip(features.split(CHUNK), target.split(CHUNK), strict=True)
    ]
    return torch.cat(chunks) if chunks else features.new_zeros(0)
