"""CTranslate2 with an exported model finds what our search finds, and gives the same scores and attention."""

import contextlib
import io
import json
import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nmt.batching import make_batch
from nmt.config import InputError, SearchConfig, SubwordConfig, TransformerConfig
from nmt.models import build_model
from nmt.models.export import export_ctranslate2
from nmt.search import FORBIDDEN
from nmt.subwords import PAD, learn_subwords
from nmt.translator import Translator
from tests.conftest import make_model
from tests.test_translator import sentences

ctranslate2 = pytest.importorskip("ctranslate2")

LINES = [line for seed in (3, 4, 5) for line in sentences(8, seed)]


@cache
def trained(norm: str, tied: bool, joint: bool, learned: bool = False) -> Translator:
    """A small Transformer that has seen enough of some pairs to end its translations, and to prefer some to others."""
    config = TransformerConfig(
        **{"kind": "transformer", "size": 24, "feed_forward_size": 32, "heads": 3},
        **{"encoder_layers": 1, "decoder_layers": 3, "dropout": 0.0, "norm": norm, "tied_embeddings": tied},
        **({"activation": "gelu", "positions": "learned", "max_positions": 110} if learned else {}),
    )
    subwords, _ = learn_subwords(sentences(200, 1), sentences(200, 2), SubwordConfig(vocabulary_size=40, joint=joint))
    torch.manual_seed(5)
    model = build_model(config, subwords.source.size, subwords.target.size, joint=joint)
    targets = subwords.target.encode(sentences(len(LINES), 6))
    batch = make_batch(subwords.source.encode(LINES), targets, torch.arange(len(LINES)))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        logits = F.linear(model(batch.source, batch.target_in), *model.output)  # (B, T, V)
        F.cross_entropy(logits.transpose(1, 2), batch.target_out, ignore_index=PAD).backward()
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        # As a longer training would have it: CTranslate2 gives the probability of what is barred to the rest.
        model.output[1][list(FORBIDDEN)] = -40
    search = SearchConfig(beam_size=4, length_penalty=0.7, max_length=50 if learned else 1000)
    return Translator(model.eval(), subwords, search, torch.device("cpu"), pytest.fail)


# Each pair of traits occurs.
KINDS = [("pre", True, True), ("pre", False, False), ("post", True, False), ("post", False, True)]
KINDS += [("pre", True, True, True)]  # learned positions and GELU


@pytest.fixture(
    params=KINDS, ids=["pre-tied-joint", "pre-untied-apart", "post-tied-apart", "post-untied-joint", "learned"]
)
def ours(request: pytest.FixtureRequest) -> Translator:
    return trained(*request.param)


@pytest.fixture
def folder(ours: Translator, tmp_path: Path) -> Path:
    """What the translator was exported to."""
    return export(ours, tmp_path / "exported")


def export(translator: Translator, folder: Path) -> Path:
    export_ctranslate2(translator.model, translator.subwords, translator.search, folder)
    return folder


def load(folder: Path) -> Any:
    return ctranslate2.Translator(str(folder), compute_type="float32", intra_threads=1)


def options(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "search.json").read_text(encoding="utf-8"))


def as_pieces(ids: list[int], pieces: list[str]) -> list[str]:
    return [pieces[piece] for piece in ids]


@pytest.mark.parametrize("beam_size", [1, 4])
def test_ctranslate2_finds_our_hypotheses_with_our_scores(ours, folder, beam_size):
    theirs, source, target = load(folder), ours.subwords.source, ours.subwords.target
    lengths = set()
    for ids in source.encode(LINES):
        limit = 2 * len(ids) + 10
        [found] = replace(ours, search=ours.search.model_copy(update={"beam_size": beam_size})).search_ids([ids])
        assert all(len(hypothesis.ids) + 1 < limit for hypothesis in found)  # at the limit the two differ
        [result] = theirs.translate_batch(
            [as_pieces(ids, source.pieces)],
            max_decoding_length=limit,
            **(options(folder) | {"beam_size": beam_size, "num_hypotheses": beam_size}),
        )
        assert result.hypotheses == [as_pieces(hypothesis.ids, target.pieces) for hypothesis in found]
        assert result.scores == pytest.approx([hypothesis.score for hypothesis in found], abs=1e-3)
        lengths.add(len(found[0].ids))
    assert len(lengths) > 3


def test_ctranslate2_keeps_to_our_bounds(ours, tmp_path):
    bounded = replace(
        ours, search=SearchConfig(beam_size=1, min_length=12, no_repeat_ngram_size=2, max_length_offset=20)
    )
    export_ctranslate2(bounded.model, bounded.subwords, bounded.search, tmp_path / "bounded")
    theirs, source, target = load(tmp_path / "bounded"), ours.subwords.source, ours.subwords.target
    changed = 0
    for ids, usual in zip(source.encode(LINES), ours.search_ids(source.encode(LINES)), strict=True):
        [[best]] = bounded.search_ids([ids])
        limit = 2 * len(ids) + 20
        [result] = theirs.translate_batch(
            [as_pieces(ids, source.pieces)], max_decoding_length=limit, **options(tmp_path / "bounded")
        )
        # It renormalises over what is not barred, so with a wider beam it would prefer others.
        assert result.hypotheses[0][: limit - 1] == as_pieces(best.ids, target.pieces)
        changed += best.ids != usual[0].ids
    assert changed > 3


def test_ctranslate2_scores_given_translations_as_we_do(ours, folder):
    source, target = ours.subwords.source, ours.subwords.target
    sources, targets = source.encode(LINES), target.encode(LINES[::-1])
    results = load(folder).score_batch(
        [as_pieces(ids, source.pieces) for ids in sources], [as_pieces(ids, target.pieces) for ids in targets]
    )
    scores = [sum(result.log_probs) for result in results]
    assert scores == pytest.approx(ours.score_ids(sources, targets), rel=1e-4, abs=1e-3)


def test_ctranslate2_gives_the_attention_of_the_default_extraction(ours, folder):
    theirs, extraction = load(folder), ours.model.default_extraction
    assert extraction.head is None and extraction.shift == 0
    for line, translation in zip(LINES, ours.translate(LINES), strict=True):
        [ids] = ours.subwords.source.encode([line])
        [result] = theirs.translate_batch(
            [as_pieces(ids, ours.subwords.source.pieces)], return_attention=True, **options(folder)
        )
        batch = make_batch([ids], [translation.ids], torch.tensor([0]))
        with torch.no_grad():
            weights = ours.model.attention(ours.model.encode(batch.source), batch.target_in, [extraction.layer])
        expected = weights[0, 0].mean(0)[:-1, :-1]  # (T, S) without </s>
        torch.testing.assert_close(torch.tensor(result.attention[0]), expected, rtol=0, atol=1e-4)


def test_the_folder_s_own_program_gives_our_translations(ours, folder, monkeypatch):
    lines = ["der Hund", "die Katze und das Haus heute"]
    [program] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    [given] = re.findall(r"encode\((\[.*?\])", program)
    monkeypatch.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(program.replace(given, repr(lines)), {})
    assert printed.getvalue() == f"{[translation.text for translation in ours.translate(lines)]}\n"


def test_there_are_positions_for_the_longest_lines_and_translations(tmp_path):
    usual = trained(*KINDS[0])
    search = usual.search.model_copy(update={"max_length": 7, "max_length_ratio": 3.0, "max_length_offset": 2})
    said = export_ctranslate2(usual.model, usual.subwords, search, tmp_path / "exported")
    assert "23 positions" in said
    theirs, longest = load(tmp_path / "exported"), {"max_decoding_length": 23, "min_decoding_length": 23}
    short, long = (as_pieces([9] * length, usual.subwords.source.pieces) for length in (7, 8))
    results = theirs.translate_batch([short, long], **(options(tmp_path / "exported") | longest))
    assert len(results[0].hypotheses[0]) == 23
    assert results[0].hypotheses == results[1].hypotheses and results[0].scores == results[1].scores  # a cut line
    with pytest.raises(RuntimeError, match="position"):
        theirs.translate_batch([short], max_decoding_length=24, min_decoding_length=24)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_holds_all_that_is_needed(ours, folder):
    found = contents(folder)
    subwords = {"subwords.model"} if ours.subwords.joint else {"source.model", "target.model"}
    vocabularies = {"shared"} if ours.subwords.joint else {"source", "target"}
    assert found.keys() == {"config.json", "model.bin", "search.json", "README.md"} | subwords | {
        f"{vocabulary}_vocabulary.json" for vocabulary in vocabularies
    }
    assert {found[name] for name in subwords} == {ours.subwords.source.model, ours.subwords.target.model}


def refused(folder: Path, *said: str) -> None:
    with pytest.raises(InputError) as error:
        export(trained(*KINDS[0]), folder)
    assert all(words in str(error.value) for words in said), error.value


def test_what_is_there_is_left_alone(tmp_path):
    folder = tmp_path / "exported"
    folder.mkdir()
    export(trained(*KINDS[0]), folder)  # an empty folder is as good as none
    before = contents(tmp_path)
    refused(folder, str(folder), "there is something already")
    refused(folder / "README.md", str(folder / "README.md"), "there is something already")
    refused(folder / "README.md" / "within", str(folder), "cannot be written")
    assert contents(tmp_path) == before


def test_the_folder_is_whole_or_absent(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)  # what comes last
    refused(tmp_path / "exported", str(tmp_path / "exported"), "No space left")
    assert list(tmp_path.iterdir()) == []


def test_only_a_transformer_can_be_exported(tmp_path):
    usual = trained(*KINDS[0])
    with pytest.raises(InputError, match="CTranslate2 has Transformers only"):
        export_ctranslate2(make_model("rnn"), usual.subwords, usual.search, tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ctranslate2.specs", None)
    refused(tmp_path / "exported", "pip install", "ctranslate2")
