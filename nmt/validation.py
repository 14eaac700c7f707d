"""What a model does on the validation set, and what is plainly wrong with it."""

import math
from dataclasses import dataclass

import torch

from nmt import scores
from nmt.alignment import WordAttention, split_words
from nmt.config import TrainingConfig
from nmt.events import Validated
from nmt.lines import TextPairs
from nmt.preparation import Prepared
from nmt.translator import Translator

FOCUS_PAIRS = 200  # validation pairs whose attention is looked at
EARLY = 300_000  # target tokens; models of the toy corpus translate by then
MOST_FAULTS = 0.1  # share of the translations
SHOWN = 4  # pairs whose attention a tracker shows
MOST_SHOWN_WORDS = 40  # of a side; a picture of more is hard to read
MOST_TO_END, MOST_ENTROPY = 0.9, 0.97


@dataclass(frozen=True)
class Focus:
    """Where a model looks when it predicts a word: means over target words, by teacher forcing."""

    entropy: float  # over source words and </s>, as a share of the greatest: 0 (one of them) to 1 (all alike)
    to_end: float  # the weight on </s>


@dataclass(frozen=True)
class Validation:
    """What a model does on the validation set."""

    loss: float  # nats a target token, unsmoothed, </s> counted
    nats_per_character: float  # of the references
    bleu: scores.Bleu
    faults: scores.Faults
    attention: Focus | None  # None: the model has none
    sample_source: str  # a sentence of middle length, the same each time
    sample_hypothesis: str
    sample_reference: str
    shown: list[WordAttention]  # of the same few pairs each time, where a tracker shows them
    reading: str  # what these are read from


def validate(prepared: Prepared) -> Validation:
    """Loss, and BLEU of searched text, as `evaluate` would find them for these weights; leaves the model in eval()."""
    config, valid = prepared.config, prepared.valid
    model = prepared.model.eval()
    translator = Translator(
        model,
        prepared.subwords,
        config.search,
        prepared.device,
        warn=lambda _: None,
        extraction=model.default_extraction,
    )
    loss, per_character = likelihood(translator, valid)
    hypotheses = [translation.text for translation in translator.translate(valid.sources, bar="validation")]
    bleu = scores.bleu(hypotheses, valid.targets, config.data.target_language)
    faults = scores.faults(valid.sources, hypotheses, valid.targets, config.data.target_language)
    middle = sorted(range(len(hypotheses)), key=lambda line: (len(valid.sources[line]), line))[len(hypotheses) // 2]
    sample = valid.sources[middle], hypotheses[middle], valid.targets[middle]
    shown = [] if config.training.tracker == "none" else attention_of_some(translator, valid)
    return Validation(loss, per_character, bleu, faults, focus(translator, valid), *sample, shown, translator.reading)


def attention_of_some(translator: Translator, pairs: TextPairs) -> list[WordAttention]:
    """Word attention of SHOWN pairs, spread over the lengths that a picture can show, the shortest first.

    By their references, so that rows and columns stay what they are while a training goes on.
    """
    if not translator.aligns:
        return []
    words = [
        (split_words(source), split_words(target)) for source, target in zip(pairs.sources, pairs.targets, strict=True)
    ]
    words = [both for both in words if all(0 < len(side) <= MOST_SHOWN_WORDS for side in both)]
    words.sort(key=lambda both: len(both[0]))
    count = min(SHOWN, len(words))
    chosen = [words[int((part + 0.5) * len(words) / count)] for part in range(count)]
    return list(translator.align([source for source, _ in chosen], [target for _, target in chosen]))


def focus(translator: Translator, pairs: TextPairs) -> Focus | None:
    """Where a model looks in the first FOCUS_PAIRS pairs, by its translator's extraction; None without attention."""
    if translator.extraction is None:
        return None
    entropies, to_end = [], []
    sources, targets = map(split_words, pairs.sources[:FOCUS_PAIRS]), map(split_words, pairs.targets[:FOCUS_PAIRS])
    for attention in translator.align(list(sources), list(targets)):
        weights = torch.from_numpy(attention.weights)  # (target words, source words + 1)
        if len(attention.source):
            entropies.append(torch.special.entr(weights).sum(1) / math.log(weights.shape[1]))
            to_end.append(weights[:, -1])
    if not entropies:
        return None
    return Focus(float(torch.cat(entropies).mean()), float(torch.cat(to_end).mean()))


def likelihood(translator: Translator, pairs: TextPairs) -> tuple[float, float]:
    """Nats a target token (</s> counted) and nats a reference character, of a model on reference translations."""
    targets = translator.subwords.target.encode(pairs.targets)
    nats = -sum(translator.score_ids(translator.subwords.source.encode(pairs.sources), targets))
    tokens = sum(len(ids) + 1 for ids in targets)
    return nats / tokens, nats / max(1, sum(map(len, pairs.targets)))


def warnings(event: Validated, config: TrainingConfig) -> list[str]:
    """Sentences on what is plainly wrong with a training, and what to do about it.

    All but the first wait for twice the warm-up and for EARLY tokens, and their bounds are far from what sound
    trainings show by then: an untrained model loops, too.
    """
    if not math.isfinite(event.loss):
        return [
            "the validation's loss is not a finite number, so the weights are lost: lower training.learning_rate or "
            "training.clip_norm, or raise training.warmup_updates, and start anew with --overwrite"
        ]
    if event.update < 2 * config.warmup_updates or event.tokens < EARLY:
        return []
    if event.bleu < 1:
        return [
            f"nothing is learned so far (BLEU {event.bleu:.1f} after {event.update:,} updates): check that line i of "
            "the one training file is the translation of line i of the other, then try another training.learning_rate"
        ]
    found = []
    for share, what, cure in (
        (
            event.empty,
            "are empty",
            "look for empty lines in the training text",
        ),
        (event.copied, "are their own source", "look for untranslated pairs in the training text"),
        (event.looping, "repeat a phrase three times in a row", "train longer, or on longer sentences"),
    ):
        if share > MOST_FAULTS:
            found.append(f"{share:.0%} of the translations {what}: {cure}")
    if event.attention_to_end is not None and event.attention_to_end > MOST_TO_END:
        found.append(
            f"{event.attention_to_end:.0%} of the attention rests on </s>: the model hardly reads its source words; "
            "lower training.learning_rate or model.dropout"
        )
    if event.attention_entropy is not None and event.attention_entropy > MOST_ENTROPY:
        found.append(
            "the attention is spread evenly over the source, so it tells its words not apart: train longer, or raise "
            "training.warmup_updates"
        )
    return found
