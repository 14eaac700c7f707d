"""Configs: what is wrong is told, all at once and by key; what is right comes through unchanged."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nmt.config import (
    InputError,
    TransformerConfig,
    describe_keys,
    differences,
    dump_config,
    keys,
    load_config,
    parse_config,
)
from tests.place import DATA

CONFIGS = Path(__file__).parent.parent / "configs"

SMALLEST = f'{DATA}[model]\nkind = "transformer"\n'


@pytest.fixture
def smallest(tmp_path: Path) -> Path:
    path = tmp_path / "smallest.toml"
    path.write_text(SMALLEST, encoding="utf-8")
    return path


def mistakes(path: Path, *overrides: str) -> list[str]:
    """The lines of what is wrong with a config, each without the file it begins with."""
    with pytest.raises(InputError) as caught:
        load_config(path, overrides)
    lines = str(caught.value).split("\n")
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_every_config_of_the_repository_loads_and_says_how_to_run_it(path: Path) -> None:
    config = load_config(path)
    assert parse_config(tomllib.loads(dump_config(config)), "dump") == config
    assert f"python train.py configs/{path.name}" in path.read_text(encoding="utf-8").partition("[data]")[0]


def test_a_minimal_config_has_the_defaults(smallest: Path) -> None:
    config = load_config(smallest)
    assert isinstance(config.model, TransformerConfig)
    defaults = {name: field.default for name, field in keys() if not field.is_required()}
    assert config.training.updates == defaults["training.updates"]
    assert config.data.test == {}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        # an unknown key names the nearest known one, wherever that stands
        ("training.updats=5", ["training.updats: unknown key", "did you mean training.updates?"]),
        ("trainning.updates=5", ["trainning: unknown key", "did you mean training?"]),
        ("updates=5", ["updates: unknown key", "did you mean training.updates?"]),
        ("data.beam_size=5", ["data.beam_size: unknown key", "did you mean search.beam_size?"]),
        ("training.max_length=5", ["unknown key", "data.max_length", "search.max_length"]),
        ("data.valid.src='a'", ["data.valid.src: unknown key", "source"]),
        ("training.qqqqq=1", ["training.qqqqq: unknown key", "known here", "learning_rate", "precision"]),
        ("model.attention='none'", ["model.attention", "not a key of this kind of model", "heads"]),
        # wrong types
        ("training.updates='5'", ["training.updates", '"5"', "integer"]),
        ("training.updates=5.0", ["training.updates", "5.0", "integer"]),
        ("training.updates=true", ["training.updates", "true", "integer"]),
        ("subwords.joint=1", ["subwords.joint", "1", "boolean"]),
        ("data.source_language=5", ["data.source_language", "5", "string"]),
        ("data.train='train.de'", ["data.train", '"train.de"', "a table of source, target"]),
        ("data.test.source='test.de'", ["data.test.source", "a table of source, target"]),
        ("data.test='test.de'", ["data.test", "[data.test.NAME]"]),
        ("training=5", ["training", "5", "a table of", "learning_rate"]),
        ("model='transformer'", ["model", '"transformer"', "a table of kind"]),
        ("training.betas=0.9", ["training.betas", "0.9", "array"]),
        # out of bounds
        ("training.updates=0", ["training.updates", "0", "greater than or equal to 1"]),
        ("model.dropout=1", ["model.dropout", "1", "less than 1"]),
        ("training.betas=[0.9, 1.0]", ["training.betas.1", "1.0", "less than 1"]),
        ("training.learning_rate=inf", ["training.learning_rate", "finite"]),
        ("training.learning_rate=nan", ["training.learning_rate", "finite"]),
        ("training.optimiser='Adam'", ["training.optimiser", '"Adam"', "'adam' or 'adamw'"]),
        ("model.kind='lstm'", ["model.kind", '"lstm"', '"rnn" or "transformer"']),
        ("data.test={'a/b'={source='a', target='b'}}", ["data.test.a/b", '"/"']),
        # contradictions
        ("model.heads=3", ["model.size = 256", "multiple", "model.heads = 3"]),
        ("model={kind='transformer', size=15, heads=3}", ["model.size = 15", "odd"]),
        ("model.max_positions=50", ["model.max_positions = 50", 'model.positions = "learned"']),
        (
            "model={kind='transformer', positions='learned', max_positions=2009}",
            ["model.max_positions = 2009", "search.max_length = 1000", "2010 positions", "search.max_length_ratio"],
        ),
        ("model={kind='rnn', activation='gelu'}", ["model.activation", "not a key of this kind of model"]),
        ("subwords={kind='bpe', sampling=8}", ["subwords.sampling = 8", "unigram"]),
        ("subwords={model='a', kind='bpe'}", ['subwords.kind = "bpe"', "subwords.model"]),
        ("subwords={model='a', user_symbols=['<x>']}", ['subwords.user_symbols = ["<x>"]', "subwords.model"]),
        ("subwords.model={source='a', target=''}", ["subwords.model.target: missing"]),
        ("subwords.model=5", ["subwords.model", "5", "a table of source, target"]),
        ("subwords.user_symbols=['<s>']", ['"<s>"', "of nmt's own"]),
        ("subwords.user_symbols=['a', 'a']", ['"a"', "twice"]),
        ("subwords.user_symbols=['a b']", ["subwords.user_symbols.0", '"a b"', "no space"]),
        ("subwords.user_symbols=['']", ["subwords.user_symbols.0"]),
        ("subwords.user_symbols='a'", ["subwords.user_symbols", '"a"']),
        ("training.plateau_patience=2", ["training.plateau_patience = 2", "training.schedule", '"plateau"']),
        ("training.plateau_patience=1" + 400 * "0", ["training.plateau_patience = 1", '"plateau"']),
        ("model={kind='rnn', attention='none', attention_dropout=0.1}", ["attention_dropout = 0.1", '"none"']),
        ("training.weight_decay=0.1", ["training.weight_decay = 0.1", "training.optimiser", '"adamw"']),
        ("data.max_length=4096", ["training.max_tokens = 4096", "data.max_length = 4096"]),
        ("training.max_tokens=100", ["training.max_tokens = 100", "data.max_length = 100"]),
    ],
)
def test_one_mistake_is_one_line_that_names_the_key(smallest: Path, override: str, said: list[str]) -> None:
    lines = mistakes(smallest, override)
    assert len(lines) == 1
    for words in said:
        assert words in lines[0]


def test_a_pair_that_just_fits_an_update_is_allowed(smallest: Path) -> None:
    load_config(smallest, ["training.max_tokens=101", "data.max_length=100"])


def test_positions_that_just_suffice_are_allowed(smallest: Path) -> None:
    learned = "model={kind='transformer', positions='learned', size=15, heads=3, max_positions=101}"
    search = ["search.max_length=45", "search.max_length_ratio=2.03"]  # int(91.35) + 10
    load_config(smallest, [learned, *search])
    assert "data.max_length = 101" in mistakes(smallest, learned, *search, "data.max_length=101")[0]
    assert "search.max_length = 46" in mistakes(smallest, learned, *search, "search.max_length=46")[0]
    assert "search.max_length = 1" in mistakes(smallest, learned, f"search.max_length={10**400}")[0]
    assert "search.max_length = 101" in mistakes(smallest, learned, "search={max_length=101, max_length_ratio=0}")[0]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(
        SMALLEST.replace('source_language = "de"\n', "")
        + "size = 10\nheads = 4\nembedding_size = 3\n"
        + "[training]\nupdats = 3\nseed = -1\nweight_decay = 0.5\nmax_tokens = 50\n"
        + "[search]\nbeam_size = '5'\n[serach]\nbeam_size = 5\n",
        encoding="utf-8",
    )
    lines = mistakes(path)
    expected = [
        "data.source_language: missing",
        "model.size",
        "model.embedding_size",
        "training.updats",
        "training.seed",
        "training.weight_decay",
        "training.max_tokens",
        "search.beam_size",
        "serach",
    ]
    assert len(lines) == len(expected)
    for start in expected:
        assert any(line.startswith(start) for line in lines), start


def test_a_key_that_is_wrong_by_itself_contradicts_nothing(smallest: Path) -> None:
    assert len(mistakes(smallest, "model.size='10'", "model.heads=3")) == 1
    assert len(mistakes(smallest, "model.heads=0")) == 1
    assert len(mistakes(smallest, "model.kind='lstm'", "model.size='10'")) == 1
    assert len(mistakes(smallest, "training.max_tokens={}")) == 1


def test_what_is_missing_is_described(tmp_path: Path) -> None:
    path = tmp_path / "empty.toml"
    path.write_text("", encoding="utf-8")
    assert mistakes(path) == ["data: missing", "model: missing"]
    path.write_text(SMALLEST.replace('kind = "transformer"', "size = 4"), encoding="utf-8")
    (line,) = mistakes(path)
    assert line.startswith("model.kind: missing") and '"rnn" or "transformer"' in line
    path.write_text(SMALLEST.replace(', target = "valid.en"', ""), encoding="utf-8")
    (line,) = mistakes(path)
    assert line.startswith("data.valid.target: missing (")


@pytest.mark.parametrize("content", [b"[data\n", b"a = \n", b"a = 1\na = 2\n", b"# sch\xf6n\n"])
def test_what_is_no_toml_is_told_with_its_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: [^\n]+$"):
        load_config(path)


def test_a_path_that_is_no_file_is_told_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    for name in ("missing.toml", "missing/x.toml", ".", "file/x.toml"):
        with pytest.raises(InputError, match=f"^{re.escape(str(Path(name).absolute()))}: [^\n]+$"):
            load_config(Path(name))


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path, smallest: Path) -> None:
    path = tmp_path / "marked.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode())
    assert load_config(path) == load_config(smallest)


def test_overrides_are_toml_and_the_last_one_wins(smallest: Path) -> None:
    config = load_config(
        smallest,
        [
            "training.updates=1",
            "training.updates = 1_000",
            'data.target_language="fr"',
            "training.betas=[0.8, 0.9]",
            "training.learning_rate=1",
            "data.test.news.source='a=b'",
            "data.test.news.target='ä'",
            "model={kind='rnn', attention='none'}",
        ],
    )
    assert config.training.updates == 1000 and config.training.betas == (0.8, 0.9)
    assert config.training.learning_rate == 1.0 and config.data.target_language == "fr"
    assert config.data.test["news"].source == "a=b" and config.data.test["news"].target == "ä"
    assert config.model.kind == "rnn" and config.model.attention == "none"
    assert config.data.source_language == "de"


@pytest.mark.parametrize("value", ["fr", "some/path", "True", "", "1.2.3", "'half"])
def test_an_override_that_is_no_toml_explains_the_quotes(smallest: Path, value: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config(smallest, [f"data.target_language={value}"])
    assert f"""'data.target_language="{value}"'""" in str(caught.value)
    assert str(caught.value).startswith(f"data.target_language={value}: ")


def test_an_override_below_a_value_is_refused(smallest: Path) -> None:
    with pytest.raises(InputError, match=r"data\.source_language is not a section"):
        load_config(smallest, ["data.source_language.x=1"])


STRANGE = [
    "news 2014",
    "a.b",
    "ü",
    "😀",
    'quote"d',
    "it's",
    "back\\slash",
    "\u2028",
    "\x85",
    "\x7f\x01\t",
    "_",
    "-",
    "#",
]


def test_what_is_dumped_parses_to_the_same(smallest: Path) -> None:
    tree = tomllib.loads(SMALLEST)
    tree["data"]["test"] = {name: {"source": f"dir/{name}", "target": name * 2} for name in STRANGE}
    tree["data"]["train"] = {"source": "".join(STRANGE), "target": "line\nbreak\r"}
    tree["training"] = {"learning_rate": 1e-9, "clip_norm": 1e22, "betas": [0.0, 0.1 + 0.2]}
    config = parse_config(tree, "tree")
    assert config.data.test["\u2028"].target == "\u2028\u2028"
    again = parse_config(tomllib.loads(dump_config(config)), "dump")
    assert again == config and differences(config, again) == {}
    assert list(again.data.test) == STRANGE
    for other in ({"kind": "rnn", "attention": "none"}, {"kind": "transformer", "norm": "post"}):
        config = parse_config({**tree, "model": other}, "tree")
        assert parse_config(tomllib.loads(dump_config(config)), "dump") == config


def test_one_file_of_subwords_is_short_for_both_sides(smallest: Path) -> None:
    config = load_config(smallest, ["subwords.model='ü b.model'", "subwords.sampling=4"])
    assert config.subwords.model.source == config.subwords.model.target == "ü b.model"
    assert parse_config(tomllib.loads(dump_config(config)), "dump") == config


def leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def test_a_dump_writes_every_key_out(smallest: Path) -> None:
    dumped: set[str] = set()
    for kind in ("rnn", "transformer"):
        config = load_config(smallest, [f"model={{kind='{kind}'}}", "data.test.NAME={source='a', target='b'}"])
        dumped |= leaves(tomllib.loads(dump_config(config))).keys()
    assert dumped == {name for name, _ in keys()}


def test_differences_name_the_keys(smallest: Path) -> None:
    old = load_config(smallest)
    assert differences(old, old) == {}
    new = load_config(
        smallest, ["training.seed=7", "data.valid.source='ü'", "data.test.x={source='a', target='b'}", "model.heads=8"]
    )
    found = differences(old, new)
    assert list(found) == [
        "data.test.x.source",
        "data.test.x.target",
        "data.valid.source",
        "model.heads",
        "training.seed",
    ]
    assert found["training.seed"] == "training.seed: 1 → 7" and found["model.heads"] == "model.heads: 4 → 8"
    other = load_config(smallest, ["model={kind='rnn'}"])
    assert "model.kind" in differences(old, other)


def test_a_config_cannot_be_changed(smallest: Path) -> None:
    config = load_config(smallest)
    for section in (config, config.data, config.subwords, config.model, config.training, config.search):
        for key, value in dict(section).items():
            with pytest.raises(ValueError, match="frozen"):
                setattr(section, key, value)


def test_every_key_is_described_with_meaning_type_unit_default_and_bounds() -> None:
    text = describe_keys()
    entries = re.findall(r"^  (\S+) = (.+)\n      (.+)\n      (.+)$", text, re.MULTILINE)
    declared = list(keys())
    assert [entry[0] for entry in entries] == [name for name, _ in declared]
    for (_, _, meaning, _), (_, field) in zip(entries, declared, strict=True):
        assert meaning == field.description
    described = {name: (default, bounds) for name, default, _, bounds in entries}
    assert described["training.updates"] == ("10000", "integer, in updates, ≥ 1, ≤ 1000000000")
    assert described["training.label_smoothing"] == ("0.1", "number, in probability, ≥ 0, < 1")
    assert described["training.optimiser"] == ('"adam"', '"adam" or "adamw"')
    assert described["subwords.joint"] == ("true", "true or false")
    assert described["data.source_language"][0] == "(required)"
    for kind in ("rnn", "transformer"):
        assert f'[model] kind = "{kind}"' in text


@pytest.mark.parametrize("argument", ["keys", "--help"])
def test_help_and_keys_need_no_torch(argument: str) -> None:
    program = (
        "import sys\nfrom nmt.cli import main\n"
        f"try:\n    code = main([{argument!r}])\nexcept SystemExit as stop:\n    code = stop.code\n"
        "heavy = {'torch', 'numpy', 'datasets', 'sentencepiece', 'matplotlib', 'sacrebleu'} & set(sys.modules)\n"
        "assert code == 0 and not heavy, (code, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0 and done.stderr == ""
    assert ("training.learning_rate" if argument == "keys" else "usage: nmt") in done.stdout
