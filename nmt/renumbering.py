"""A SentencePiece model whose special pieces have nmt's ids, whatever ids they had.

A model is a protocol buffer (sentencepiece_model.proto); a few of its fields are read and written here, as a library
for them would weigh more than SentencePiece itself.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass

from nmt.config import SPECIAL

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # SentencePiece.Type
_PIECES, _TRAINER = 1, 2  # fields of ModelProto
_PIECE, _TYPE = 1, 3  # of SentencePiece
_MODEL_TYPE = 3  # of TrainerSpec, and, for <pad>, <s>, </s> and <unk>, the fields of their ids and of their names:
_IDS, _NAMES = (43, 41, 42, 40), (48, 46, 47, 45)
KINDS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}  # TrainerSpec.ModelType


@dataclass(frozen=True)
class Piece:
    """A piece of a model."""

    text: str
    type: int


def pieces_of(model: bytes) -> list[Piece]:
    """The pieces of a model, in the order of their ids."""
    return [_piece(value) for field, value, _ in _fields(model) if field == _PIECES and isinstance(value, bytes)]


def kind_of(model: bytes) -> str:
    """How a model's pieces were learned, as KINDS has it."""
    kind: bytes | int = 1  # the format's default
    for field, value, _ in _fields(model):
        if field == _TRAINER and isinstance(value, bytes):
            kind = next((own for number, own, _ in _fields(value) if number == _MODEL_TYPE), kind)
    return KINDS.get(int(kind), "unknown")


def renumbered(model: bytes, special: Set[int]) -> bytes:
    """The same model with SPECIAL first, then its other pieces in their order; the same bytes where it is so already.

    special: the ids that its own <pad>, <s>, </s> and <unk> have. Raises ValueError for bytes that are no model, and,
    with the piece's text, where a piece that stands for text is called as a special one.
    """
    taken = [(name, UNKNOWN if name == "<unk>" else CONTROL) for name in SPECIAL]
    if [(piece.text, piece.type) for piece in pieces_of(model)[: len(SPECIAL)]] == taken and special == {0, 1, 2, 3}:
        return model
    kept: list[bytes] = []
    others: list[bytes] = []
    for field, value, raw in _fields(model):
        if field != _PIECES:
            others.append(raw)
            continue
        number, piece = len(kept), _piece(value if isinstance(value, bytes) else b"")
        named = piece.text in SPECIAL
        if named and number not in special and piece.type != CONTROL:
            raise ValueError(piece.text)
        kept.append(b"" if named or number in special else raw)
    first = [_field(_PIECES, _field(_PIECE, name.encode()) + _field(_TYPE, kind)) for name, kind in taken]
    # A message given again adds to what was there, and a field given again replaces it.
    ids = b"".join(_field(field, SPECIAL.index(name)) for field, name in zip(_IDS, SPECIAL, strict=False))
    names = b"".join(_field(field, name.encode()) for field, name in zip(_NAMES, SPECIAL, strict=False))
    return b"".join([*first, *kept, *others, _field(_TRAINER, ids + names)])


def _piece(message: bytes) -> Piece:
    text, kind = "", NORMAL
    for field, value, _ in _fields(message):
        if field == _PIECE and isinstance(value, bytes):
            text = value.decode()
        elif field == _TYPE:
            kind = int(value)
    return Piece(text, kind)


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int, bytes]]:
    """Each field of a message: its number, its value (of other types than these, its bytes), and all of its bytes."""
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        value: bytes | int
        match key & 7:  # the wire type
            case 0:
                value, at = _varint(message, at)
            case 2:
                size, at = _varint(message, at)
                value, at = message[at : at + size], at + size
            case 1:
                value, at = message[at : at + 8], at + 8
            case 5:
                value, at = message[at : at + 4], at + 4
            case other:
                raise ValueError(f"a field of wire type {other}")
        if at > len(message):
            raise ValueError("a field that is cut short")
        yield key >> 3, value, message[start:at]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while at < len(message) and shift < 70:
        value |= (message[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 128:
            return value, at
    raise ValueError("a number that does not end")


def _field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return _number(number << 3) + _number(value)
    return _number(number << 3 | 2) + _number(len(value)) + value


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
