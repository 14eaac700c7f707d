"""Lines of text: what goes in comes out, and as many."""

import gzip
import os
import random
from pathlib import Path

import pytest

from nmt import lines as lines_file
from nmt.config import InputError
from nmt.lines import (
    BYTE_ORDER_MARK,
    gather_lines,
    iterate_blocks,
    iterate_lines,
    read_lines,
    write_lines,
    written_aside,
)

NEVER_SPLIT = ["\x0b", "\x0c", "\r", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
NASTY = [*NEVER_SPLIT, "", " ", "\t", "\0", "a", "é", "e\u0301", "日本", "😀", "\ufeff", "</s>", "$", "\\n"]


def nasty_lines(seed: int, count: int) -> list[str]:
    """Lines that any reader but ours would split, strip or merge."""
    draw = random.Random(seed)
    lines = ["".join(draw.choices(NASTY, k=draw.randrange(8))) for _ in range(count)]
    # The two things a file cannot say: "\r" before the line's end, and a mark at the start of the text.
    return ["first", *(line.rstrip("\r") for line in lines)]


def piped(content: bytes, most: int = 1000, pause: float = 60.0) -> list[list[str]]:
    """The groups of what a pipe holds when its writer has gone: no group ends by a pause."""
    reader, writer = os.pipe()
    try:
        os.write(writer, content)
        os.close(writer)
        return list(gather_lines(reader, "the pipe", most, pause))
    finally:
        os.close(reader)


@pytest.mark.parametrize("name", ["text", "text.gz"])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_written_is_read(tmp_path: Path, name: str, seed: int) -> None:
    lines = nasty_lines(seed, 200)
    write_lines(tmp_path / name, lines)
    assert read_lines(tmp_path / name) == list(iterate_lines(tmp_path / name)) == lines
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("seed", range(5))
def test_a_pipe_gives_the_lines_of_a_file(seed: int) -> None:
    lines = nasty_lines(seed, 200)
    groups = piped("".join(f"{line}\n" for line in lines).encode(), most=7)
    assert [line for group in groups for line in group] == lines
    assert [len(group) for group in groups] == [7] * 28 + [5]


def naive_lines(content: bytes) -> list[str]:
    """The lines of some bytes, decoded one by one."""
    *ended, last = content.removeprefix(BYTE_ORDER_MARK).split(b"\n")
    lines = [raw.removesuffix(b"\r").decode() for raw in ended]
    return [*lines, last.decode()] if last else lines


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("start", [b"", BYTE_ORDER_MARK])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r", b"last"])
def test_blocks_hold_the_lines_that_are_decoded_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, start: bytes, end: bytes
) -> None:
    for name in ("BLOCK", "PIPE"):
        monkeypatch.setattr(lines_file, name, size)
    draw = random.Random(size)
    content = start + "".join(line + draw.choice(["\n", "\r\n"]) for line in nasty_lines(size, 100)).encode() + end
    path = tmp_path / "text"
    path.write_bytes(content)
    lines = naive_lines(content)
    assert list(iterate_lines(path)) == [line for block in iterate_blocks(path) for line in block] == lines
    assert [line for group in piped(content) for line in group] == lines


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
@pytest.mark.parametrize("bad", [1, 2, 50, 101])
def test_lines_before_a_bad_byte_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, bad: int
) -> None:
    monkeypatch.setattr(lines_file, "BLOCK", size)
    lines = nasty_lines(1, 100)
    raw = [line.encode() for line in lines]
    raw.insert(bad - 1, b"ab\xffc")
    path = tmp_path / "text"
    path.write_bytes(b"\n".join(raw))
    with pytest.raises(InputError, match=f"text, line {bad}, byte 3: not UTF-8"):
        list(iterate_lines(path))
    reader = iterate_lines(path)
    assert [next(reader) for _ in range(bad - 1)] == lines[: bad - 1]


@pytest.mark.parametrize("character", NEVER_SPLIT)
def test_only_a_line_feed_ends_a_line(tmp_path: Path, character: str) -> None:
    content = f"one{character}line\nanother{character} \n".encode()
    (tmp_path / "text").write_bytes(content)
    expected = [f"one{character}line", f"another{character} "]
    assert read_lines(tmp_path / "text") == expected
    assert piped(content) == [expected]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"\n\n", ["", ""]),
        (b"a\nb", ["a", "b"]),
        (b"a\nb\n", ["a", "b"]),
        (b"a\r\n\r\nb\r\r\n", ["a", "", "b\r"]),
        (b"a\r", ["a\r"]),
        (b"\xef\xbb\xbf", []),
        (b"\xef\xbb\xbf\n", [""]),
        (b"\xef\xbb\xbfa\r\n\xef\xbb\xbfb", ["a", "\ufeffb"]),
    ],
)
def test_line_ends_and_byte_order_mark(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    (tmp_path / "text").write_bytes(content)
    (tmp_path / "text.gz").write_bytes(gzip.compress(content))
    assert read_lines(tmp_path / "text") == read_lines(tmp_path / "text.gz") == lines
    assert piped(content) == ([lines] if lines else [])


@pytest.mark.parametrize(
    ("content", "line", "byte"),
    [
        (b"good\nsch\xf6n\n", 2, 4),
        (b"\xc3\xa9\xff", 1, 3),  # bytes are counted, not characters
        (b"\xef\xbb\xbf\xff", 1, 4),  # and those of the byte-order mark are bytes of the line
        (b"a\r\n\nb\xe2\x82", 3, 2),  # a character cut short
        (b"\xed\xa0\x80\n", 1, 1),  # half a surrogate pair
    ],
)
def test_bad_bytes_are_named(tmp_path: Path, content: bytes, line: int, byte: int) -> None:
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_lines(path)
    assert str(caught.value).startswith(f"{path}, line {line}, byte {byte}: not UTF-8")
    with pytest.raises(InputError) as caught:
        piped(content)
    assert str(caught.value).startswith(f"the pipe, line {line}, byte {byte}: not UTF-8")


def test_good_lines_come_before_the_error() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"a\nb\nc\n\xff\nd\n")
    os.close(writer)
    groups = gather_lines(reader, "the pipe", most=2, pause=60.0)
    assert [next(groups), next(groups)] == [["a", "b"], ["c"]]
    with pytest.raises(InputError, match="the pipe, line 4, byte 1"):
        next(groups)
    os.close(reader)


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a relative path is told as an absolute one
    (tmp_path / "secret").write_text("a\n")
    (tmp_path / "secret").chmod(0)
    names = ["missing", "missing.gz", "."]
    if not os.access("secret", os.R_OK):  # which the superuser always may
        names.append("secret")
    for name in names:
        with pytest.raises(InputError, match=f"^{Path(name).absolute()} cannot be read: ."):
            read_lines(Path(name))


def test_a_descriptor_that_cannot_be_read(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(InputError, match=r"^standard input cannot be read: ."):
        next(gather_lines(folder, "standard input", most=1))
    os.close(folder)


def test_a_damaged_gzip_file(tmp_path: Path) -> None:
    path = tmp_path / "text.gz"
    write_lines(path, nasty_lines(0, 1000))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-8] ^= 255  # the first byte of the checksum
    for content in [whole[:-1], whole[: len(whole) // 2], b"", b"plain text\n", bytes(flipped)]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"^{path} is damaged or not gzip"):
            read_lines(path)


def test_lines_are_read_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"good\n\xff\n")
    lines = iterate_lines(tmp_path / "text")
    assert next(lines) == "good"
    with pytest.raises(InputError):
        next(lines)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "text"
    write_lines(path, ["old"])
    with pytest.raises(ValueError, match="line break"):
        write_lines(path, ["new", "two\nlines"])
    assert read_lines(path) == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    for path in [tmp_path, tmp_path / "missing" / "text", Path(os.devnull)]:
        with pytest.raises(InputError, match=f"^{path} cannot be written: ."):
            write_lines(path, ["a"])


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("text")
    with written_aside(tmp_path / "link") as file:
        file.write(b"a\n")
    assert (tmp_path / "link").is_symlink()
    assert read_lines(tmp_path / "text") == ["a"]


def test_an_answer_comes_while_the_pipe_is_open() -> None:
    reader, writer = os.pipe()
    groups = gather_lines(reader, "the pipe", most=100, pause=0.01)
    os.write(writer, b"a\nb")
    assert next(groups) == ["a"]  # half a line waits
    os.write(writer, b"c\r")
    os.write(writer, b"\n\xc3")  # neither a line's end nor a character need come in one piece
    assert next(groups) == ["bc"]
    os.write(writer, b"\xa9")
    os.close(writer)
    assert list(groups) == [["é"]]  # at the end of the input it is a line
    os.close(reader)


def test_a_line_longer_than_a_pipe_holds(tmp_path: Path) -> None:
    line = "é" * 200_001
    write_lines(tmp_path / "text", ["a", line, "b"])
    descriptor = os.open(tmp_path / "text", os.O_RDONLY)
    assert list(gather_lines(descriptor, "the file", most=3, pause=60.0)) == [["a", line, "b"]]
    os.close(descriptor)
