"""What must hold of any input, however odd: readers read it or refuse it in a sentence, filters lose nothing.

Hypothesis draws the inputs, the same ones each time.
"""

import gzip
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields
from datetime import date
from functools import cache, partial
from math import gcd
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nmt import corpus as corpus_file
from nmt import lines as lines_file
from nmt.alignment import Link, Words, given_words, membership, pharaoh, split_words
from nmt.checkpoint import load_notes, load_tensors, save_tensors
from nmt.config import (
    Config,
    DataConfig,
    FilePair,
    InputError,
    SubwordConfig,
    differences,
    dump_config,
    keys,
    load_config,
    parse_config,
)
from nmt.corpus import load_training_corpus, seen_lines
from nmt.declared import parse_json, read_json
from nmt.events import Averaged, Ended, Event, Reporter, read_events
from nmt.facts import DataFile, Facts, Git
from nmt.gold import Gold, check_gold, read_gold
from nmt.inspection import line_words
from nmt.lines import TextPairs, check_pairs, gather_lines, iterate_lines, read_lines, read_pairs, write_lines
from nmt.models.base import Extraction
from nmt.progress import Progress
from nmt.runs import Run
from nmt.subwords import UNK, Pieces, Subwords, Vocabulary, learn_subwords
from nmt.teaching import read_links
from tests.place import DATA

ANY = settings(max_examples=40, deadline=None, derandomize=True, database=None)
FEW = settings(ANY, max_examples=20)  # where an example writes many files

# ---- what is drawn

NASTY = [
    *("\x00", "\t", "\x0b", "\x0c", "\r", "\x1c", "\x1d", "\x85", "\xa0", "\u2028", "\u2029", "\u3000", "\ufeff"),
    *("\u200b", "\u0301", "\u2581", "\ufffd", "\ufb01", "\u0130", "😀", "日", "م", "٣", " ", "-", "'", ".", "<s>", "⁇"),
]


def texts(without: str = "", most: int = 12) -> st.SearchStrategy[str]:
    """Any text, odd characters often; never half of a surrogate pair, which no file of UTF-8 can hold."""
    odd = st.sampled_from([part for part in NASTY if part not in without])
    plain = st.characters(exclude_categories=["Cs"], exclude_characters=without)
    return st.lists(st.one_of(odd, plain, st.sampled_from("abc d")), max_size=most).map("".join)


TEXT = texts()
LINE = texts(without="\n")
LINES = st.lists(LINE, max_size=6)
# Bytes of a command line, as Python gives them: those that are not UTF-8 become halves of surrogate pairs.
TYPED = st.one_of(TEXT.filter(lambda text: "\x00" not in text), st.binary(max_size=8).map(os.fsdecode))


def changed(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Valid input with some bytes of it replaced by others, or anything at all."""

    @st.composite
    def one(draw: st.DrawFn) -> bytes:
        data = draw(valid)
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 4)))
        return data[:start] + draw(st.binary(max_size=4)) + data[end:]

    return st.one_of(one(), st.binary(max_size=40), TEXT.map(str.encode))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all examples of this file, each of which writes anew what it reads."""
    return tmp_path_factory.mktemp("properties")


def told(read: Callable[[], object]) -> str | None:
    """What a reader refuses its input with; None where it accepts. Anything but an InputError fails the test."""
    try:
        read()
    except InputError as error:
        assert str(error).strip()
        return str(error)
    return None


@pytest.fixture(scope="module", autouse=True)
def unflushed() -> Iterator[None]:
    """Without waiting for the disk at each file: no power is cut here, and there are thousands of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


# ---- lines


def naive_lines(content: bytes) -> tuple[list[str], tuple[int, int] | None]:
    """The lines of some bytes, decoded one by one, and line and byte of the first that is not UTF-8."""
    rows = content.split(b"\n")
    lines: list[str] = []
    for number, row in enumerate(rows, 1):
        try:
            line = row.decode()
        except UnicodeDecodeError as error:
            return lines, (number, error.start + 1)
        line = line.removeprefix("\ufeff") if number == 1 else line
        if number < len(rows):
            lines.append(line.removesuffix("\r"))
        elif line:
            lines.append(line)
    return lines, None


def as_read(lines: list[str]) -> list[str]:
    """Lines as a file gives them back: it cannot say that a line ends with "\\r"."""
    return [line.removesuffix("\r") for line in lines]


def drained(reader: Iterator[str]) -> tuple[list[str], str | None]:
    """What a reader gives before it ends or refuses, and what it says then."""
    lines: list[str] = []
    return lines, told(lambda: lines.extend(reader))


def piped(content: bytes, most: int) -> tuple[list[str], str | None]:
    """The same of a pipe that holds these bytes, in groups of at most so many lines."""
    reader, writer = os.pipe()
    try:
        os.write(writer, content)
        os.close(writer)

        def lines() -> Iterator[str]:
            for group in gather_lines(reader, "the pipe", most, pause=60.0):
                assert 1 <= len(group) <= most
                yield from group

        return drained(lines())
    finally:
        os.close(reader)


CONTENT = st.one_of(
    st.lists(st.one_of(LINE, st.sampled_from(["\n", "\r\n", "\r"])), max_size=10).map(
        lambda parts: "".join(parts).encode()
    ),
    st.lists(
        st.sampled_from([b"\n", b"\r", b"\xef\xbb\xbf", b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"a", b"\xc3\xa9"])
    ).map(b"".join),
    st.binary(max_size=40),
)


@ANY
@given(lines=LINES, name=st.sampled_from(["text", "text.gz"]))
def test_written_lines_are_read(folder: Path, lines: list[str], name: str) -> None:
    write_lines(folder / name, lines)
    assert read_lines(folder / name) == as_read(lines)


@ANY
@given(content=CONTENT, size=st.integers(1, 20), most=st.integers(1, 4))
def test_bytes_are_lines_or_refused_by_line_and_byte(folder: Path, content: bytes, size: int, most: int) -> None:
    lines, wrong = naive_lines(content)
    (folder / "text").write_bytes(content)
    (folder / "text.gz").write_bytes(gzip.compress(content))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BLOCK", "PIPE"):
            patch.setattr(lines_file, name, size)
        found = {
            str(folder / "text"): drained(iterate_lines(folder / "text")),
            str(folder / "text.gz"): drained(iterate_lines(folder / "text.gz")),
            "the pipe": piped(content, most),
        }
    for name, (own, error) in found.items():
        if wrong is None:
            assert own == lines and error is None
        else:
            assert error is not None and error.startswith(f"{name}, line {wrong[0]}, byte {wrong[1]}: not UTF-8")
            # The block that the bad byte is in is given as far as it is good.
            assert own == lines


@ANY
@given(lines=LINES, data=st.data())
def test_a_gzip_file_that_is_cut_or_changed_is_refused(folder: Path, lines: list[str], data: st.DataObject) -> None:
    path = folder / "damaged.gz"
    write_lines(path, lines)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1), label="length")])
    error = told(lambda: read_lines(path))
    assert error is not None and error.startswith(f"{path} is damaged or not gzip")
    place = data.draw(st.integers(0, len(whole) - 1), label="place")
    path.write_bytes(whole[:place] + data.draw(st.binary(min_size=1, max_size=1)) + whole[place + 1 :])
    own, error = drained(iterate_lines(path))  # the header has bytes that say nothing of the text
    assert own == as_read(lines) if error is None else str(path) in error


@ANY
@given(start=st.sampled_from([b"", b"\x1f", b"\x1f\x8b\x08", gzip.compress(b"a\n")]), rest=st.binary(max_size=40))
def test_any_bytes_named_gzip_are_read_or_refused(folder: Path, start: bytes, rest: bytes) -> None:
    path = folder / "any.gz"
    path.write_bytes(start + rest)
    error = told(lambda: read_lines(path))
    assert error is None or error.startswith(str(path))


@ANY
@given(sources=LINES, targets=LINES)
def test_two_files_are_pairs_or_refused_with_both_counts(folder: Path, sources: list[str], targets: list[str]) -> None:
    files = FilePair(source=str(folder / "pairs.source"), target=str(folder / "pairs.target"))
    for name, lines in ((files.source, sources), (files.target, targets)):
        write_lines(Path(name), lines)
    if len(sources) == len(targets):
        assert read_pairs(files) == TextPairs(as_read(sources), as_read(targets))
        error = told(lambda: check_pairs(files))
        assert error is None if sources else error is not None and files.source in error
    else:
        for read in (read_pairs, check_pairs):
            error = told(partial(read, files))
            assert error is not None
            assert f"{files.source} has {len(sources)}" in error and f"{files.target} has {len(targets)}" in error


# ---- configs

SMALLEST = f'{DATA}[data.test]\nnews = {{ source = "news.de", target = "news.en" }}\n[model]\nkind = "transformer"\n'
NAMES = sorted({part for key, _ in keys() for part in key.split(".")})
KEYS = sorted({key.replace("NAME", "news") for key, _ in keys()})

NUMBERS = st.one_of(st.integers(), st.integers(-(10**400), 10**400), st.floats())
DATES = st.one_of(st.dates(), st.times(), st.datetimes())
SCALARS = st.one_of(st.booleans(), NUMBERS, TEXT, DATES, st.sampled_from(["rnn", "transformer", "bpe", "adamw"]))
TABLE_KEYS = st.one_of(st.sampled_from(NAMES), st.sampled_from(["", "[key]", "a.b", "model.size", "NAME"]), TEXT)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TABLE_KEYS, inner, max_size=3)),
    max_leaves=8,
)


def planted(tree: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """A tree with a value at a path, in place of whatever was in the way."""
    inner = tree.get(path[0])
    rest = path[1:]
    return {**tree, path[0]: planted(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    """A valid tree with odd values here and there, or an odd one all through."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.dictionaries(TABLE_KEYS, VALUES, max_size=5))
    tree = tomllib.loads(SMALLEST)
    path = st.one_of(
        st.sampled_from(KEYS).map(lambda key: key.split(".")), st.lists(TABLE_KEYS, min_size=1, max_size=4)
    )
    for _ in range(draw(st.integers(1, 3))):
        tree = planted(tree, draw(path), draw(VALUES))
    return tree


@settings(ANY, max_examples=100)
@given(tree=trees())
def test_any_tree_is_a_config_or_refused(tree: dict[str, Any]) -> None:
    error = told(lambda: parse_config(tree, "the tree"))
    assert error is None or error.startswith("the tree: ")


TOML_PARTS = st.sampled_from(
    [
        *(
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            "=",
            ",",
            ".",
            "#",
            '"',
            "'",
            '"""',
            "'''",
            "\n",
            "\r\n",
            "\\",
            "\\u0000",
            " ",
        ),
        *("1979-05-27", "07:32:00", "99:99:99", "0xff", "1_0", "1e999", "-nan", "inf", "true", "[training]", "a.b = 1"),
        *NAMES,
    ]
)


@settings(ANY, max_examples=100)
@given(
    content=st.one_of(
        changed(st.just(SMALLEST.encode())),
        st.lists(st.one_of(TOML_PARTS, TEXT), max_size=12).map(lambda parts: "".join(parts).encode()),
        st.lists(TOML_PARTS, max_size=12).map(lambda parts: (SMALLEST + "".join(parts)).encode()),
    )
)
def test_any_file_is_a_config_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "any.toml"
    path.write_bytes(content)
    error = told(lambda: load_config(path))
    assert error is None or error.startswith(f"{path}: ")


@settings(ANY, max_examples=100)
@given(
    overrides=st.lists(
        st.one_of(
            TYPED,
            st.tuples(st.one_of(st.sampled_from(KEYS), TYPED), st.one_of(TYPED, TOML_PARTS)).map("=".join),
            st.tuples(st.sampled_from(KEYS), SCALARS.map(str)).map("=".join),
        ),
        max_size=3,
    )
)
def test_any_override_is_taken_or_refused(folder: Path, overrides: list[str]) -> None:
    path = folder / "smallest.toml"
    path.write_text(SMALLEST, encoding="utf-8")
    error = told(lambda: load_config(path, overrides))
    assert error is None or error.startswith((f"{path}: ", *(f"{override}: " for override in overrides)))


@FEW
@given(key=st.sampled_from(KEYS), digits=st.integers(4000, 6000), form=st.sampled_from(["0x", "0o", "0b", ""]))
def test_a_number_of_thousands_of_digits_is_taken_or_refused(folder: Path, key: str, digits: int, form: str) -> None:
    path = folder / "smallest.toml"
    path.write_text(SMALLEST, encoding="utf-8")
    # TOML writes numbers in four bases, and Python limits the digits of decimal ones alone.
    told(lambda: load_config(path, [f"{key}={form}{'1' * digits}"]))


def default_of(key: str) -> object:
    """A value that is right for a key."""
    value: Any = parse_config(tomllib.loads(SMALLEST), "smallest").model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    return value


RIGHT = {
    key: default_of(key)
    for key in KEYS
    if not key.startswith("model.") or key.removeprefix("model.") in ("kind", "size", "dropout", "tied_embeddings")
}


@settings(ANY, max_examples=100)
@given(
    key=st.sampled_from(sorted(RIGHT)),
    value=st.one_of(st.booleans(), st.integers(), st.floats(), TEXT, st.just({}), st.just([])),
)
def test_a_value_of_another_type_is_refused_by_its_key(key: str, value: object) -> None:
    right = RIGHT[key]
    assume(type(value) is not type(right) and not (isinstance(right, float) and type(value) is int))
    tree = planted(tomllib.loads(SMALLEST), key.split("."), value)
    error = told(lambda: parse_config(tree, "the tree"))
    assert error is not None and f"the tree: {key}" in error


@ANY
@given(key=st.sampled_from(sorted(RIGHT)), value=DATES)
def test_a_date_is_refused_by_its_key(key: str, value: date) -> None:
    tree = planted(tomllib.loads(SMALLEST), key.split("."), value)
    error = told(lambda: parse_config(tree, "the tree"))
    assert error is not None and f"the tree: {key}" in error


COUNTS = st.integers(1, 10**30)
SHARES = st.floats(0, 1, exclude_max=True)
POSITIVE = st.floats(0, allow_infinity=False)
FILES = st.fixed_dictionaries({"source": TEXT, "target": TEXT})
TEST_NAMES = texts(without="/\x00").filter(bool)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """A valid config, every number of it anywhere within its bounds."""

    def section(**values: st.SearchStrategy[Any]) -> dict[str, Any]:
        return draw(st.fixed_dictionaries({}, optional=values))

    languages = st.text(st.characters(exclude_categories=["Cs"]), min_size=2, max_size=4)
    data = {
        **{key: draw(languages) for key in ("source_language", "target_language")},
        **{key: draw(FILES) for key in ("train", "valid")},
        "test": draw(st.dictionaries(TEST_NAMES, FILES, max_size=3)),
        "max_length": draw(COUNTS),
        **section(max_length_ratio=st.floats(1, allow_infinity=False)),
    }
    subwords = section(
        kind=st.sampled_from(["unigram", "bpe"]),
        vocabulary_size=st.integers(16, 10_000_000),
        joint=st.booleans(),
        character_coverage=st.floats(0.98, 1),
        sampling_alpha=POSITIVE,
    )
    if subwords.get("kind") == "unigram":
        subwords |= section(sampling=st.integers(1, 64))
    if draw(st.booleans()):
        model = section(attention=st.sampled_from(["additive", "none"]), encoder_size=COUNTS, attention_size=COUNTS)
        model["kind"] = "rnn"
    else:
        heads = draw(st.integers(1, 10**9))
        model = section(norm=st.sampled_from(["pre", "post"]), feed_forward_size=COUNTS, encoder_layers=COUNTS)
        model |= {"kind": "transformer", "heads": heads, "size": 2 * heads * draw(st.integers(1, 10**9))}
    training = section(
        seed=st.integers(0, 2**31 - 1),
        updates=st.integers(1, 10**9),
        learning_rate=POSITIVE.filter(bool),
        betas=st.tuples(SHARES, SHARES).map(list),
        schedule=st.sampled_from(["inverse_square_root", "cosine", "constant"]),
        label_smoothing=SHARES,
        clip_norm=POSITIVE,
        compile=st.booleans(),
    )
    training["max_tokens"] = max(8, data["max_length"] + draw(COUNTS))
    if draw(st.booleans()):
        training |= {"optimiser": "adamw", "weight_decay": draw(POSITIVE)}
    search = section(beam_size=st.integers(1, 10_000), length_penalty=POSITIVE, max_length_ratio=st.floats(0, 100))
    search |= section(max_length_offset=st.integers(1, 10_000))
    model |= section(dropout=SHARES, tied_embeddings=st.booleans())
    tree = {"data": data, "subwords": subwords, "model": model, "training": training, "search": search}
    return parse_config(tree, "drawn")


@ANY
@given(config=configs())
def test_a_dumped_config_is_the_same_config(folder: Path, config: Config) -> None:
    text = dump_config(config)
    again = parse_config(tomllib.loads(text), "the dump")
    assert again == config and differences(config, again) == {}
    assert list(again.data.test) == list(config.data.test)
    write_lines(folder / "dumped.toml", text.split("\n"))  # as a run keeps it
    assert load_config(folder / "dumped.toml") == config


# ---- the filters of the training text


def filtered(
    lengths: list[tuple[int, int]], most: int, ratio: float, part: int
) -> tuple[list[int], dict[str, int]] | str:
    """Line numbers of pairs of these lengths that are kept, and how many are dropped by reason; or what is told."""
    files = FilePair(source="s", target="t")
    config = DataConfig(
        source_language="de", target_language="en", train=files, valid=files, max_length=most, max_length_ratio=ratio
    )
    encoded = torch.tensor(lengths, dtype=torch.int32).view(-1, 2)
    nothing: Any = None  # the filters look at lengths alone, and no subwords are learned for them
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_file, "_encoded", lambda files, subwords: (nothing, encoded))
        patch.setattr(corpus_file, "LINES_A_PART", part)
        try:
            corpus = load_training_corpus(config, nothing)
        except InputError as error:
            return str(error)
    return corpus.kept.tolist(), corpus.dropped


def fates(lengths: Iterable[tuple[int, int]], most: int, hundredths: int) -> list[int | None]:
    """Which of the three filters drops each pair; None: it is kept. In whole numbers, so that nothing is rounded."""
    found: list[int | None] = []
    for pair in lengths:
        shorter, longer = sorted(pair)
        rules = (shorter == 0, longer > most, 100 * longer > hundredths * shorter)
        found.append(rules.index(True) if any(rules) else None)
    return found


PAIR = st.one_of(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.tuples(st.integers(0, 300), st.integers(0, 300)))


@settings(ANY, max_examples=100)
@given(
    lengths=st.lists(PAIR, min_size=1, max_size=20),
    most=st.one_of(st.integers(1, 12), st.integers(1, 300)),
    halves=st.integers(2, 20),
    part=st.integers(1, 7),
)
def test_filters_keep_and_drop_what_they_say(lengths: list[tuple[int, int]], most: int, halves: int, part: int) -> None:
    expected = fates(lengths, most, 50 * halves)
    counts = [expected.count(reason) for reason in range(3)]
    found = filtered(lengths, most, halves / 2, part)
    if isinstance(found, str):
        assert set(expected).isdisjoint({None}) and all(f"{count} " in found for count in counts)
        return
    kept, dropped = found
    assert kept == [line for line, reason in enumerate(expected) if reason is None]
    assert list(dropped.values()) == counts
    assert len(kept) + sum(dropped.values()) == len(lengths)


@settings(ANY, max_examples=100)
@given(hundredths=st.integers(100, 400), times=st.integers(1, 4), turned=st.booleans())
def test_a_pair_of_exactly_the_largest_ratio_is_kept(hundredths: int, times: int, turned: bool) -> None:
    shorter = 100 // gcd(hundredths, 100) * times
    pair = (shorter, shorter * hundredths // 100)
    pair = pair[::-1] if turned else pair
    one_more = (shorter, shorter * hundredths // 100 + 1)
    assert fates([pair, one_more], 10**6, hundredths) == [None, 2]
    found = filtered([pair, one_more], 10**6, hundredths / 100, 7)
    assert not isinstance(found, str), found
    assert found[0] == [0] and list(found[1].values()) == [0, 0, 1]


@ANY
@given(training=LINES, sets=st.dictionaries(TEXT, LINES, max_size=3), data=st.data())
def test_seen_lines_are_counted(
    folder: Path, training: list[str], sets: dict[str, list[str]], data: st.DataObject
) -> None:
    path = folder / "training"
    write_lines(path, training)
    training = as_read(training)
    if training:
        for lines in sets.values():
            lines += data.draw(st.lists(st.sampled_from(training), max_size=4))
    expected = {name: len([line for line in lines if line and line in training]) for name, lines in sets.items()}
    assert seen_lines(sets, path) == expected


# ---- links

LINKS = st.sets(st.tuples(st.integers(0, 999_999_999), st.integers(0, 999_999_999)), max_size=6)
ITEMS = st.one_of(
    st.sampled_from(["0-0", "1p2", "3?4", "00-1", "٣-٣", "²-1", "-1", "1-", "1--1", "1-2-3", "1:2", "9" * 9 + "-0"]),
    st.sampled_from(["9" * 10 + "-0", "9" * 5000 + "-0", "0P0", "+1-1", "1_0-1"]),
    TEXT,
)


def naive_link(item: str, first: int) -> tuple[Link, bool] | None:
    """The link that an item says, and whether it is a sure one; None: it says none."""
    for sign in "-p?":
        left, found, right = item.partition(sign)
        if found and all(part.isdecimal() and len(part) < 10 and int(part) >= first for part in (left, right)):
            return (int(left) - first, int(right) - first), sign == "-"
    return None


@settings(ANY, max_examples=100)
@given(
    text=st.lists(st.one_of(ITEMS, st.sampled_from([" ", "\n", "\t", "\r\n", "\x85"])), max_size=12).map("".join),
    first=st.integers(0, 1),
    target_first=st.booleans(),
)
def test_any_text_is_links_or_refused_by_line(folder: Path, text: str, first: int, target_first: bool) -> None:
    path = folder / "gold"
    path.write_bytes(text.encode())
    lines, expected, wrong = naive_lines(text.encode())[0], [], None
    for number, line in enumerate(lines, 1):
        found = [naive_link(item, first) for item in line.split()]
        if None in found:
            wrong = number
            break
        turned = [(link[::-1] if target_first else link, sure) for link, sure in filter(None, found)]
        expected.append(
            Gold(frozenset(link for link, sure in turned if sure), frozenset(link for link, sure in turned))
        )
    if wrong is None:
        assert read_gold(path, first=first, target_first=target_first) == expected
    else:
        error = told(lambda: read_gold(path, first=first, target_first=target_first))
        assert error is not None and error.startswith(f"{path}, line {wrong}: ")


@ANY
@given(content=changed(st.lists(LINKS.map(pharaoh)).map(lambda lines: "\n".join(lines).encode())))
def test_any_bytes_are_links_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "gold"
    path.write_bytes(content)
    for read in (read_gold, lambda path: read_links(path, 3)):
        error = told(partial(read, path))
        assert error is None or error.startswith(str(path))


@ANY
@given(lines=st.lists(st.tuples(LINKS, LINKS), max_size=5))
def test_links_that_are_written_are_read(folder: Path, lines: list[tuple[set[Link], set[Link]]]) -> None:
    path = folder / "links"
    write_lines(path, [pharaoh(sure) for sure, _ in lines])
    assert read_gold(path) == [Gold(frozenset(sure), frozenset(sure)) for sure, _ in lines]
    assert read_links(path, len(lines)) == [sure for sure, _ in lines]
    for others in (len(lines) + 1, len(lines) - 1):
        error = told(partial(read_links, path, others))
        assert error is not None and error.startswith(f"{path}: {len(lines)} lines of links")
    for sign in "p?":
        write_lines(path, [f"{pharaoh(sure)} {pharaoh(possible).replace('-', sign)}" for sure, possible in lines])
        assert read_gold(path) == [Gold(frozenset(sure), frozenset(sure | possible)) for sure, possible in lines]


@ANY
@given(
    lines=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)))),
        max_size=4,
    )
)
def test_gold_of_words_that_are_not_there_is_refused_by_line(lines: list[tuple[int, int, set[Link]]]) -> None:
    gold = [Gold(frozenset(), frozenset(links)) for _, _, links in lines]
    sources = [split_words("a " * source) for source, _, _ in lines]
    targets = [split_words("b " * target) for _, target, _ in lines]
    wrong = [
        number
        for number, (source, target, links) in enumerate(lines, 1)
        if any(i >= source or j >= target for i, j in links)
    ]
    error = told(lambda: check_gold(gold, sources, targets, Path("/gold")))
    assert error is None if not wrong else error is not None and error.startswith(f"/gold, line {wrong[0]}: ")


# ---- words


@settings(ANY, max_examples=100)
@given(line=TEXT)
def test_words_are_all_of_a_line_but_its_spaces(line: str) -> None:
    for split in get_args(split_words.__annotations__["split"]):
        words = split_words(line, split)
        assert words.text == line and [line[start:end] for start, end in words.spans] == words.texts
        ends = [0, *(end for _, end in words.spans)]
        assert all(end <= start < stop for end, (start, stop) in zip(ends, words.spans, strict=False))
        assert "".join(words.texts) == "".join(line.split())
        assert given_words(line, " ".join(words.texts)) == words
    assert split_words(line, "space").texts == line.split()


@settings(ANY, max_examples=100)
@given(line=LINE, spaces=st.lists(st.sampled_from(["", " ", "\t", "\u3000 ", "\x85"]), max_size=16))
def test_given_words_are_those_of_the_copy(folder: Path, line: str, spaces: list[str]) -> None:
    characters = list("".join(line.split()))
    padded = [*spaces, *[""] * len(characters)]
    copy = "".join(space + character for space, character in zip(padded, characters, strict=False))
    words = given_words(line, copy)
    assert ["".join(text.split()) for text in words.texts] == copy.split()
    assert all(text == text.strip() for text in words.texts)
    path = folder / "copy"
    write_lines(path, ["first", copy])
    found = line_words(["first", line], "punctuation", path, "the text")
    assert found == [Words("first", [(0, 5)]), words]


@ANY
@given(line=LINE, copy=LINE)
def test_a_copy_that_differs_in_more_than_spaces_is_refused(folder: Path, line: str, copy: str) -> None:
    path = folder / "copy"
    write_lines(path, ["first", copy])
    error = told(lambda: line_words(["first", line], "space", path, "the text"))
    if "".join(line.split()) == "".join(copy.split()):
        assert error is None
    else:
        assert error is not None and error.startswith(f"{path}, line 2: differs from the text")


# ---- subwords

LEARNED = [
    "ab bc cd",
    "abc a b c d",
    "dad cab bad",
    "",
    "a\u2028b - 'c'. <s>",
    "日 😀 ｆｉ ▁a e\u0301",
    *["abcd dcba"] * 3,
]


@cache
def vocabulary_of(kind: str) -> Vocabulary:
    config = SubwordConfig.model_validate({"kind": kind, "vocabulary_size": 40})
    return learn_subwords(LEARNED, LEARNED, config)[0].source


@pytest.fixture(params=["unigram", "bpe"], scope="module")
def vocabulary(request: pytest.FixtureRequest) -> Vocabulary:
    return vocabulary_of(request.param)


def in_order(pieces: Pieces) -> bool:
    """Whether each piece covers a part of the text that lies behind those before it."""
    places = [place for span in pieces.offsets for place in span]
    return (
        len(pieces.ids) == len(pieces.offsets)
        and places == sorted(places)
        and {*places} <= {*range(len(pieces.text) + 1)}
    )


@settings(ANY, max_examples=100)
@given(line=TEXT)
def test_pieces_lie_in_the_text_in_order(vocabulary: Vocabulary, line: str) -> None:
    [ids] = vocabulary.encode([line])
    found = vocabulary.encode_pieces(line)
    assert found.text == line and found.ids == ids and in_order(found)
    [text] = vocabulary.decode([ids])
    again = vocabulary.decode_pieces(ids)
    assert again.text == text and again.ids == ids and in_order(again)
    words = split_words(line).spans
    if words:
        assert membership(found, words).sum(1).tolist() == pytest.approx([1] * len(ids))


@ANY
@given(lines=st.lists(TEXT, min_size=1, max_size=5))
def test_a_line_has_the_same_pieces_beside_any_others(vocabulary: Vocabulary, lines: list[str]) -> None:
    rows = vocabulary.encode(lines)
    assert rows == [vocabulary.encode([line])[0] for line in lines]
    flat = vocabulary.encode_flat(lines)
    assert flat.counts.tolist() == [len(row) for row in rows]
    assert flat.ids.tolist() == [piece for row in rows for piece in row]
    assert len(vocabulary.decode(rows)) == len(lines)


@ANY
@given(line=st.one_of(st.text("abcd ▁-'.", max_size=12), TEXT), draw=SHARES)
def test_the_text_of_ids_has_these_ids_again(vocabulary: Vocabulary, line: str, draw: float) -> None:
    """Which sampling starts from, and what is sampled is the same text; a piece that is unknown has lost its text."""
    [ids] = vocabulary.encode([line])
    config = SubwordConfig(sampling=4)
    if UNK in ids:
        assert vocabulary.sample(ids, config, draw) == ids
        return
    [text] = vocabulary.decode([ids])
    assert vocabulary.encode([text]) == [ids]
    if vocabulary is not vocabulary_of("bpe"):  # which knows no other segmentations, so that configs refuse sampling
        assert vocabulary.decode([vocabulary.sample(ids, config, draw)]) == [text]


@ANY
@given(data=st.data())
def test_any_ids_are_text(vocabulary: Vocabulary, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, vocabulary.size - 1), max_size=9))
    found = vocabulary.decode_pieces(ids)
    assert found.ids == ids and found.text == vocabulary.decode([ids])[0] and in_order(found)


# ---- events, and what else is JSON

INTEGERS = st.integers(-(10**20), 10**20)
OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    int: INTEGERS,
    float: st.floats(),
    float | None: st.one_of(st.none(), st.floats()),
    int | None: st.one_of(st.none(), INTEGERS),
    str: TEXT,
    bool: st.booleans(),
    list[int]: st.lists(INTEGERS, max_size=3),
}


def any_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    """A dataclass of any values of its fields."""
    hints = get_type_hints(kind)
    return st.builds(
        kind, **{field.name: OF_TYPE[hints[field.name]] for field in fields(kind) if hints[field.name] in OF_TYPE}
    )


EVENT: st.SearchStrategy[Event] = st.one_of([any_of(kind) for kind in get_args(Event)])


@ANY
@given(events=st.lists(EVENT, max_size=4), data=st.data())
def test_events_that_are_written_are_read(folder: Path, events: list[Event], data: st.DataObject) -> None:
    path = folder / "metrics.jsonl"
    path.unlink(missing_ok=True)
    reporter = Reporter(path, 0)
    for event in events:
        reporter.write(event)
    assert repr(read_events(path)) == repr(events)  # by repr: a NaN is no other's equal
    update = data.draw(st.one_of(INTEGERS, st.sampled_from([event.update for event in events] or [0])), label="update")
    Reporter(path, update)
    kept = [event for event in events if event.update <= update and not isinstance(event, Averaged | Ended)]
    assert repr(read_events(path)) == repr(kept)
    whole = path.read_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole)), label="cut")]
    path.write_bytes(cut)
    assert repr(read_events(path)) == repr(kept[: cut.count(b"\n")])


def line_of(event: Event) -> bytes:
    return json.dumps({"event": type(event).__name__.lower(), **asdict(event)}).encode() + b"\n"


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), INTEGERS, st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def lines_of_json(draw: st.DrawFn) -> bytes:
    """Lines like those of events, with a value or two in place of others."""
    lines = []
    for event in draw(st.lists(EVENT, max_size=3)):
        line = json.loads(line_of(event))
        names = st.sampled_from([*line, "other"])
        line |= draw(st.dictionaries(names, st.one_of(JSON, st.sampled_from(["ended", "skipped"])), max_size=2))
        lines.append(json.dumps(line).encode() + b"\n")
    return b"".join(lines)


@settings(ANY, max_examples=100)
@given(content=st.one_of(lines_of_json(), changed(st.lists(EVENT.map(line_of), max_size=3).map(b"".join))))
def test_any_bytes_are_events_or_refused_by_line(folder: Path, content: bytes) -> None:
    path = folder / "any.jsonl"
    path.write_bytes(content)
    found: list[Event] = []
    error = told(lambda: found.extend(read_events(path)))
    if error is None:
        assert len(found) == content.count(b"\n")
    else:
        number = re.match(re.escape(str(path)) + r", line ([\d,]+): broken: ", error)
        assert number and 1 <= int(number[1].replace(",", "")) <= content.count(b"\n")


FACTS = st.builds(
    Facts,
    command=st.lists(TEXT, max_size=3),
    **dict.fromkeys(("started", "machine", "system"), TEXT),
    versions=st.dictionaries(TEXT, TEXT, max_size=2),
    git=st.one_of(st.none(), st.builds(Git, commit=TEXT, changed=st.lists(TEXT, max_size=2))),
    data=st.dictionaries(TEXT, st.builds(DataFile, file=TEXT, sha256=TEXT), max_size=2),
    dropped_pairs=st.dictionaries(TEXT, INTEGERS, max_size=2),
    **dict.fromkeys(("training_pairs", "parameters", "embedding_parameters"), INTEGERS),
    sums=st.dictionaries(TEXT, TEXT, max_size=2),
)


@ANY
@given(facts=FACTS, extraction=any_of(Extraction), progress=any_of(Progress))
def test_what_a_run_notes_is_read(folder: Path, facts: Facts, extraction: Extraction, progress: Progress) -> None:
    path = folder / "notes.json"
    write_lines(path, facts.model_dump_json(indent=1).split("\n"))  # as a run keeps it
    assert read_json(Facts, path) == facts
    assert parse_json(Extraction, json.dumps(asdict(extraction)), "it") == extraction
    assert repr(parse_json(Progress, json.dumps(asdict(progress)), "it")) == repr(progress)


def facts_of(command: list[str], data: dict[str, DataFile]) -> Facts:
    """What a run notes of a command line and its files, nothing else being of interest."""
    numbers = dict.fromkeys(("training_pairs", "parameters", "embedding_parameters"), 1)
    return Facts(
        command=command,
        started="",
        machine="",
        system="",
        versions={},
        git=None,
        data=data,
        dropped_pairs={},
        **numbers,
    )


@ANY
@given(command=st.lists(TYPED, max_size=3), file=TYPED)
def test_any_command_line_and_any_path_can_be_noted(command: list[str], file: str) -> None:
    noted = facts_of(command, {"train.source": DataFile(file=file, sha256="")})
    assert parse_json(Facts, noted.model_dump_json(indent=1), "run.json") == noted


@settings(ANY, max_examples=100)
@given(
    content=st.one_of(
        JSON.map(lambda value: json.dumps(value).encode()),
        changed(FACTS.map(lambda facts: facts.model_dump_json().encode())),
        changed(any_of(Extraction).map(lambda extraction: json.dumps(asdict(extraction)).encode())),
        st.tuples(FACTS, st.dictionaries(st.sampled_from([*Facts.model_fields, "other"]), JSON, max_size=2)).map(
            lambda both: json.dumps(both[0].model_dump(mode="json") | both[1]).encode()
        ),
        st.integers(0, 5000).map(lambda depth: b"[" * depth + b"]" * depth),
        st.integers(0, 5000).map(lambda digits: b'{"layer":1' + b"0" * digits + b"}"),
    )
)
def test_any_json_is_what_is_declared_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "any.json"
    path.write_bytes(content)
    for kind in (Facts, Extraction, Progress, dict[str, Any]):
        error = told(partial(read_json, kind, path))
        assert error is None or error.startswith(f"{path}: broken: ")


# ---- checkpoints

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8]
TENSORS = st.dictionaries(
    TEXT.filter(lambda name: name != "__metadata__"),  # which safetensors keeps for itself
    st.tuples(st.lists(st.integers(0, 3), max_size=3), st.sampled_from(DTYPES)).map(
        lambda drawn: torch.arange(np.prod(drawn[0], dtype=int)).view(drawn[0]).to(drawn[1])
    ),
    max_size=3,
)


def alike(first: tuple[dict[str, torch.Tensor], Any], second: tuple[dict[str, torch.Tensor], Any]) -> bool:
    """Whether tensors and notes are the same, types and shapes included."""
    tensors, others = first[0], second[0]
    return (
        repr(first[1]) == repr(second[1])
        and tensors.keys() == others.keys()
        and all(tensor.dtype == others[name].dtype for name, tensor in tensors.items())
        and all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())
    )


@ANY
@given(tensors=TENSORS, notes=st.dictionaries(TEXT, JSON, max_size=3), data=st.data())
def test_checkpoints_are_what_was_written_or_refused(
    folder: Path, tensors: dict[str, torch.Tensor], notes: dict[str, Any], data: st.DataObject
) -> None:
    path = folder / "any.safetensors"
    save_tensors(path, tensors, notes)
    written = tensors, notes
    assert alike(load_tensors(path), written) and repr(load_notes(path)) == repr(notes)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1), label="place")
    byte = data.draw(st.binary(min_size=1, max_size=1), label="byte")
    for content in (whole[:place], whole[:place] + byte + whole[place + 1 :]):
        path.write_bytes(content)
        found: list[tuple[dict[str, torch.Tensor], Any]] = []
        kept: list[Any] = []
        for error in (
            told(partial(lambda found: found.append(load_tensors(path)), found)),
            told(partial(lambda kept: kept.append(load_notes(path)), kept)),
        ):
            assert error is None or error.startswith(f"{path}: ")
        assert all(alike(own, written) for own in found) and all(repr(own) == repr(notes) for own in kept)


# ---- what a run keeps


def created(folder: Path, pairs: TextPairs, counts: dict[str, int], config: Config, facts: Facts) -> Run:
    """A new run whose test sets are all these pairs."""
    run = Run(folder / "run")
    run.remove()
    subwords = Subwords(vocabulary_of("unigram"), vocabulary_of("bpe"))
    run.create(config, subwords, dict.fromkeys(config.data.test, pairs), facts, counts)
    return run


WORDS = texts().map(lambda text: "".join(text.split())).filter(bool)
# As they come of files: a mark at the start has a test of its own.
KEPT_LINES = st.lists(LINE.map(lambda line: line.lstrip("\ufeff").rstrip("\r")), max_size=4)


@FEW
@given(
    sources=KEPT_LINES,
    counts=st.dictionaries(WORDS.filter(lambda word: word[0] != "\ufeff"), COUNTS, max_size=4),
    config=configs(),
    facts=FACTS,
)
def test_a_run_keeps_what_it_is_given(
    folder: Path, sources: list[str], counts: dict[str, int], config: Config, facts: Facts
) -> None:
    pairs = TextPairs(sources, sources[::-1])
    run = created(folder, pairs, counts, config, facts)
    assert run.config() == config and run.tests() == dict.fromkeys(config.data.test, pairs)
    assert list(run.word_counts().items()) == list(counts.items())
    assert run.facts().model_copy(update={"sums": facts.sums}) == facts


@settings(FEW, max_examples=5)
@given(line=st.sampled_from(["", "a", " b", "\ufeff"]))
def test_a_run_keeps_text_that_begins_with_a_mark(folder: Path, line: str) -> None:
    path = folder / "twice"
    path.write_bytes(f"\ufeff\ufeff{line}\n".encode())  # of two marks, the second is a part of the first line
    pairs = TextPairs(read_lines(path), read_lines(path))
    assert pairs.sources == ["\ufeff" + line]
    config, counts = parse_config(tomllib.loads(SMALLEST), "smallest"), {"\ufeffa": 1}
    run = created(folder, pairs, counts, config, facts_of([], {}))
    assert run.tests() == {"news": pairs} and run.word_counts() == counts
