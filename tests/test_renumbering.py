"""A SentencePiece model with nmt's ids splits and joins text as it did before, but for the ids."""

import io
import random
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from nmt.config import SPECIAL, InputError, SubwordFiles
from nmt.renumbering import CONTROL, UNKNOWN, kind_of, pieces_of, renumbered
from nmt.subwords import Subwords, Vocabulary, load_subwords
from tests.test_subwords import ODD, SOURCE

SCRIPTS = [
    *(
        "Der Hund schläft nicht.",
        "Кошка спит на окне.",
        "猫は窓で寝ています。",
        "القط نائم على النافذة",
        "बिल्ली सो रही है",
    ),
    *(
        "Η γάτα κοιμάται",
        "고양이가 잔다",
        "แมวกำลังนอน",
        "Ça va ? ﬁn ① ½",
        "<b>Hund</b> und <mask> [CLS] <x>",
        "a\u0301 e\u0301",
    ),
]
TEXT = [*SOURCE, *SCRIPTS * 3]
UNSEEN = ["🐕 ꙮ", "▁▁ a", "</s><s><pad>", "x" * 200, "\u200b\ufeff", *ODD]

IDS: dict[str, dict[str, Any]] = {
    "as SentencePiece has them": {},
    "as T5 has them": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "none but unknown": {"bos_id": -1, "eos_id": -1},
    "under other names": {
        "pad_id": 3,
        "pad_piece": "[PAD]",
        "bos_piece": "[CLS]",
        "eos_piece": "[X]",
        "unk_piece": "?",
    },
    "nearly ours": {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3},
    "with pieces of its own": {"control_symbols": ["<mask>", "<sep>"], "user_defined_symbols": ["<b>", "</b>"]},
    "far behind": {"unk_id": 99, "bos_id": 98, "eos_id": 50, "pad_id": 5},
}


def learned(kind: str, byte_fallback: bool, **keys: Any) -> bytes:
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_writer=model,
        model_type=kind,
        byte_fallback=byte_fallback,
        minloglevel=2,
        **{"vocab_size": 500, "hard_vocab_limit": False, **keys},
    )
    return model.getvalue()


def specials(own: SentencePieceProcessor) -> set[int]:
    return {own.pad_id(), own.bos_id(), own.eos_id(), own.unk_id()}


@pytest.mark.parametrize("byte_fallback", [False, True])
@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("ids", IDS)
def test_text_is_split_and_joined_as_before(kind: str, byte_fallback: bool, ids: str) -> None:
    model = learned(kind, byte_fallback, **IDS[ids])
    old = SentencePieceProcessor(model_proto=model)
    after = renumbered(model, specials(old))
    new = SentencePieceProcessor(model_proto=after)
    assert [new.id_to_piece(number) for number in range(5)] == list(SPECIAL)
    assert [piece.type for piece in pieces_of(after)[:5]] == [CONTROL, CONTROL, CONTROL, UNKNOWN, CONTROL]
    assert (new.pad_id(), new.bos_id(), new.eos_id(), new.unk_id()) == (0, 1, 2, 3)
    assert kind_of(model) == kind_of(after) == kind
    gone = specials(old) | {number for number, piece in enumerate(pieces_of(model)) if piece.text == "<sep>"}
    staying = [number for number in range(old.vocab_size()) if number not in gone]
    number_of = {old.unk_id(): 3} | {number: place for place, number in enumerate(staying, 5)}
    assert new.vocab_size() == len(staying) + 5
    for line in [*TEXT, *UNSEEN]:
        ids_before, ids_after = old.encode(line), new.encode(line)
        assert ids_after == [number_of[number] for number in ids_before]
        assert new.decode(ids_after) == old.decode(ids_before)
        before, mapping = (one.encode(line, return_type="offset_mapping") for one in (old, new))
        assert mapping["offsets"] == before["offsets"]
        if kind == "unigram" and line.strip():
            best = old.nbest_encode(line, nbest_size=3)
            assert new.nbest_encode(line, nbest_size=3) == [[number_of[n] for n in row] for row in best]
    draw = random.Random(1)
    for _ in range(100):
        some = draw.choices(list(number_of), k=6)
        assert new.decode([number_of[number] for number in some]) == old.decode(some)
    assert renumbered(after, {0, 1, 2, 3}) == after


def test_a_model_of_ours_stays_as_it_is() -> None:
    model = learned("unigram", False, **IDS["nearly ours"], control_symbols=["<sep>"])
    assert renumbered(model, {0, 1, 2, 3}) == model


def given(source: Path, target: Path) -> Subwords:
    return load_subwords(SubwordFiles(source=str(source), target=str(target)))


def test_models_are_given_by_their_files(tmp_path: Path) -> None:
    one, other = tmp_path / "one.model", tmp_path / "other.model"
    one.write_bytes(learned("unigram", True))
    other.write_bytes(learned("bpe", False, vocab_size=300))
    joint, separate = given(one, one), given(one, other)
    assert joint.joint and not separate.joint and separate.target.size < separate.source.size
    assert joint.kind == "unigram" and separate.kind == "unigram and bpe"
    again = Vocabulary(joint.source.model)
    assert again.encode(TEXT) == joint.target.encode(TEXT)


def test_what_cannot_be_taken_is_told(tmp_path: Path) -> None:
    file = tmp_path / "m.model"
    with pytest.raises(InputError, match=f"{file}.*No such file"):
        given(file, file)
    model = learned("bpe", False)
    for content in (b"", b"no model", model[: len(model) // 2]):
        file.write_bytes(content)
        with pytest.raises(InputError, match=f"{file} is no SentencePiece model"):
            given(file, file)
    file.write_bytes(learned("bpe", False, user_defined_symbols=["<sep>"]))
    with pytest.raises(InputError, match=r"a piece <sep> that stands for text"):
        given(file, file)


@pytest.mark.parametrize("model", [b"\xff" * 20, b"\x0a\xff", b"\x0b", b"\x0a\x05ab"])
def test_bytes_that_are_no_model_end(model: bytes) -> None:
    with pytest.raises(ValueError):
        renumbered(model, set())
