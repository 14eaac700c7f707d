"""Layers and attention against independent ways of computing the same."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nmt.models import build_model
from nmt.models.attention import (
    AdditiveAttention,
    CrossAttention,
    SelfAttention,
    additive_mask,
    attend,
    attention_weights,
    merge_heads,
    read,
)
from nmt.models.layers import (
    BidirectionalGRU,
    Dropout,
    Embeddings,
    FeedForward,
    WordDropout,
    gru_cell,
    reversal,
    sinusoidal_positions,
)
from tests.conftest import CONFIGS, VOCABULARY

CLOSE = {"rtol": 0, "atol": 1e-10}


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("length", [7, 15, 16, 17])  # short rows go other ways
def test_fused_and_batched_attention_equal_written_out_attention(length):
    query, keys, values = random(3, 2, 5, 4), random(3, 2, length, 4), random(3, 2, length, 4)
    mask = torch.arange(length)[None] < torch.tensor([length, 3, 1])[:, None]
    batched = read(query, keys.mT, values, additive_mask(mask[:, None, None], values))
    for tensor in (query, keys, values):
        tensor.requires_grad_()
    written, fused = (
        [context, *torch.autograd.grad(context.square().sum(), (query, keys, values))]
        for context in (
            attention_weights(query, keys.mT, mask[:, None, None]) @ values,
            attend(query, keys, values, mask[:, None, None]),
        )
    )
    torch.testing.assert_close(fused, written, **CLOSE)
    torch.testing.assert_close(batched, written[0], **CLOSE)


@pytest.mark.parametrize("length", [5, 16, 17])
def test_causal_attention_equals_a_triangular_mask(length):
    query, keys, values = random(3, 2, length, 4), random(3, 2, length, 4), random(3, 2, length, 4)
    triangle = torch.ones(length, length, dtype=torch.bool).tril()
    expected = attention_weights(query, keys.mT, triangle) @ values
    torch.testing.assert_close(attend(query, keys, values, None), expected, **CLOSE)


def test_cross_attention_equals_the_library():
    ours = CrossAttention(12, 3).double()
    library = nn.MultiheadAttention(12, 3, batch_first=True).double()
    with torch.no_grad():
        library.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        library.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        library.out_proj.load_state_dict(ours.out.state_dict())
    x, memory = random(2, 5, 12), random(2, 7, 12)
    expected, expected_weights = library(x, memory, memory, average_attn_weights=False)
    keys, values = ours.keys_values(memory)
    mask = torch.ones(1, 7, dtype=torch.bool)
    context = attend(ours.queries(x), keys.mT, values, mask)
    torch.testing.assert_close(ours.out(merge_heads(context)), expected, **CLOSE)
    weights = attention_weights(ours.queries(x), keys, mask)
    torch.testing.assert_close(weights, expected_weights, **CLOSE)


def test_self_attention_equals_the_library():
    ours = SelfAttention(12, 3).double()
    library = nn.MultiheadAttention(12, 3, batch_first=True).double()
    with torch.no_grad():
        library.in_proj_weight.copy_(ours.query_key_value.weight)
        library.in_proj_bias.copy_(ours.query_key_value.bias)
        library.out_proj.load_state_dict(ours.out.state_dict())
    x = random(2, 5, 12)
    expected, _ = library(x, x, x, need_weights=False)
    context = attend(*ours.project(x), torch.ones(1, 5, dtype=torch.bool))
    torch.testing.assert_close(ours.out(merge_heads(context)), expected, **CLOSE)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.3, 0.5, 0.999])
def test_dropout_keeps_what_it_should_everywhere(p):
    torch.manual_seed(1)
    x = torch.full((1001, 203), 2.0, requires_grad=True)  # a size that no eight divides
    dropped = Dropout(p)(x)
    kept = dropped != 0
    scale = dropped[kept].unique()
    assert len(scale) == 1  # all kept numbers are scaled alike, so that the expectation is x
    assert abs(2 / scale.item() - (1 - p)) <= (1 / 512 if 0.01 < p < 0.99 else 1 / 256)  # never all, never none
    dropped.sum().backward()
    torch.testing.assert_close(x.grad, kept * scale / 2)
    # Each of the eight numbers that share a random integer is kept as often as another, and they do not go together.
    shares = kept.flatten()[: 8 * 25000].view(-1, 8).double()
    assert torch.allclose(shares.mean(0), 1 - torch.tensor(p).double(), atol=0.015)
    assert (torch.corrcoef(shares.T) - torch.eye(8)).abs().max() < 0.03


def test_dropout_does_nothing_when_it_should_not():
    x = random(3, 4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_additive_attention_equals_the_paper_s_formula():
    attention = AdditiveAttention(3, 4, 5).double()
    query, states = random(2, 2, 3), random(2, 6, 4)
    mask = torch.arange(6)[None] < torch.tensor([6, 2])[:, None]
    weights = attention(query, attention.keys(states), mask)
    for sentence in range(2):
        for hypothesis in range(2):
            scores = []
            for position in range(int(mask[sentence].sum())):
                hidden = torch.tanh(
                    attention.query.weight @ query[sentence, hypothesis]
                    + attention.key.weight @ states[sentence, position]
                    + attention.key.bias
                )
                scores.append(attention.score.weight[0] @ hidden)
            expected = F.pad(torch.stack(scores).softmax(0), (0, 6 - len(scores)))
            torch.testing.assert_close(weights[sentence, hypothesis], expected, **CLOSE)


def test_gru_cell_equals_the_library():
    library = nn.GRUCell(4, 6).double()
    x, state = random(3, 4), random(3, 6)
    from_input = F.linear(x, library.weight_ih, library.bias_ih)
    from_state = F.linear(state, library.weight_hh, library.bias_hh)
    torch.testing.assert_close(gru_cell(from_input, from_state, state), library(x, state), **CLOSE)


def test_bidirectional_gru_equals_the_packed_library():
    ours = BidirectionalGRU(4, 5).double()
    library = nn.GRU(4, 5, batch_first=True, bidirectional=True).double()
    with torch.no_grad():
        for suffix, layer in (("", ours.forwards), ("_reverse", ours.backwards)):
            for name, parameter in layer.named_parameters():
                getattr(library, name + suffix).copy_(parameter)
    lengths = torch.tensor([6, 1, 4])
    x, mask = random(3, 6, 4), torch.arange(6)[None] < lengths[:, None]
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(library(packed)[0], batch_first=True)
    torch.testing.assert_close(ours(x, mask) * mask[:, :, None], expected, **CLOSE)


def test_reversal_is_its_own_inverse_and_leaves_padding():
    mask = torch.arange(5)[None] < torch.tensor([5, 2])[:, None]
    assert reversal(mask).tolist() == [[4, 3, 2, 1, 0], [1, 0, 2, 3, 4]]
    assert reversal(mask).gather(1, reversal(mask)).tolist() == [[0, 1, 2, 3, 4]] * 2


def test_positions_are_the_paper_s():
    found = sinusoidal_positions(7, 6, torch.zeros((), dtype=torch.float64))
    for position in range(7):
        for pair in range(3):
            angle = position / 10_000 ** (2 * pair / 6)
            assert math.isclose(found[position, pair], math.sin(angle), abs_tol=1e-12)
            assert math.isclose(found[position, 3 + pair], math.cos(angle), abs_tol=1e-12)


@pytest.mark.parametrize("tied", [True, False])
def test_first_weights_follow_from_the_seed_alone(tied):
    # Six at a time, so that memory holds them at unlike addresses.
    made = []
    for _ in range(6):
        torch.manual_seed(1)
        made.append(Embeddings(9, 8, 4, tied=tied, joint=False))
    for embeddings in made[1:]:
        for one, other in zip(made[0].parameters(), embeddings.parameters(), strict=True):
            assert torch.equal(one, other)


# ---- dropout of words and of attention


def test_word_dropout_drops_whole_vectors_and_keeps_their_mean():
    torch.manual_seed(1)
    dropout, x = WordDropout(0.25).train(), torch.randn(40, 50, 3)
    dropped = dropout(x)
    gone = (dropped == 0).all(2)
    assert gone.any(0).all() and 0.2 < gone.float().mean() < 0.3
    torch.testing.assert_close(dropped[~gone], x[~gone] / 0.75)
    assert dropout.eval()(x) is x and WordDropout(0.0).train()(x) is x


@pytest.mark.parametrize("causal", [True, False])
def test_attention_with_dropout_drops_weights_alone(causal):
    torch.manual_seed(1)
    query, keys = torch.randn(2, 3, 20, 4), torch.randn(2, 3, 20, 4)
    mask = None if causal else (torch.arange(20) < 17)[None, None, None]
    seen = torch.ones(20, 20).tril().bool() if causal else mask
    values = torch.eye(20).expand(2, 3, 20, 20)  # so that what is read are the weights
    weights = attend(query, keys, values, mask)
    dropout = Dropout(0.25).train()
    dropped = attend(query, keys, values, mask, dropout)
    gone = dropped == 0
    torch.testing.assert_close(dropped[~gone], weights[~gone] / 0.75)
    assert 0.2 < gone[seen.expand_as(gone)].float().mean() < 0.3
    torch.testing.assert_close(attend(query, keys, values, mask, dropout.eval()), weights)
    mean = torch.stack([attend(query, keys, values, mask, dropout.train()) for _ in range(300)]).mean(0)
    torch.testing.assert_close(mean, weights, rtol=0, atol=0.12)


@pytest.mark.parametrize("name", ["rnn", "transformer"])
@pytest.mark.parametrize("key", ["attention_dropout", "word_dropout"])
def test_a_model_drops_what_it_is_asked_to_while_it_trains(name, key):
    source, target = torch.full((2, 5), 7), torch.full((2, 4), 9)

    def features(**keys):
        torch.manual_seed(1)
        config = CONFIGS[name].model_copy(update={"dropout": 0.0, **keys})
        model = build_model(config, VOCABULARY, VOCABULARY, joint=True).train()
        before = torch.get_rng_state()
        found = model(source, target)
        return found, model.eval()(source, target), not torch.equal(before, torch.get_rng_state())

    plain, _, drawn = features()
    assert not drawn  # so that what a seed gives stays what it was
    training, evaluating, drawn = features(**{key: 0.4})
    assert drawn and not torch.allclose(training, plain)
    torch.testing.assert_close(evaluating, plain)


def test_gelu_is_another_function():
    torch.manual_seed(1)
    layer, x = FeedForward(4, 6, "gelu"), torch.randn(3, 4)
    wide = layer.widen(x)
    expected = layer.narrow(wide * (1 + torch.erf(wide / 2**0.5)) / 2)
    torch.testing.assert_close(layer(x), expected)


def test_learned_positions_can_be_the_sinusoidal_ones():
    config = CONFIGS["transformer"]
    learned = config.model_copy(update={"positions": "learned", "max_positions": 30})
    ours, other = (build_model(own, VOCABULARY, VOCABULARY, joint=True).eval() for own in (config, learned))
    table = sinusoidal_positions(30, config.size, torch.zeros(()))
    with torch.no_grad():
        for name, weight in ours.named_parameters():
            other.get_parameter(name).copy_(weight)
        for positions in (other.source_positions, other.target_positions):
            assert positions.weight.std() == pytest.approx(config.size**-0.5, rel=0.2)
            positions.weight.copy_(table / config.size**0.5)
    source, target = torch.randint(5, VOCABULARY, (2, 30)), torch.randint(5, VOCABULARY, (2, 30))
    torch.testing.assert_close(ours(source, target), other(source, target))
