"""JSON read as a declared type, so that what is broken is found where it is read."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from nmt.config import InputError

Kind = TypeVar("Kind")


def parse_json(kind: type[Kind], text: str | bytes, name: str) -> Kind:
    """What JSON holds, as a declared type. Raises InputError that names where it came from and what is not so."""
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{name}: broken: {f'{where}: ' if where else ''}{first['msg']}") from None


def read_json(kind: type[Kind], path: Path) -> Kind:
    """What a JSON file holds, as a declared type."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.absolute()} cannot be read: {error.strerror or error}.") from None
    return parse_json(kind, text, str(path.absolute()))
