"""The contract that both models keep, in float64 (nmt/models/base.py)."""

import pytest
import torch
import torch.nn.functional as F

from nmt.batching import make_batch, pad
from nmt.models.attention import merge_heads
from nmt.models.base import Moves, count_parameters
from nmt.models.ensemble import Ensemble
from nmt.models.layers import lay_out_for_search
from nmt.subwords import BOS, EOS, PAD
from tests.conftest import make_model

CLOSE = {"rtol": 0, "atol": 1e-10}


def logits_of(model, features):
    return F.linear(features, *model.output)


def test_step_by_step_equals_teacher_forcing(model, batch):
    features = model(batch.source, batch.target_in)
    memory = model.encode(batch.source)
    state = model.initial_state(memory)
    for time in range(batch.target_in.shape[1]):
        logits, state = model.step(memory, state, batch.target_in[:, time, None])
        assert state.lengths == [time + 1] * len(batch.source)
        torch.testing.assert_close(logits[:, 0], logits_of(model, features[:, time]), **CLOSE)


def test_padding_changes_nothing(model, batch):
    wider = {name: F.pad(getattr(batch, name), (0, 3), value=PAD) for name in ("source", "target_in")}
    features = model(batch.source, batch.target_in)
    padded = model(wider["source"], wider["target_in"])[:, : features.shape[1]]
    real = (batch.target_out != PAD)[:, :, None]
    torch.testing.assert_close(padded * real, features * real, **CLOSE)


def test_a_batch_equals_its_sentences(model, pairs, batch):
    features = model(batch.source, batch.target_in)
    for row, (source, target) in enumerate(zip(*pairs, strict=True)):
        alone = model(torch.tensor([[*source, EOS]]), torch.tensor([[BOS, *target]]))[0]
        torch.testing.assert_close(features[row, : len(alone)], alone, **CLOSE)


def test_no_look_at_the_future(model, batch):
    features = model(batch.source, batch.target_in)
    for time in range(1, batch.target_in.shape[1]):
        changed = batch.target_in.clone()
        changed[:, time:] = 5 + (changed[:, time:] + 1) % 7
        torch.testing.assert_close(model(batch.source, changed)[:, :time], features[:, :time], **CLOSE)


def test_features_depend_on_every_source_word(model, batch):
    # Else the other laws would hold for a model that reads nothing.
    features = model(batch.source, batch.target_in)
    for position in range(batch.source.shape[1]):
        changed = batch.source.clone()
        changed[:, position] = torch.where(changed[:, position] > EOS, 5 + (changed[:, position] - 4) % 18, PAD)
        rows = (changed != batch.source).any(1)
        different = (model(changed, batch.target_in) != features).flatten(1).any(1)
        assert (different | ~rows)[batch.source[:, position] > EOS].all()


def test_attention_rows_sum_to_one_and_are_zero_on_padding(attentive, batch):
    weights = attentive.attention(attentive.encode(batch.source), batch.target_in, range(attentive.attention_layers))
    assert weights.shape[:2] == (len(batch.source), attentive.attention_layers)
    assert weights.shape[3:] == (batch.target_in.shape[1], batch.source.shape[1])
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1], dtype=weights.dtype), **CLOSE)
    padding = (batch.source == PAD)[:, None, None, None].expand_as(weights)
    assert padding.any()
    assert (weights[padding] == 0).all()


def test_features_follow_from_the_weights_that_attention_returns(attentive, batch):
    memory = attentive.encode(batch.source)
    weights = attentive.attention(memory, batch.target_in, range(attentive.attention_layers))
    features = attentive.decode(memory, batch.target_in)
    torch.testing.assert_close(attentive.decode(memory, batch.target_in, weights), features, **CLOSE)
    elsewhere = attentive.decode(memory, batch.target_in, weights.roll(1, dims=-1))
    assert not torch.allclose(elsewhere, features, atol=1e-6)


def test_value_products_are_those_of_what_a_head_adds(batch):
    memory = (transformer := make_model("post-norm-transformer")).encode(batch.source)
    products = transformer.value_products(memory, [2, 0])
    for place, index in enumerate([2, 0]):
        attention, values = transformer.decoder[index].cross_attention, memory.values[index]
        heads = []
        for head in range(2):
            alone = torch.zeros_like(values)
            alone[:, head] = values[:, head]  # as read with all weight on one position
            heads.append(attention.out(merge_heads(alone)) - attention.out.bias)  # (B, S, D)
        for one in range(2):
            for other in range(2):
                torch.testing.assert_close(
                    products[:, place, :, one, other], (heads[one] * heads[other]).sum(-1), **CLOSE
                )
    memory = (rnn := make_model("rnn")).encode(batch.source)
    enters = torch.cat([rnn.context_input.weight, rnn.deep_context.weight])
    expected = (memory.states @ enters.T).norm(dim=2) ** 2
    torch.testing.assert_close(rnn.value_products(memory, [0])[:, 0, :, 0, 0], expected, **CLOSE)


def test_attention_of_a_layer_is_the_same_whichever_others_are_asked_for(attentive, batch):
    memory, layers = attentive.encode(batch.source), list(range(attentive.attention_layers))
    everything = attentive.attention(memory, batch.target_in, layers)
    for layer in layers:
        alone = attentive.attention(memory, batch.target_in, [layer])
        torch.testing.assert_close(alone[:, 0], everything[:, layer], **CLOSE)
    backwards = attentive.attention(memory, batch.target_in, layers[::-1])
    torch.testing.assert_close(backwards.flip(1), everything, **CLOSE)


def test_a_model_without_attention_says_so(batch):
    model = make_model("rnn-without-attention")
    assert model.attention_layers == 0
    assert model.default_extraction is None
    assert model.attention(model.encode(batch.source), batch.target_in, []).shape[1] == 0


def test_default_extraction_lies_within_the_model(attentive):
    assert 0 <= attentive.default_extraction.layer < attentive.attention_layers


def test_a_model_reads_as_many_positions_as_it_says(batch):
    model = make_model("learned-positions")
    most = model.most_positions
    full = torch.full((1, most), 7)
    assert model(full, full).isfinite().all()
    state = model.initial_state(memory := model.encode(full))
    for _ in range(most):
        logits, state = model.step(memory, state, torch.tensor([[7]]))
    assert logits.isfinite().all()
    for longer in ((F.pad(full, (0, 1), value=7), full), (full, F.pad(full, (0, 1), value=7))):
        with pytest.raises(RuntimeError):
            model(*longer)
    with pytest.raises(IndexError):
        model.step(memory, state, torch.tensor([[7]]))
    ensemble = Ensemble([make_model("transformer"), model, make_model("rnn")])
    assert ensemble.most_positions == most and make_model("transformer").most_positions is None


def run_steps(model, source, paths):
    """Logits after the last token of each of K given paths (B, K, T), all K of a sentence stepped together."""
    memory = model.encode(source)
    state = model.initial_state(memory)
    state = state.reorder(torch.zeros(paths.shape[:2], dtype=torch.long))
    for time in range(paths.shape[2]):
        logits, state = model.step(memory, state, paths[:, :, time])
    return logits, memory, state


def test_hypotheses_of_a_sentence_do_not_see_each_other(model, batch):
    paths = torch.randint(5, 23, (len(batch.source), 4, 5), generator=torch.Generator().manual_seed(1))
    together, _, _ = run_steps(model, batch.source, paths)
    for hypothesis in range(4):
        alone, _, _ = run_steps(model, batch.source, paths[:, hypothesis, None])
        torch.testing.assert_close(together[:, hypothesis], alone[:, 0], **CLOSE)


@pytest.mark.parametrize("width", [1, 3, 6])
def test_reordering_commutes_with_stepping(model, batch, width):
    generator = torch.Generator().manual_seed(2)
    sentences = len(batch.source)
    paths = torch.randint(5, 23, (sentences, 3, 4), generator=generator)
    parents = torch.randint(0, 3, (sentences, width), generator=generator)
    after = torch.randint(5, 23, (sentences, width, 3), generator=generator)
    _, memory, state = run_steps(model, batch.source, paths)
    state = state.reorder(parents)
    for time in range(3):
        logits, state = model.step(memory, state, after[:, :, time])
    followed = torch.cat([paths.gather(1, parents[:, :, None].expand(-1, -1, 4)), after], dim=2)
    expected, _, _ = run_steps(model, batch.source, followed)
    torch.testing.assert_close(logits, expected, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("leaving", [{1, 2}, {4}, {0}, {0, 1, 4}])
def test_keeping_sentences_commutes_with_stepping(model, batch, leaving):
    generator = torch.Generator().manual_seed(4)
    sentences = len(batch.source)
    paths = torch.randint(5, 23, (sentences, 2, 4), generator=generator)
    moves = Moves.keeping([row not in leaving for row in range(sentences)], batch.source.device)
    assert sorted(moves.rows) == [row for row in range(sentences) if row not in leaving]
    _, memory, state = run_steps(model, batch.source, paths)
    tokens = torch.full((len(moves.rows), 2), 7)
    logits, _ = model.step(memory.keep(moves), state.keep(moves), tokens)
    expected, _, _ = run_steps(model, batch.source, torch.cat([paths, torch.full((sentences, 2, 1), 7)], dim=2))
    torch.testing.assert_close(logits, expected[moves.rows], **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("steps", [(4, 2), (1, 3), (2, 2)])
def test_joining_sentences_commutes_with_stepping(model, batch, steps):
    # Two sentences and the others: two batches, whose hypotheses are of different lengths.
    generator = torch.Generator().manual_seed(6)
    sources = [batch.source[:2], batch.source[2:]]
    paths = [
        torch.randint(5, 23, (len(source), 2, n), generator=generator) for source, n in zip(sources, steps, strict=True)
    ]
    (_, *first), (_, *second) = (run_steps(model, *both) for both in zip(sources, paths, strict=True))
    memory, state = (one.join(other) for one, other in zip(first, second, strict=True))
    assert state.lengths == [steps[0]] * 2 + [steps[1]] * len(sources[1])
    for time in range(3):
        tokens = torch.full((len(batch.source), 2), 7 + time)
        logits, state = model.step(memory, state, tokens)
        paths = [torch.cat([own, torch.full((len(own), 2, 1), 7 + time)], dim=2) for own in paths]
        expected = torch.cat([run_steps(model, *both)[0] for both in zip(sources, paths, strict=True)])
        torch.testing.assert_close(logits, expected, **CLOSE)


def test_a_model_laid_out_for_search_says_the_same(model, batch):
    paths = torch.randint(5, 23, (len(batch.source), 2, 4), generator=torch.Generator().manual_seed(5))
    expected, _, _ = run_steps(model, batch.source, paths)
    lay_out_for_search(model)
    weight, _ = model.output
    assert weight.t().is_contiguous()
    torch.testing.assert_close(run_steps(model, batch.source, paths)[0], expected, **CLOSE)


def test_an_ensemble_takes_the_mean_of_its_members_logits(batch):
    members = [make_model("transformer"), make_model("rnn")]
    weight, bias = (ensemble := Ensemble(members)).output
    found = ensemble(batch.source, batch.target_in) @ weight.T + bias
    outputs = [(member(batch.source, batch.target_in), *member.output) for member in members]
    expected = torch.stack([features @ weight.T + bias for features, weight, bias in outputs]).mean(0)
    torch.testing.assert_close(found, expected, **CLOSE)


def test_every_parameter_is_trained(model, batch):
    (model(batch.source, batch.target_in) @ model.output[0].T + model.output[1]).square().sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without


def test_tied_embeddings_are_one_tensor():
    for name in ("rnn", "transformer"):
        model = make_model(name)
        assert model.output[0] is model.embeddings.target.weight
        assert model.embeddings.source is model.embeddings.target
        total, embeddings = count_parameters(model)
        assert embeddings == model.output[0].numel()
        assert total == sum(parameter.numel() for parameter in model.parameters())
    untied = make_model("post-norm-transformer")
    assert untied.output[0] is not untied.embeddings.target.weight
    assert untied.embeddings.source is not untied.embeddings.target


def test_dropout_acts_in_training_alone(model, batch):
    still = model(batch.source, batch.target_in)
    torch.testing.assert_close(model(batch.source, batch.target_in), still, rtol=0, atol=0)
    model.train()
    assert not torch.allclose(model(batch.source, batch.target_in), still)


def test_batch_holds_the_pairs(pairs, batch):
    for row, (source, target) in enumerate(zip(*pairs, strict=True)):
        assert [i for i in batch.source[row].tolist() if i != PAD] == [*source, EOS]
        assert batch.target_in[row].tolist()[: len(target) + 1] == [BOS, *target]
        assert batch.target_out[row].tolist()[: len(target) + 1] == [*target, EOS]
    assert batch.tokens == sum(len(target) + 1 for target in pairs[1])
    real = batch.target_out.flatten()[batch.predicted].tolist()
    assert real == [i for target in pairs[1] for i in [*target, EOS]]
    assert pad([[5], [6, 7]]).tolist() == [[5, PAD], [6, 7]]
    assert make_batch([[]], [[]], torch.tensor([0])).tokens == 1
