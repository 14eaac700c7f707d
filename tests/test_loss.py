"""The loss against the naive one."""

import pytest
import torch
import torch.nn.functional as F

from nmt.loss import (
    CHUNK,
    chunked_negative_log_likelihood,
    label_smoothed_loss,
    log_probabilities,
    negative_log_likelihood,
)


def inputs(positions: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(positions)
    sizes = ((positions, 6), (19, 6), (19,))
    tensors = [torch.randn(size, dtype=torch.float64, generator=generator).requires_grad_() for size in sizes]
    return [*tensors, torch.randint(0, 19, (positions,), generator=generator)]


@pytest.mark.parametrize("positions", [1, 7, CHUNK, 2 * CHUNK + 5])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_label_smoothed_loss_equals_the_naive_one(positions, smoothing):
    features, weight, bias, target = inputs(positions)
    logits = F.linear(features, weight, bias)
    naive = F.cross_entropy(logits, target, reduction="sum", label_smoothing=smoothing)
    loss, plain = label_smoothed_loss(features, weight, bias, target, smoothing)
    torch.testing.assert_close(loss, naive)
    torch.testing.assert_close(plain, F.cross_entropy(logits, target, reduction="sum"))
    assert not plain.requires_grad
    wanted = torch.autograd.grad(naive, (features, weight, bias))
    for gradient, expected in zip(torch.autograd.grad(loss, (features, weight, bias)), wanted, strict=True):
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("function", [negative_log_likelihood, chunked_negative_log_likelihood])
def test_both_ways_to_the_negative_log_likelihood(function):
    features, weight, bias, target = inputs(CHUNK + 3)
    naive = F.cross_entropy(F.linear(features, weight, bias), target, reduction="sum")
    loss = function(features, weight, bias, target)
    torch.testing.assert_close(loss, naive)
    wanted = torch.autograd.grad(naive, (features, weight, bias))
    for gradient, expected in zip(torch.autograd.grad(loss, (features, weight, bias)), wanted, strict=True):
        torch.testing.assert_close(gradient, expected)


def test_tied_weights_get_the_gradient_of_both_uses():
    _, weight, bias, target = inputs(9)
    ids = torch.arange(9)
    loss, _ = label_smoothed_loss(F.embedding(ids, weight), weight, bias, target, 0.1)
    naive = F.cross_entropy(F.linear(weight[ids], weight, bias), target, reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(torch.autograd.grad(loss, weight), torch.autograd.grad(naive, weight))


def test_no_position_is_no_loss():
    features, weight, bias, target = inputs(4)
    loss, plain = label_smoothed_loss(features[:0], weight, bias, target[:0], 0.1)
    assert loss == plain == 0
    assert log_probabilities(features[:0], weight, bias, target[:0]).shape == (0,)


def test_log_probabilities_are_those_of_the_targets():
    features, weight, bias, target = inputs(CHUNK + 3)
    every = F.linear(features, weight, bias).log_softmax(-1)
    found = log_probabilities(features, weight, bias, target)
    torch.testing.assert_close(found, every.gather(1, target[:, None])[:, 0].detach())


def test_the_gradient_is_the_same_to_the_bit_however_threads_race():
    generator = torch.Generator().manual_seed(0)
    features, weight = torch.randn(40_000, 8, generator=generator), torch.randn(12, 8, generator=generator)
    bias, target = torch.randn(12, generator=generator), torch.randint(0, 12, (40_000,), generator=generator)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = []
        for _ in range(10):
            leaves = [tensor.clone().requires_grad_() for tensor in (features, weight, bias)]
            loss, _ = label_smoothed_loss(*leaves, target, 0.1)
            found.append(torch.autograd.grad(loss, leaves))
    finally:
        torch.set_num_threads(threads)
    for gradients in found[1:]:
        for one, other in zip(found[0], gradients, strict=True):
            assert torch.equal(one, other)
