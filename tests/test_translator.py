"""Lines in, lines out: independent of batches and order, and of one mind with scoring and alignment."""

import random
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch

from nmt import alignment as alignment_module
from nmt import translator as translator_module
from nmt.alignment import split_words
from nmt.config import SearchConfig, SubwordConfig
from nmt.models import build_model
from nmt.models.base import Extraction
from nmt.models.ensemble import Ensemble
from nmt.subwords import EOS, learn_subwords
from nmt.translator import Translator
from tests.conftest import CONFIGS

WORDS = [*("der", "die", "das", "Hund", "Katze", "Haus"), *("rot", "blau", "schläft", "läuft", "und", "nicht", "heute")]


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randrange(1, 9))) for _ in range(count)]


def translator(name: str, **search: float) -> Translator:
    """An untrained model in float64, with vocabularies of its own for each side."""
    subwords, _ = learn_subwords(sentences(200, 1), sentences(200, 2), SubwordConfig(vocabulary_size=40, joint=False))
    torch.manual_seed(5)
    members = [
        build_model(CONFIGS[member], subwords.source.size, subwords.target.size, joint=False).double().eval()
        for member in (("rnn", "transformer") if name == "ensemble" else (name,))
    ]
    model = Ensemble(members).eval() if name == "ensemble" else members[0]
    return Translator(
        model, subwords, SearchConfig(beam_size=3).model_copy(update=search), torch.device("cpu"), pytest.fail
    )


@pytest.fixture(params=[*CONFIGS, "ensemble"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


LINES = ["", *sentences(11, 3), " ", "\u3000", *sentences(6, 4)]


def test_translations_depend_neither_on_batch_size_nor_on_order(name):
    usual = [t.text for t in translator(name).translate(LINES)]
    assert len(usual) == len(LINES)
    assert usual[0] == usual[12] == usual[13] == ""
    for max_tokens in (1, 20, 10_000):
        assert [t.text for t in translator(name, max_tokens=max_tokens).translate(LINES)] == usual
    assert [t.text for t in translator(name).translate(LINES[::-1])] == usual[::-1]
    assert translator(name).translate([]) == []


def test_translations_depend_not_on_threads_whose_number_stays(name):
    usual = [t.text for t in translator(name).translate(LINES)]
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert [t.text for t in translator(name, max_tokens=20).translate(LINES)] == usual
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_scoring_the_ids_that_search_found_gives_its_scores(name):
    ours = translator(name, length_penalty=0.7)
    lines = [line for line in LINES if line.strip()]
    found = ours.translate(lines)
    scores = ours.score_ids(ours.subwords.source.encode(lines), [t.ids for t in found])
    for translation, score in zip(found, scores, strict=True):
        assert translation.score == pytest.approx(score / (len(translation.ids) + 1) ** 0.7)


def test_scores_depend_neither_on_batch_size_nor_on_order(name):
    targets = LINES[::-1]
    usual = translator(name).score(LINES, targets)
    assert all(score < 0 for score in usual)
    assert translator(name, max_tokens=1).score(LINES, targets) == pytest.approx(usual)
    assert translator(name).score(LINES[::-1], targets[::-1]) == pytest.approx(usual[::-1])


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "rnn-without-attention"])
def test_attention_is_of_the_given_words_whatever_the_batch(name):
    targets = LINES[::-1]
    for extraction in (Extraction(0), Extraction(0, head=0, shift=1)):
        words = [[split_words(line, "space") for line in lines] for lines in (LINES, targets)]
        together = replace(translator(name), extraction=extraction).align(*words)
        alone = replace(translator(name, max_tokens=1), extraction=extraction).align(*words)
        for attention, other, source, target in zip(together, alone, *words, strict=True):
            assert attention.source == source and attention.target == target
            np.testing.assert_allclose(attention.weights, other.weights, atol=1e-6)
            np.testing.assert_allclose(attention.weights.sum(1), 1, rtol=1e-6)


def test_long_lines_are_cut_and_named():
    said: list[str] = []
    ours = translator("rnn", max_length=5)
    cut = Translator(ours.model, ours.subwords, ours.search, ours.device, said.append)
    lines = ["rot", "rot und blau und rot und nicht blau", "blau"]
    assert len(cut.translate(lines, first=10)) == 3
    assert len(said) == 1
    assert said[0].startswith("line 11:")
    assert "search.max_length = 5" in said[0]


def test_a_model_of_few_positions_is_never_asked_for_more():
    # As in an ensemble whose first member searches further than another has positions.
    ours, said = translator("learned-positions"), []
    assert ours.model.most_positions == 100
    ours = replace(ours, warn=said.append, extraction=Extraction(0))
    lines = [*sentences(3, 1), "der Hund schläft " * 40]
    assert len(ours.subwords.source.encode(lines)[-1]) > 99
    with torch.no_grad():
        ours.model.output[1][EOS] = -1e9  # it never ends by itself
    found = ours.translate(lines)
    assert "cut to model.max_positions - 1 = 99" in said[0] and len(said) == 1
    assert len(found[-1].ids) == 99  # with </s> all positions
    assert len(ours.score(lines, lines)) == 4 and len(list(ours.align(*[list(map(split_words, lines))] * 2))) == 4


def test_words_of_lines_that_are_cut_are_those_of_what_is_left():
    said: list[str] = []
    ours = translator("rnn", max_length=5)
    cut = Translator(ours.model, ours.subwords, ours.search, ours.device, said.append, Extraction(0))
    words = [split_words("rot und " * 20_000), split_words("blau")]
    for attention, source, target in zip(cut.align(words, words[::-1]), words, words[::-1], strict=True):
        assert attention.weights.shape == (len(attention.target), len(attention.source) + 1)
        assert attention.source.spans == source.spans[: len(attention.source)] and len(attention.source) <= 5
        assert attention.target.spans == target.spans[: len(attention.target)] and len(attention.target) <= 5
        np.testing.assert_allclose(attention.weights.sum(1), 1, rtol=1e-6)
    assert [line.split(",")[0].split(":")[0] for line in said] == ["line 1", "line 2"]


def test_words_beyond_memory_are_told_of(monkeypatch):
    for module in (alignment_module, translator_module):
        monkeypatch.setattr(module, "MOST_WORDS", 2)
    said: list[str] = []
    ours = replace(translator("rnn"), warn=said.append, extraction=Extraction(0))
    [found] = ours.align([split_words("rot und blau")], [split_words("red")])
    assert found.weights.shape == (1, 3) and said == ["line 1: 3 words, of which the first 2 are aligned"]


def test_layers_are_read_in_as_many_parts_as_memory_allows(monkeypatch):
    ours = translator("post-norm-transformer")
    pairs = ours.cut_pairs(
        [ours.subwords.source.encode_pieces(line) for line in sentences(7, 11)],
        [ours.subwords.target.encode_pieces(line) for line in sentences(7, 12)],
    )
    whole = {(layer, row): found for layer, row, *found in ours.attentions(pairs)}
    assert len(whole) == 3 * 7
    asked = []
    plain = ours.model.attention

    def attention(memory, target_in, layers):
        asked.append(list(layers))
        return plain(memory, target_in, layers)

    monkeypatch.setattr(ours.model, "attention", attention)
    monkeypatch.setattr(translator_module, "HELD", 1)
    order = []
    for layer, row, weights, products in ours.attentions(pairs):
        order.append(layer)
        np.testing.assert_allclose(weights, whole[layer, row][0], atol=1e-12)
        np.testing.assert_allclose(products, whole[layer, row][1], atol=1e-12)
    assert [layers for layers, _ in groupby(asked)] == [[0], [1], [2]] and order == sorted(order)
