"""Every key of a config: its meaning, type, unit, default and bounds.

A config is a TOML file, read into the frozen models below. Unknown keys, wrong types, values out of bounds and
contradictions are reported all at once, each with its file and key.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


class InputError(ValueError):
    """A mistake in what the user gave, told in sentences: what, where, what was expected, what to do next."""


# Pieces of every subword model, by their ids.
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<sep>")


@dataclass(frozen=True)
class Unit:
    """What a number of a config counts."""

    name: str


class Section(BaseModel):
    """A table of a config."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FilePair(Section):
    """Two text files, line i of one being the translation of line i of the other."""

    source: str = Field(description="file of source lines, UTF-8, also .gz; relative to the working directory")
    target: str = Field(description="file of target lines, as many as source lines")


TestName = Annotated[str, Field(pattern=r"^[^/\x00]+$")]  # a part of the names of files that evaluate writes


class DataConfig(Section):
    """The parallel text."""

    source_language: str = Field(min_length=2, description="language code of the source, such as 'de' (ISO 639)")
    target_language: str = Field(min_length=2, description="language code of the target; chooses sacreBLEU's tokeniser")
    train: FilePair = Field(description="pairs to train on")
    valid: FilePair = Field(description="pairs that choose the best checkpoint; none is ever dropped")
    test: dict[TestName, FilePair] = Field(
        default_factory=dict, description="test sets by name; none of their pairs is ever dropped"
    )
    max_length: Annotated[int, Unit("pieces a side, </s> not counted")] = Field(
        100, ge=1, description="longer training pairs are dropped"
    )
    max_length_ratio: Annotated[float, Unit("pieces of the longer side over those of the shorter")] = Field(
        9.0, ge=1, description="training pairs of a larger ratio are dropped"
    )


class SubwordFiles(Section):
    """SentencePiece models that are there already."""

    source: str = Field("", description="file of a SentencePiece model for the source instead of learning one")
    target: str = Field("", description="for the target; the same file: joint. subwords.model = FILE is short for both")


# A part of a text that is always one piece.
Symbol = Annotated[str, Field(pattern=r"^[^\s▁]+$")]


class SubwordConfig(Section):
    """The SentencePiece models, learned on the training text or given."""

    model: SubwordFiles = SubwordFiles()
    kind: Literal["unigram", "bpe"] = Field("unigram", description="how pieces are learned")
    vocabulary_size: Annotated[int, Unit("pieces a model")] = Field(
        8000, ge=16, le=10_000_000, description="shrinks, with a message, where the text is too small for it"
    )
    joint: bool = Field(True, description="one model for both languages (true) or one a side (false)")
    character_coverage: Annotated[float, Unit("share of the text's characters")] = Field(
        1.0, ge=0.98, le=1, description="characters beyond it become unknown pieces"
    )
    byte_fallback: bool = Field(
        False,
        description="characters without a piece become their UTF-8 bytes, 256 pieces more, and not unknown pieces; "
        "trained on what character_coverage leaves out",
    )
    user_symbols: tuple[Symbol, ...] = Field(
        (), description="texts without spaces that are always one piece, wherever they stand, such as tags"
    )
    sampling: Annotated[int, Unit("segmentations")] = Field(
        1, ge=1, le=64, description="training draws a sentence's pieces anew each epoch, among its so many best"
    )
    sampling_alpha: float = Field(
        0.2, ge=0, description="the draw's probabilities are the unigram model's to this power; 0: all alike"
    )


class ModelSection(Section):
    """What both models have."""

    dropout: Annotated[float, Unit("probability")] = Field(
        0.3, ge=0, lt=1, description="dropout of embeddings and between layers while training"
    )
    attention_dropout: Annotated[float, Unit("probability")] = Field(
        0.0,
        ge=0,
        lt=1,
        description="dropout of attention weights while training; on a CPU a Transformer leaves the fused kernel for a "
        "slower way: updates over 12 to 75 pieces took up to 5 % longer",
    )
    word_dropout: Annotated[float, Unit("probability")] = Field(
        0.0,
        ge=0,
        lt=1,
        description="while training a piece's whole embedding becomes 0, on either side (Gal & Ghahramani 2016; "
        "Sennrich et al. 2016)",
    )
    tied_embeddings: bool = Field(
        True, description="output weights are the target embedding and, with joint subwords, the source's too"
    )


class RNNConfig(ModelSection):
    """Bahdanau's encoder-decoder (Bahdanau et al. 2015)."""

    kind: Literal["rnn"] = Field(description="the architecture")
    embedding_size: Annotated[int, Unit("features")] = Field(256, ge=1, description="width of a word's embedding")
    encoder_size: Annotated[int, Unit("features a direction")] = Field(
        256, ge=1, description="width of the encoder's GRU in each direction"
    )
    encoder_layers: Annotated[int, Unit("layers")] = Field(1, ge=1, description="depth of the encoder")
    decoder_size: Annotated[int, Unit("features")] = Field(512, ge=1, description="width of the decoder's GRU")
    decoder_layers: Annotated[int, Unit("layers")] = Field(1, ge=1, description="depth of the decoder")
    attention: Literal["additive", "none"] = Field(
        "additive", description="'none': the last encoder state is the only context, the paper's baseline"
    )
    attention_size: Annotated[int, Unit("features")] = Field(
        512, ge=1, description="width of the hidden layer that scores a source position"
    )


class TransformerConfig(ModelSection):
    """The encoder-decoder Transformer (Vaswani et al. 2017)."""

    kind: Literal["transformer"] = Field(description="the architecture")
    size: Annotated[int, Unit("features")] = Field(
        256, ge=2, description="width of embeddings and layers; even, a multiple of heads"
    )
    feed_forward_size: Annotated[int, Unit("features")] = Field(
        1024, ge=1, description="width inside the feed-forward layers"
    )
    heads: Annotated[int, Unit("heads")] = Field(4, ge=1, description="attention heads of each layer")
    encoder_layers: Annotated[int, Unit("layers")] = Field(4, ge=1, description="depth of the encoder")
    decoder_layers: Annotated[int, Unit("layers")] = Field(4, ge=1, description="depth of the decoder")
    norm: Literal["pre", "post"] = Field(
        "pre", description="layer norm before each sub-layer, or after its residual sum as in the paper"
    )
    activation: Literal["relu", "gelu"] = Field(
        "relu", description="within feed-forward layers; gelu: Hendrycks & Gimpel 2016"
    )
    positions: Literal["sinusoidal", "learned"] = Field(
        "sinusoidal",
        description="encodings of positions, or embeddings of their own on either side (Gehring et al. 2017), which "
        "stay as they were drawn beyond what the training text reaches",
    )
    max_positions: Annotated[int, Unit("positions a side, </s> counted")] = Field(
        2048,
        ge=2,
        le=1_000_000,
        description="learned positions; search.max_length and data.max_length stay within them",
    )


ModelConfig = Annotated[RNNConfig | TransformerConfig, Field(discriminator="kind")]

Beta = Annotated[float, Field(ge=0, lt=1)]


class TrainingConfig(Section):
    """How the model is trained."""

    seed: int = Field(1, ge=0, lt=2**31, description="first weights, order of pairs and dropout follow from it")
    updates: Annotated[int, Unit("updates")] = Field(10_000, ge=1, le=10**9, description="when the training ends")
    max_target_tokens: Annotated[int, Unit("target tokens, </s> counted and padding not")] = Field(
        0,
        ge=0,
        le=10**15,
        description="or after the update that reaches so many, whichever comes first; 0: no such end",
    )
    max_minutes: Annotated[float, Unit("minutes, validations and earlier sittings included")] = Field(
        0.0, ge=0, description="or after the update that reaches so many, whichever comes first; 0: no such end"
    )
    init_from: str = Field(
        "",
        description="another run of the same [model] and [subwords], whose best weights and subwords this one begins "
        "with (fine-tuning): RUN's directory; empty: weights are drawn",
    )
    max_tokens: Annotated[int, Unit("padded tokens, rows × the longer side, <s> and </s> counted")] = Field(
        4096, ge=8, description="size of a whole update"
    )
    accumulation: Annotated[int, Unit("parts")] = Field(
        1, ge=1, description="an update is computed in so many parts, to save memory; the update stays the same"
    )
    optimiser: Literal["adam", "adamw"] = Field("adam", description="Adam, or Adam with decoupled weight decay")
    learning_rate: float = Field(1e-3, gt=0, description="its peak, reached at the end of the warm-up")
    betas: tuple[Beta, Beta] = Field((0.9, 0.98), description="Adam's decay of both moments, each in [0, 1)")
    weight_decay: float = Field(0.0, ge=0, description="with adamw: share of a weight lost a learning rate")
    schedule: Literal["inverse_square_root", "cosine", "plateau", "constant"] = Field(
        "inverse_square_root",
        description="how the learning rate goes on after the warm-up; cosine: to 0 at the end (Loshchilov & Hutter "
        "2017); plateau: it falls when validations get no better",
    )
    plateau_factor: float = Field(
        0.5, gt=0, lt=1, description="with plateau: the learning rate falls to this share of what it was ..."
    )
    plateau_patience: Annotated[int, Unit("validations")] = Field(
        3, ge=1, description="... after so many without a new best since the last one or the last fall"
    )
    warmup_updates: Annotated[int, Unit("updates")] = Field(
        1000, ge=0, description="the learning rate rises linearly from 0 to its peak"
    )
    label_smoothing: Annotated[float, Unit("probability")] = Field(
        0.1, ge=0, lt=1, description="share of the target's probability spread over all pieces"
    )
    clip_norm: Annotated[float, Unit("norm of the gradient a token")] = Field(
        1.0, ge=0, description="longer gradients are scaled down to it; 0: never"
    )
    validation_interval: Annotated[int, Unit("updates")] = Field(
        500, ge=1, description="validation, and a checkpoint, every so many updates"
    )
    best_by: Literal["bleu", "loss"] = Field(
        "bleu", description="the validation's figure that chooses the best checkpoint and stops early"
    )
    patience: Annotated[int, Unit("validations")] = Field(
        0, ge=0, description="stop after so many without a new best; 0: never"
    )
    average_last: Annotated[int, Unit("checkpoints")] = Field(
        5, ge=1, description="the checkpoint 'average' is the mean of the last so many"
    )
    tracker: Literal["none", "tensorboard"] = Field(
        "none",
        description="beside metrics.jsonl, where curves, sample translations and heatmaps go; tensorboard: to RUN's "
        "tensorboard/ (pip install tensorboard)",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="bfloat16: matrix products under autocast, weights stay in float32; auto: so on a GPU that has it",
    )
    compile: bool = Field(
        False,
        description="torch.compile fuses operations: minutes and a C++ compiler first; an RNN compiles for each length",
    )


class SearchConfig(Section):
    """How translations are searched, in validation and afterwards."""

    beam_size: Annotated[int, Unit("hypotheses")] = Field(5, ge=1, le=10_000, description="1 is greedy search")
    length_penalty: float = Field(
        1.0, ge=0, description="a score is the log-probability over the length (with </s>) to this power"
    )
    max_length_ratio: Annotated[float, Unit("target pieces a source piece")] = Field(
        2.0, ge=0, le=100, description="a translation is at most this times the source's length ..."
    )
    max_length_offset: Annotated[int, Unit("pieces")] = Field(10, ge=1, le=10_000, description="... plus this")
    min_length: Annotated[int, Unit("pieces")] = Field(
        0, ge=0, le=10_000, description="a translation has at least so many, as far as its greatest length allows"
    )
    no_repeat_ngram_size: Annotated[int, Unit("pieces")] = Field(
        0, ge=0, le=10_000, description="no translation holds the same so many pieces in a row twice; 0: it may"
    )
    max_length: Annotated[int, Unit("pieces")] = Field(
        1000, ge=1, description="longer lines are cut, with a message, when translated, scored or aligned"
    )
    max_tokens: Annotated[int, Unit("padded source tokens × beam_size")] = Field(
        10_000, ge=1, description="sentences searched at a time; changes speed and memory, not results"
    )


class Config(Section):
    """A run."""

    data: DataConfig
    subwords: SubwordConfig = SubwordConfig()
    model: ModelConfig
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()


TOO_DEEP = "tables or arrays are nested too deeply; a config has sections and keys, and no more than three levels"


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The config of a TOML file, with `section.key=value` overrides set on top.

    Raises InputError naming everything that is wrong, a line a mistake.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path.absolute()}: no such config file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.absolute()}: cannot be read as a config: {error}") from None
    try:
        tree = tomllib.loads(text)
    except ValueError as error:
        raise InputError(f"{path.absolute()}: not valid TOML: {error}") from None
    except RecursionError:
        raise InputError(f"{path.absolute()}: {TOO_DEEP}") from None
    for override in overrides:
        _override(tree, override)
    return parse_config(tree, str(path))


def parse_config(tree: dict[str, Any], name: str) -> Config:
    """The config that a tree of TOML tables holds; `name` says in errors where they came from."""
    config, mistakes, wrong = None, [], set()
    subwords = tree.get("subwords")
    if isinstance(subwords, dict) and isinstance(subwords.get("model"), str):
        both = dict.fromkeys(SubwordFiles.model_fields, subwords["model"])
        tree = tree | {"subwords": subwords | {"model": both}}
    try:
        # JSON's rules under strict: an array of TOML may be a tuple, a 1 a float; never a string a number.
        config = Config.model_validate_json(_json(tree, name))
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":  # the one thing about JSON that Python writes
            raise InputError(f"{name}: {TOO_DEEP}") from None
        mistakes = [_sentence(tree, item) for item in error.errors()]
        wrong = {_dotted(item["loc"]) for item in error.errors()}
    mistakes += _contradictions(tree, wrong)
    if mistakes or not config:
        raise InputError("\n".join(f"{name}: {mistake}" for mistake in mistakes))
    return config


def _json(tree: dict[str, Any], name: str) -> str:
    try:
        return json.dumps(tree, default=lambda date: {"date": str(date)})  # what no key is
    except RecursionError:
        raise InputError(f"{name}: {TOO_DEEP}") from None
    except ValueError:
        raise InputError(f"{name}: a number has thousands of digits, more than any key can mean") from None


def _contradictions(tree: dict[str, Any], wrong: Set[str]) -> Iterator[str]:
    """Sentences about keys that do not go together, those left out that are wrong by themselves."""
    defaults = {key: field.default for key, field in keys()}
    values = defaults | _flatten(tree)

    def sound(*names: str) -> bool:
        return not any(name == key or name.startswith(key + ".") for name in names for key in wrong)

    if sound("model.size", "model.heads") and values["model.size"] % values["model.heads"]:
        yield f"model.size = {values['model.size']} is not a multiple of model.heads = {values['model.heads']}"
    if sound("model.size") and values["model.size"] % 2 and values["model.positions"] == "sinusoidal":
        yield f"model.size = {values['model.size']} is odd, but sinusoidal positions need pairs of features"
    if sound("training.optimiser", "training.weight_decay"):
        decay = values["training.weight_decay"]
        if decay and values["training.optimiser"] == "adam":
            yield f'training.weight_decay = {decay:g} needs training.optimiser = "adamw", but it is "adam"'
    for key in ("training.plateau_factor", "training.plateau_patience"):
        schedule = values["training.schedule"]
        if sound("training.schedule", key) and values[key] != defaults[key] and schedule != "plateau":
            yield f'{key} = {values[key]} needs training.schedule = "plateau", but it is "{schedule}"'
    if sound("model.attention_dropout", "model.attention"):
        dropout = values["model.attention_dropout"]
        if dropout and values["model.attention"] == "none":
            yield f'model.attention_dropout = {dropout} needs attention, but model.attention = "none"'
    if sound("subwords.kind", "subwords.sampling"):
        sampling = values["subwords.sampling"]
        if sampling > 1 and values["subwords.kind"] == "bpe":
            yield (
                f'subwords.sampling = {sampling} needs subwords.kind = "unigram", but it is "bpe", which knows one '
                "segmentation of a sentence and no probabilities of others"
            )
    yield from _position_contradictions({key: value for key, value in values.items() if sound(key)}, defaults)
    yield from _subword_contradictions({key: value for key, value in values.items() if sound(key)})
    if sound("data.max_length", "training.max_tokens"):
        length, tokens = values["data.max_length"], values["training.max_tokens"]
        if length + 1 > tokens:  # + 1: </s>
            yield (
                f"training.max_tokens = {tokens} cannot hold a pair of data.max_length = {length} pieces and </s>: "
                "raise the one or lower the other"
            )


def positions_of(max_length: int, ratio: float, offset: int) -> int:
    """The most positions that the search of a line takes on either side, </s> counted."""
    return max(max_length + 1, int(ratio * min(max_length, 10**15)) + offset)  # a float has a bound, an integer none


def _position_contradictions(values: dict[str, Any], defaults: dict[str, Any]) -> Iterator[str]:
    most, learned = values.get("model.max_positions"), values.get("model.positions") == "learned"
    if most is None or not learned:
        if most not in (None, defaults["model.max_positions"]):
            yield f'model.max_positions = {most} needs model.positions = "learned"'
        return
    length = values.get("data.max_length", 0)
    if length + 1 > most:
        yield f"model.max_positions = {most} cannot hold data.max_length = {length} pieces and </s>"
    names = ("max_length", "max_length_ratio", "max_length_offset")
    search = [values.get(f"search.{name}", 0) for name in names]
    needed = positions_of(*search)
    if needed > most:
        yield (
            f"model.max_positions = {most} cannot hold search.max_length = {search[0]} pieces and a translation of "
            f"them, which may take {needed} positions (search.max_length_ratio, search.max_length_offset); lower these "
            "or raise model.max_positions"
        )


def _subword_contradictions(values: dict[str, Any]) -> Iterator[str]:
    files = {side: values.get(f"subwords.model.{side}") for side in SubwordFiles.model_fields}
    for side, file in files.items():
        if not file and any(files.values()):
            yield f"subwords.model.{side}: missing; a model for each side is given, or none"
    learning = ("kind", "vocabulary_size", "joint", "character_coverage", "byte_fallback", "user_symbols")
    for name in learning if all(files.values()) else ():
        key, field = f"subwords.{name}", SubwordConfig.model_fields[name]
        given = values.get(key, field.default)
        if (tuple(given) if isinstance(given, list) else given) != field.default:
            yield (
                f"{key} = {json.dumps(given, ensure_ascii=False)} says how subwords are learned, but "
                "subwords.model gives them; leave either out"
            )
    if any(files.values()) and values.get("training.init_from"):
        yield "training.init_from takes the subwords of another run, but subwords.model gives others; leave either out"
    symbols = [symbol for symbol in values.get("subwords.user_symbols", ()) if isinstance(symbol, str)]
    for symbol in dict.fromkeys(symbols):
        if symbol in SPECIAL:
            yield f'subwords.user_symbols: "{symbol}" is a piece of nmt\'s own; call it otherwise'
        if symbols.count(symbol) > 1:
            yield f'subwords.user_symbols: "{symbol}" stands there twice'


def dump_config(config: Config) -> str:
    """TOML of a config with every key written out; `parse_config` of it gives the same config back."""
    lines: list[str] = []

    def table(name: str, values: dict[str, Any]) -> None:
        plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
        if name and (plain or not values):
            lines.extend(["", f"[{name}]"] if lines else [f"[{name}]"])
        lines.extend(f"{key} = {_toml(value)}" for key, value in plain.items())
        for key, value in values.items():
            if isinstance(value, dict):
                bare = key.replace("_", "").replace("-", "")
                key = key if bare.isascii() and bare.isalnum() else _toml(key)
                table(f"{name}.{key}" if name else key, value)

    table("", config.model_dump(mode="json"))
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """A JSON string, number, boolean or array is the same text in TOML, but for what either escapes."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def differences(old: Config, new: Config) -> dict[str, str]:
    """`key: old → new`, by key, for each in which two configs differ."""
    before, after = _flatten(old.model_dump(mode="json")), _flatten(new.model_dump(mode="json"))
    return {
        key: f"{key}: {json.dumps(before.get(key))} → {json.dumps(after.get(key))}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(_flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat


def _override(tree: dict[str, Any], override: str) -> None:
    key, _, value = override.partition("=")
    parts = key.strip().split(".")
    try:
        override.encode()  # bytes of a command line that are not UTF-8 cannot be
        [parsed] = tomllib.loads(f"value = {value}").values()  # ValueError: a line break, and another key behind it
    except (ValueError, RecursionError):
        raise InputError(
            f"{override}: {value!r} is not a TOML value (a string needs quotes of its own: '{key}=\"{value}\"')"
        ) from None
    for depth, part in enumerate(parts[:-1]):
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise InputError(f"{override}: {'.'.join(parts[: depth + 1])} is not a section")
    tree[parts[-1]] = parsed


def _sentence(tree: dict[str, Any], item: Any) -> str:
    """One mistake that pydantic found, as a sentence with key, what was found, what is allowed, the nearest key."""
    key = _dotted(item["loc"])
    path = key.split(".")
    known = dict.fromkeys(name for name, _ in keys())
    if item["type"] == "extra_forbidden":
        parent, _, _ = key.rpartition(".")
        siblings = _siblings(tree, parent)
        elsewhere = [name for name in known if name.rpartition(".")[2] == path[-1]]
        if key in elsewhere:
            return f"{key}: not a key of this kind of model; known here: {', '.join(siblings)}"
        if elsewhere:
            return f"{key}: unknown key; did you mean {' or '.join(elsewhere)}?"
        near = difflib.get_close_matches(path[-1], siblings, 1, 0.5)
        if near:
            return f"{key}: unknown key; did you mean {'.'.join([*path[:-1], near[0]])}?"
        return f"{key}: unknown key; known here: {', '.join(siblings)}"
    if item["type"] == "missing":
        field = dict(keys()).get(key)
        return f"{key}: missing" + (f" ({field.description})" if field and field.description else "")
    kinds = " or ".join(map(json.dumps, _kinds()))
    if item["type"] == "union_tag_not_found":
        return f"model.kind: missing; it is {kinds}"
    if item["type"] == "union_tag_invalid":
        return f"model.kind: found {json.dumps(item['input']['kind'])}, but it is {kinds}"
    if path[-1] == "[key]":
        name = key.removesuffix(".[key]")
        return f'{name}: the name of a test set becomes part of file names: it is not empty and holds no "/"'
    found = json.dumps(item["input"], default=str, ensure_ascii=False)
    if item["type"] == "string_pattern_mismatch" and key.startswith("subwords.user_symbols."):
        return f"{key}: found {found}, but a symbol is not empty, and holds no space and no ▁, which stands for one"
    if item["type"] in ("model_type", "model_attributes_type", "dict_type"):
        inside = "[data.test.NAME]" if key == "data.test" else ", ".join(_siblings(tree, key))
        return f"{key}: found {found}, but it is a table of {inside}"
    return f"{key}: found {found}, but {item['msg'][0].lower() + item['msg'][1:]}"


def _dotted(location: Sequence[str | int]) -> str:
    """The key at a location of pydantic's."""
    path = [str(part) for part in location]
    if path[0] == "model" and path[1:2] and path[1] in _kinds():
        del path[1]  # a discriminated union puts its tag there, which is no key of the file
    return ".".join(path)


def _siblings(tree: dict[str, Any], parent: str) -> list[str]:
    """Names that may stand in a table of the file."""
    table = tree.get("model")
    kind = table.get("kind") if isinstance(table, dict) else None
    if parent == "model":
        return list(_kinds()[kind].model_fields) if isinstance(kind, str) and kind in _kinds() else ["kind", "..."]
    section: Any = Config
    for part in parent.split(".") if parent else []:
        fields = getattr(section, "model_fields", {})
        section = fields[part].annotation if part in fields else FilePair
    return list(getattr(section, "model_fields", FilePair.model_fields))


def _kinds() -> dict[str, type[Section]]:
    """The sections that [model] may be, by their kind."""
    return {
        get_args(model.model_fields["kind"].annotation)[0]: model
        for model in _models(Config.model_fields["model"].annotation)
    }


def keys() -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a config as (dotted name, its declaration), in the order of the file."""
    for section, field in Config.model_fields.items():
        for model in _models(field.annotation):
            for name, key in model.model_fields.items():
                inner = _models(key.annotation)
                if not inner:
                    yield f"{section}.{name}", key
                for pair in inner:
                    middle = f"{name}.NAME" if get_origin(key.annotation) is dict else name
                    for side, leaf in pair.model_fields.items():
                        yield f"{section}.{middle}.{side}", leaf


def describe_keys() -> str:
    """Every key with meaning, type, unit, default and bounds, as text for a terminal."""
    lines = []
    for section, field in Config.model_fields.items():
        for model in _models(field.annotation):
            heading = f"[{section}]"
            if section == "model":
                heading += f' kind = "{get_args(model.model_fields["kind"].annotation)[0]}"'
            lines.append(f"{heading}  {(model.__doc__ or '').strip()}")
            for name, key in keys():
                part = name.split(".")[1]
                if name.startswith(section + ".") and part in model.model_fields and _owns(model, part, key):
                    lines.append(f"  {name} = {_default(key)}")
                    lines.append(f"      {key.description}")
                    lines.append(f"      {_type(key)}")
            lines.append("")
    return "\n".join(lines).rstrip()


def _owns(model: type[Section], part: str, key: FieldInfo) -> bool:
    own = model.model_fields[part]
    return own is key or any(key in inner.model_fields.values() for inner in _models(own.annotation))


def _models(annotation: Any) -> list[type[Section]]:
    """The sections within a type: itself, the members of a union, the values of a dictionary."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, dict, Annotated):
        return [model for part in get_args(annotation) for model in _models(part)]
    return []


def _default(key: FieldInfo) -> str:
    value = key.get_default(call_default_factory=True, validated_data={})
    return "(required)" if value is PydanticUndefined else json.dumps(value)


def _type(key: FieldInfo) -> str:
    names: dict[Any, str] = {int: "integer", float: "number", str: "string", bool: "true or false"}
    if get_origin(key.annotation) is Literal:
        text = " or ".join(json.dumps(value) for value in get_args(key.annotation))
    elif get_origin(key.annotation) is tuple:
        text = "array of strings" if get_args(key.annotation)[-1] is Ellipsis else "array of 2 numbers"
    else:
        text = names[key.annotation]
    bounds = [
        f"{sign} {getattr(meta, attribute)}"
        for meta in key.metadata
        for attribute, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
        if hasattr(meta, attribute)
    ]
    units = [meta.name for meta in key.metadata if isinstance(meta, Unit)]
    return ", ".join([text, *(["in " + units[0]] if units else []), *bounds])
