"""The page that compares systems: one HTML file that loads nothing, and is read from a disk or an e-mail."""

import base64
import hashlib
import json
from importlib.resources import files
from string import Template
from typing import Any

# JSON within <script>: "<" could close the element or open a comment; the other two end a line in old JavaScript.
ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<\u2028\u2029"})


def report_page(data: dict[str, Any]) -> str:
    """The text of report.html.

    data: ready for JSON, all figures finite.

    - title, made, machine: texts. verdict, notes: sentences, notes may be empty.
    - systems: name and description of each; all that says `systems` or `series` below keeps their order or names.
    - runs: a table of how they were trained. A table is {columns: [{title, help, number}], rows: [[text, …], …]}.
    - curves: {name, points: [{update, tokens, minutes, bleu, loss}, …]} of the systems that have one.
    - tests, a test set each:
        - name, sentences_count; scores: a table; signatures: of the scores; differences: a table, or None.
        - buckets: charts {title, help, labels, counts, count_unit, series: [{name, values}]}; a value is
          {value, low, high}, of which the interval may be missing, or None.
        - ngrams: [{title, table}, …].
        - sentences: {line, source, reference, words, systems: [{text, chrf, bleu, alignment}, …]}; words of the
          source; alignment: {source, target, links} or None. Its source and target are the texts cut into words
          and what stands between them, a link is index into source, index into target, weight in percent.
    """
    style, script = _read("page.css"), _read("page.js")
    return Template(_read("page.html")).substitute(
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(ESCAPES),
    )


def _read(name: str) -> str:
    return (files("nmt") / "report_page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a content security policy calls a text that may run: nothing else on the page does."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
