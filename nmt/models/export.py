"""A Transformer's weights under CTranslate2's names: the way to int8, C++ and servers."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from nmt.config import InputError, SearchConfig, positions_of
from nmt.models.attention import CrossAttention, SelfAttention
from nmt.models.base import Extraction, Seq2Seq
from nmt.models.layers import FeedForward, sinusoidal_positions
from nmt.models.transformer import DecoderLayer, EncoderLayer, Transformer
from nmt.subwords import BOS, PAD, SEP, Subwords

README = """\
# A translation model for CTranslate2

Made by `nmt export`. `model.bin`, `config.json` and the vocabularies are CTranslate2's, the other `*.model` files
SentencePiece's; `search.json` says how the run searched, in options of CTranslate2's `Translator.translate_batch`.
From this folder:

```python
import json

import ctranslate2
import sentencepiece

# compute_type="int8" is smaller and a little less exact; inter_threads=2, intra_threads=1 is fastest on two cores.
translator = ctranslate2.Translator(".", compute_type="float32")
source = sentencepiece.SentencePieceProcessor(model_file="{source}")
target = sentencepiece.SentencePieceProcessor(model_file="{target}")
with open("search.json") as file:
    options = json.load(file)

pieces = source.encode(["A line.", "Another one."], out_type=str)
longest = int({ratio:g} * max(map(len, pieces))) + {offset}
results = translator.translate_batch(pieces, max_decoding_length=longest, **options)
print(target.decode([result.hypotheses[0] for result in results]))
```

These are nmt's translations, with its scores to about 1e-3. Where the two differ:

- nmt has a limit for each line, int({ratio:g} × its pieces) + {offset} with </s> counted, where it ends a translation
  with </s>. CTranslate2 has one for a call, where it stops without. Only what runs into its limit comes out otherwise.
- Some pieces are barred from translations. nmt leaves the others' probabilities as they are, CTranslate2 renormalises
  them, which shows where a vocabulary is small; its `score_batch` gives the log-probabilities of `nmt score`.
- A line is cut after {max_length:,} pieces. There are {positions:,} positions, so max_decoding_length is at most that.
"""


def export_ctranslate2(model: Seq2Seq, subwords: Subwords, search: SearchConfig, folder: Path) -> str:
    """A line that says what was written: a folder for CTranslate2 with its subwords and a README, whole or not at all.

    Raises InputError for a model of which CTranslate2 has no kind, where the library is missing, and where the folder
    holds something already or cannot be written.
    """
    positions = positions_of(search.max_length, search.max_length_ratio, search.max_length_offset)
    positions = model.most_positions or positions
    match model:
        case Transformer():
            spec = transformer_spec(model, positions)
        case _:
            raise InputError(
                "--to ctranslate2: CTranslate2 has Transformers only, and this run's model is another; export a run "
                'whose config has model.kind = "transformer"'
            )
    spec.register_source_vocabulary(subwords.source.pieces)
    spec.register_target_vocabulary(subwords.target.pieces)
    readme = README.format(
        source="subwords.model" if subwords.joint else "source.model",
        target="subwords.model" if subwords.joint else "target.model",
        ratio=search.max_length_ratio,
        offset=search.max_length_offset,
        max_length=search.max_length,
        positions=positions,
    )
    options = {
        "beam_size": search.beam_size,
        "length_penalty": search.length_penalty,
        "min_decoding_length": search.min_length,
        "no_repeat_ngram_size": search.no_repeat_ngram_size,
        "max_input_length": search.max_length + 1,  # </s> counted
        "suppress_sequences": [[subwords.target.pieces[piece]] for piece in (PAD, BOS, SEP)],
        "disable_unk": True,
        "return_scores": True,
    }

    whole = folder.absolute()
    if whole.exists() and not (whole.is_dir() and not any(whole.iterdir())):
        raise InputError(f"{whole}: there is something already; remove it, or name a folder that is new or empty")
    aside = whole.with_name(f".{whole.name}.{os.getpid()}")
    try:
        aside.mkdir(parents=True)
        spec.validate()
        spec.optimize()  # tied weights are written once
        spec.save(str(aside))
        subwords.save(aside)
        (aside / "search.json").write_text(json.dumps(options, indent=1) + "\n", encoding="utf-8")
        (aside / "README.md").write_text(readme, encoding="utf-8")
        aside.replace(whole)
    except OSError as error:
        raise InputError(f"{whole}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return f"{folder}: a model for CTranslate2, with {positions:,} positions; its README.md says how it is used"


@torch.no_grad()
def transformer_spec(model: Transformer, positions: int) -> Any:
    """The model as a `ctranslate2.specs.TransformerSpec` without vocabularies, for sentences of so many positions."""
    try:
        from ctranslate2.specs import TransformerSpec, common_spec
    except ImportError:
        raise InputError(
            "--to ctranslate2: the library ctranslate2 is not installed: pip install ctranslate2 (or nmt[ctranslate2])"
        ) from None
    extraction = model.default_extraction or Extraction(layer=-1)
    encoder = cast(Sequence[EncoderLayer], model.encoder)
    decoder = cast(Sequence[DecoderLayer], model.decoder)
    spec = TransformerSpec.from_config(
        (len(encoder), len(decoder)),
        encoder[0].attention.heads,
        pre_norm=encoder[0].attention_frame.before,
        activation=common_spec.Activation.GELU if encoder[0].feed_forward.smooth else common_spec.Activation.RELU,
        alignment_layer=extraction.layer,
        alignment_heads=0,  # the mean of all, as in the default extraction
    )
    spec.config.add_source_eos = True
    spec.config.layer_norm_epsilon = encoder[0].attention_frame.norm.eps

    weight, bias = model.output
    spec.encoder.embeddings[0].weight = _plain(model.embeddings.source.weight)
    spec.decoder.embeddings.weight = _plain(model.embeddings.target.weight)
    spec.decoder.projection.weight, spec.decoder.projection.bias = _plain(weight), _plain(bias)
    # Given, as CTranslate2's own have other rates.
    sinusoidal = sinusoidal_positions(positions, weight.shape[1], weight)
    for part, norm, learned in (
        (spec.encoder, model.encoder_norm, model.source_positions),
        (spec.decoder, model.decoder_norm, model.target_positions),
    ):
        part.scale_embeddings = True  # by the square root of the width
        part.position_encodings.encodings = _plain(sinusoidal if learned is None else learned.weight * model.scale)
        if isinstance(norm, nn.LayerNorm):
            _set_norm(part.layer_norm, norm)
    for to, lower in zip(spec.encoder.layer, encoder, strict=True):
        _set_self_attention(to.self_attention, lower.attention, lower.attention_frame.norm)
        _set_feed_forward(to.ffn, lower.feed_forward, lower.feed_forward_frame.norm)
    for to, upper in zip(spec.decoder.layer, decoder, strict=True):
        _set_self_attention(to.self_attention, upper.self_attention, upper.self_frame.norm)
        _set_cross_attention(to.attention, upper.cross_attention, upper.cross_frame.norm)
        _set_feed_forward(to.ffn, upper.feed_forward, upper.feed_forward_frame.norm)
    return spec


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu().contiguous()


def _set_norm(to: Any, norm: nn.LayerNorm) -> None:
    to.gamma, to.beta = _plain(norm.weight), _plain(norm.bias)


def _set_linear(to: Any, layer: nn.Linear) -> None:
    to.weight, to.bias = _plain(layer.weight), _plain(layer.bias)


def _set_self_attention(to: Any, attention: SelfAttention, norm: nn.LayerNorm) -> None:
    _set_norm(to.layer_norm, norm)
    _set_linear(to.linear[0], attention.query_key_value)
    _set_linear(to.linear[1], attention.out)


def _set_cross_attention(to: Any, attention: CrossAttention, norm: nn.LayerNorm) -> None:
    _set_norm(to.layer_norm, norm)
    _set_linear(to.linear[0], attention.query)
    _set_linear(to.linear[1], attention.key_value)
    _set_linear(to.linear[2], attention.out)


def _set_feed_forward(to: Any, feed_forward: FeedForward, norm: nn.LayerNorm) -> None:
    _set_norm(to.layer_norm, norm)
    _set_linear(to.linear_0, feed_forward.widen)
    _set_linear(to.linear_1, feed_forward.narrow)
