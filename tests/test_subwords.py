"""Subwords: the same text gives the same pieces anywhere, and every character is accounted for."""

import random
import re
from pathlib import Path

import pytest

from nmt.config import InputError, SubwordConfig
from nmt.subwords import BOS, EOS, MAX_LINE_BYTES, PAD, SEP, UNK, Subwords, Vocabulary, learn_subwords

ODD = ["", " ", "\t", "\x85", "a\u2028b", "a\rb", "😀", "<s>", "</s> <pad>", "\u200b", "\0", "e\u0301", "▁a", "日本 語"]


def text(seed: int, lines: int = 150) -> list[str]:
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefgh", k=draw.randrange(1, 7))) for _ in range(60)]
    return [" ".join(draw.choices(words, k=draw.randrange(1, 8))) for _ in range(lines)]


SOURCE, TARGET = text(1), text(2)
KINDS = [("unigram", True), ("unigram", False), ("bpe", True), ("bpe", False)]


def config_of(**keys: object) -> SubwordConfig:
    return SubwordConfig.model_validate(keys)


def learn(kind: str, joint: bool, size: int = 60) -> Subwords:
    config = config_of(kind=kind, joint=joint, vocabulary_size=size)
    subwords, messages = learn_subwords(SOURCE, TARGET, config)
    assert messages == []
    return subwords


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}-{'joint' if kind[1] else 'separate'}")
def subwords(request: pytest.FixtureRequest) -> Subwords:
    return learn(*request.param)


def sides(subwords: Subwords) -> list[tuple[Vocabulary, list[str]]]:
    return [(subwords.source, SOURCE), (subwords.target, TARGET)]


def test_special_ids_are_fixed(subwords: Subwords) -> None:
    assert (PAD, BOS, EOS, UNK, SEP) == (0, 1, 2, 3, 4)
    for vocabulary, lines in sides(subwords):
        assert vocabulary.size == 60
        used = {piece for ids in vocabulary.encode(lines) for piece in ids}
        assert min(used) > SEP and max(used) < vocabulary.size
        # What looks like a special piece is text like any other.
        named = vocabulary.encode(["<pad>", "<s>", "</s>", "<sep>"])
        assert not {PAD, BOS, EOS, SEP} & {piece for ids in named for piece in ids}
        assert UNK in vocabulary.encode(["a 日"])[0]
        assert vocabulary.decode([[PAD], [BOS], [EOS], [SEP], [PAD, BOS, EOS, SEP]]) == [""] * 5


@pytest.mark.parametrize(("kind", "joint"), KINDS)
def test_the_same_text_gives_the_same_bytes(kind: str, joint: bool) -> None:
    first, second = learn(kind, joint), learn(kind, joint)
    assert first.joint == second.joint == joint
    assert (first.source is first.target) == joint
    assert (first.source.model == first.target.model) == joint
    assert first.source.model == second.source.model and first.target.model == second.target.model
    assert first.digest() == second.digest()
    assert first.digest() != learn(kind, joint, size=59).digest()


def test_joint_pieces_come_from_both_sides() -> None:
    joint, _ = learn_subwords(["aaa bbb"] * 9, ["xxx yyy"] * 9, SubwordConfig(vocabulary_size=16))
    separate, _ = learn_subwords(["aaa bbb"] * 9, ["xxx yyy"] * 9, SubwordConfig(vocabulary_size=16, joint=False))
    assert UNK not in joint.source.encode(["ab xy"])[0]
    assert UNK not in separate.source.encode(["ab"])[0] and UNK in separate.source.encode(["xy"])[0]
    assert UNK not in separate.target.encode(["xy"])[0] and UNK in separate.target.encode(["ab"])[0]


@pytest.mark.parametrize(("kind", "joint"), KINDS)
def test_a_vocabulary_too_large_for_the_text_shrinks_and_says_so(kind: str, joint: bool) -> None:
    config = config_of(kind=kind, joint=joint, vocabulary_size=8000)
    subwords, messages = learn_subwords(SOURCE[:20], TARGET[:20], config)
    names = ["joint"] if joint else ["source", "target"]
    assert len(messages) == len(names)
    for name, message, vocabulary in zip(names, messages, (subwords.source, subwords.target), strict=False):
        assert 16 < vocabulary.size < 8000
        assert name in message and "8,000" in message and f"{vocabulary.size:,}" in message
        assert vocabulary.decode(vocabulary.encode(SOURCE[:20])) == SOURCE[:20]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_vocabulary_too_small_for_the_characters_names_the_size_it_needs(kind: str) -> None:
    lines = [chr(0x4E00 + number) * 3 for number in range(50)] * 2
    small = config_of(kind=kind, vocabulary_size=20)
    with pytest.raises(InputError, match=r"subwords\.vocabulary_size: found 20, .* at least (\d+)") as caught:
        learn_subwords(lines, lines, small)
    needed = int(str(caught.value).partition("at least ")[2].split(";")[0])
    assert 50 < needed < 65
    learn_subwords(lines, lines, small.model_copy(update={"vocabulary_size": needed}))


@pytest.mark.parametrize("lines", [[], [""], ["", " ", "\t", "\u2028", "\u3000"]])
@pytest.mark.parametrize("joint", [True, False])
def test_text_without_a_word_is_a_mistake(lines: list[str], joint: bool) -> None:
    with pytest.raises(InputError, match="training text"):
        learn_subwords(lines, lines, SubwordConfig(vocabulary_size=16, joint=joint))
    if not joint:
        with pytest.raises(InputError, match="the target training text"):
            learn_subwords(SOURCE, lines, SubwordConfig(vocabulary_size=60, joint=False))


def test_very_long_lines_are_left_out_and_counted() -> None:
    long = "zzzz " * (MAX_LINE_BYTES // 5 + 1)
    config = SubwordConfig(vocabulary_size=60)
    subwords, messages = learn_subwords([*SOURCE, long, long], TARGET, config)
    assert len(messages) == 1 and messages[0].startswith("2 lines")
    assert subwords.digest() == learn("unigram", True).digest()


def test_odd_lines_do_no_harm_to_learning() -> None:
    subwords, _ = learn_subwords([*SOURCE, *ODD], [*ODD, *TARGET], SubwordConfig(vocabulary_size=90))
    assert subwords.source.decode(subwords.source.encode(SOURCE)) == SOURCE


def test_what_is_saved_is_loaded(subwords: Subwords, tmp_path: Path) -> None:
    subwords.save(tmp_path / "deep" / "folder")
    again = Subwords.load(tmp_path / "deep" / "folder")
    assert again.joint == subwords.joint and again.digest() == subwords.digest()
    for (before, lines), (after, _) in zip(sides(subwords), sides(again), strict=True):
        assert before.encode(lines) == after.encode(lines)


def test_a_folder_without_models_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("broken", "cut"):
        learn("unigram", True).save(tmp_path / name)
    (tmp_path / "broken" / "subwords.model").write_bytes(b"no model of anything")
    (tmp_path / "cut" / "subwords.model").write_bytes(b"")
    learn("unigram", False).save(tmp_path / "half")
    (tmp_path / "half" / "target.model").unlink()
    for name in ("missing", "empty", "broken", "cut", "half"):
        with pytest.raises(InputError, match=f"{tmp_path / name}"):
            Subwords.load(Path(name))


def test_text_comes_back_from_its_ids(subwords: Subwords) -> None:
    for vocabulary, lines in sides(subwords):
        assert vocabulary.decode(vocabulary.encode(lines)) == lines


def test_as_many_rows_as_lines(subwords: Subwords) -> None:
    for vocabulary, lines in sides(subwords):
        assert vocabulary.encode([]) == [] and vocabulary.decode([]) == []
        assert vocabulary.encode([""]) == [[]] and vocabulary.decode([[]]) == [""]
        assert vocabulary.encode(["", " ", ""]) == [[], [], []] and vocabulary.decode([[], []]) == ["", ""]
        mixed = [*ODD, *lines, *ODD]
        rows = vocabulary.encode(mixed)
        assert len(rows) == len(mixed) == len(vocabulary.decode(rows))
        assert rows == [vocabulary.encode([line])[0] for line in mixed]  # a line does not depend on its neighbours


def test_pieces_lie_in_the_text_and_in_order(subwords: Subwords) -> None:
    for vocabulary, lines in sides(subwords):
        for line in [*lines[:30], *ODD, "  a  b ", "a" * 300]:
            found = vocabulary.encode_pieces(line)
            assert found.text == line and found.ids == vocabulary.encode([line])[0]
            again = vocabulary.decode_pieces(found.ids)
            assert again.text == vocabulary.decode([found.ids])[0] and again.ids == found.ids
            for pieces in (found, again):
                assert len(pieces.ids) == len(pieces.offsets)
                end = 0
                for first, last in pieces.offsets:
                    assert end <= first <= last <= len(pieces.text)
                    end = last
        for line in lines[:30]:  # nothing odd: each character is in a piece
            for pieces in (vocabulary.encode_pieces(line), vocabulary.decode_pieces(vocabulary.encode([line])[0])):
                assert "".join(line[first:last] for first, last in pieces.offsets) == line


def test_any_ids_have_pieces(subwords: Subwords) -> None:
    draw = random.Random(0)
    vocabulary = subwords.target
    for _ in range(50):
        ids = draw.choices(range(vocabulary.size), k=draw.randrange(9))
        pieces = vocabulary.decode_pieces(ids)
        assert pieces.ids == ids and len(pieces.offsets) == len(ids)
        assert pieces.text == vocabulary.decode([ids])[0]


@pytest.fixture(scope="module")
def rich() -> Vocabulary:
    """A vocabulary that knows many segmentations of a text."""
    return learn("unigram", joint=True, size=100).source


def test_samples_are_the_same_text_in_other_pieces(rich: Vocabulary) -> None:
    config = SubwordConfig(sampling=8, sampling_alpha=0.2)
    draws = [place / 50 for place in range(50)]
    for line, ids in zip(SOURCE[:20], rich.encode(SOURCE[:20]), strict=True):
        samples = [rich.sample(ids, config, draw) for draw in draws]
        assert samples[0] == ids  # the best comes first
        assert len(set(map(tuple, samples))) <= 8
        assert len(set(map(tuple, samples))) > 1 or len(ids) == 1
        assert set(rich.decode(samples)) == {line}
        assert [rich.sample(ids, config, draw) for draw in draws] == samples


def test_alpha_says_how_far_samples_go_from_the_best(rich: Vocabulary) -> None:
    [ids] = rich.encode(SOURCE[:1])
    draws = [(place + 0.5) / 400 for place in range(400)]

    def shares(alpha: float) -> list[float]:
        config = SubwordConfig(sampling=4, sampling_alpha=alpha)
        found = [tuple(rich.sample(ids, config, draw)) for draw in draws]
        return sorted((found.count(own) / len(found) for own in set(found)), reverse=True)

    assert shares(0.0) == [0.25] * 4
    assert shares(1000.0) == [1.0]
    assert 0.25 < shares(0.2)[0] < shares(1.0)[0]


def test_what_cannot_be_segmented_anew_stays_as_it_is(rich: Vocabulary) -> None:
    config = SubwordConfig(sampling=8)
    for ids in ([], *rich.encode(["a 日 b"])):
        assert rich.sample(ids, config, 0.9) == ids


# ---- symbols that are never split, and bytes


SYMBOLS = ["<b>", "</b>", "①", "⟨人名⟩", "abc", "a,b", 'q"q', "e\u0301"]
TAGGED = ["<b>abc</b> a", "x<b>y</b>", "① ①①", "⟨人名⟩ abcabcd", 'ab a,b q"q e\u0301', "  <b> <b>", "<b>"]


@pytest.mark.parametrize("byte_fallback", [False, True])
@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_symbols_are_never_split(kind: str, byte_fallback: bool) -> None:
    size = 400 if byte_fallback else 110
    config = config_of(kind=kind, vocabulary_size=size, user_symbols=tuple(SYMBOLS), byte_fallback=byte_fallback)
    vocabulary = learn_subwords([*SOURCE, *TAGGED * 3, "x y"], TARGET, config)[0].source
    known = {vocabulary.pieces.index(symbol): symbol for symbol in SYMBOLS}
    assert min(known) > SEP
    for line in [*TAGGED, *(f"{line} {symbol}{line}" for line in SOURCE[:20] for symbol in SYMBOLS)]:
        [ids] = vocabulary.encode([line])
        assert vocabulary.decode([ids]) == [" ".join(line.split())]
        for pieces in (vocabulary.encode_pieces(line), vocabulary.decode_pieces(ids)):
            covered = [
                (pieces.text[slice(*span)], known[i]) for i, span in zip(ids, pieces.offsets, strict=True) if i in known
            ]
            assert all(text == symbol for text, symbol in covered)
            assert [text for text, _ in covered] == re.findall("|".join(map(re.escape, SYMBOLS)), line)
        if kind == "unigram":
            sampled = [vocabulary.sample(ids, config_of(sampling=16, sampling_alpha=0.0), n / 16) for n in range(16)]
            assert {tuple(i for i in found if i in known) for found in sampled} == {tuple(i for i in ids if i in known)}
            assert set(vocabulary.decode(sampled)) == {" ".join(line.split())}


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_bytes_stand_for_what_has_no_piece(kind: str) -> None:
    config = config_of(kind=kind, vocabulary_size=330, byte_fallback=True)
    vocabulary = learn_subwords(SOURCE, TARGET, config)[0].source
    lines = ["日本語 a", "кошка", "القط", "बिल्ली", "a 😀 b"]
    rows = vocabulary.encode(lines)
    assert not any(UNK in ids for ids in rows) and vocabulary.decode(rows) == lines
    for line, ids in zip(lines, rows, strict=True):
        assert len(ids) >= len(line.encode()) - 2
        for pieces in (vocabulary.encode_pieces(line), vocabulary.decode_pieces(ids)):
            assert "".join(pieces.text[first:last] for first, last in pieces.offsets) == line
        if kind == "unigram":
            assert vocabulary.decode([vocabulary.sample(ids, config_of(sampling=8), 0.9)]) == [line]
    [ids] = vocabulary.encode(["a b"])
    broken = [*ids, vocabulary.pieces.index("<0x0A>"), *ids]  # no line may become two
    assert vocabulary.decode([broken]) == [vocabulary.decode_pieces(broken).text] == ["a b  a b"]
    with pytest.raises(InputError, match=r"at least 2[67]"):
        learn_subwords(SOURCE, TARGET, config.model_copy(update={"vocabulary_size": 100}))
