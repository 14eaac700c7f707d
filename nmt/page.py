"""A page that is one HTML file: it loads nothing, and is read from a disk or an e-mail."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from string import Template
from typing import Any

# JSON within <script>: "<" could close the element or open a comment; the other two end a line in old JavaScript.
ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<\u2028\u2029"})


def page_text(template: str, styles: Sequence[str], scripts: Sequence[str], data: dict[str, Any]) -> str:
    """The text of a page: its template with styles, scripts, data and what pages share in it; named within nmt/pages.

    data: ready for JSON, all figures finite. The page lets nothing run but these scripts, which read it as text.
    """
    style, script = "\n".join(map(_read, styles)), "\n".join(map(_read, scripts))
    return Template(_read(template)).substitute(
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        readings=_read("shared/readings.html"),
        terms=_read("shared/terms.html"),
        scale=_read("shared/scale.html"),
        data=json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(ESCAPES),
    )


def _read(name: str) -> str:
    return (files("nmt") / "pages" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a content security policy calls a text that may run: nothing else on the page does."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
