"""The aligner: padding, batches, and that it learns what it is taught, of any model."""

import torch

from nmt.aligner import Aligner
from nmt.batching import make_batch
from nmt.subwords import EOS, PAD
from tests.conftest import random_pairs


def aligner_of(model) -> Aligner:
    torch.manual_seed(0)
    states = model.encode(torch.tensor([[7, EOS]])).states.shape[2]
    return Aligner(states, model.output[0].shape[1]).double()


def test_both_choices_are_distributions_over_pieces_and_nothing(model, batch):
    aligner, memory = aligner_of(model), model.encode(batch.source)
    pieces = batch.target_out != PAD
    for choice, own, others in zip(
        aligner(memory, model.decode(memory, batch.target_in), pieces),
        (pieces, memory.mask),
        (memory.mask, pieces),
        strict=True,
    ):
        assert choice.shape == (*own.shape, others.shape[1])
        torch.testing.assert_close(choice.exp().sum(2), torch.ones_like(choice[:, :, 0]))
        for row, count in enumerate(others.sum(1).tolist()):  # </s> counted: one less, and nothing at the end
            chosen = choice[row].exp()
            assert chosen[:, : count - 1].gt(0).all() and chosen[:, -1].gt(0).all()
            assert chosen[:, count - 1 : -1].eq(0).all()


def test_weights_do_not_depend_on_the_batch(model, pairs, batch):
    aligner, memory = aligner_of(model), model.encode(batch.source)
    together = aligner.weights(memory, model.decode(memory, batch.target_in), batch.target_out != PAD)
    for row, (source, target) in enumerate(zip(*pairs, strict=True)):
        own = make_batch([source], [target], torch.tensor([0]))
        memory = model.encode(own.source)
        alone = aligner.weights(memory, model.decode(memory, own.target_in), own.target_out != PAD)[0]
        assert alone.shape == (len(target), len(source) + 1)
        torch.testing.assert_close(alone.sum(1), torch.ones_like(alone[:, 0]))
        torch.testing.assert_close(alone[:, :-1], together[row, : len(target), : len(source)])
        torch.testing.assert_close(alone[:, -1], together[row, : len(target), -1])


def test_a_piece_is_asked_for_by_what_has_read_it(model):
    # Else an aligner could not tell what a piece stands for, only what was expected.
    [source], [target] = random_pairs([(6, 4)])
    aligner, memory = aligner_of(model), model.encode(torch.tensor([[*source, EOS]]))

    def weights(target: list[int]) -> torch.Tensor:
        batch = make_batch([source], [target], torch.tensor([0]))
        return aligner.weights(memory, model.decode(memory, batch.target_in), batch.target_out != PAD)[0]

    changed = [*target[:3], 5 + (target[3] - 4) % 18]
    assert not torch.allclose(weights(target)[3], weights(changed)[3], atol=1e-6)
