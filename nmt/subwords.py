"""SentencePiece: learned, loaded, encoding and decoding; ids of the special pieces."""

import hashlib
import io
import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from nmt.config import SPECIAL, InputError, SubwordConfig, SubwordFiles
from nmt.lines import written_aside
from nmt.renumbering import USER_DEFINED, kind_of, pieces_of, renumbered

# The same in every model, so that a batch can be built without asking.
PAD, BOS, EOS, UNK, SEP = range(len(SPECIAL))

MAX_LINE_BYTES = 16_384  # SentencePiece skips longer lines when it learns; most are not sentences


@dataclass(frozen=True)
class Pieces:
    """A text in pieces."""

    ids: list[int]  # without <s> and </s>
    offsets: list[tuple[int, int]]  # the characters of the text that each piece covers, spaces included
    text: str  # to the end of the last piece, where pieces were cut


@dataclass(frozen=True)
class FlatIds:
    """Ids of some lines, one line behind the other."""

    ids: NDArray[np.int32]
    counts: NDArray[np.int32]  # (lines,) how many each line has


class Vocabulary:
    """The pieces of one language (or of both, when joint) and their ids."""

    def __init__(self, model: bytes) -> None:
        if not model:  # which SentencePiece takes for no argument
            raise RuntimeError("a model of no bytes")
        self.model = model
        self._processor = SentencePieceProcessor(model_proto=model)
        self.size: int = self._processor.vocab_size()

    @property
    def pieces(self) -> list[str]:
        """The piece of each id, as SentencePiece writes it."""
        return [self._processor.id_to_piece(piece) for piece in range(self.size)]

    def encode(self, lines: list[str]) -> list[list[int]]:
        """Ids of each line, without <s> and </s>."""
        ids: list[list[int]] = self._processor.encode(lines)
        return ids

    def encode_flat(self, lines: list[str]) -> FlatIds:
        """The same ids, one line behind the other; several threads may call this at once."""
        # One thread a call, and Python's lock is free meanwhile: two calls at once keep two cores busier than one call
        # on two threads, whose results wait for the lock in turn.
        ids: list[NDArray[np.int32]] = self._processor.encode(lines, return_type="numpy", num_threads=1)
        return FlatIds(np.concatenate(ids), np.fromiter(map(len, ids), np.int32, len(ids)))

    def sample(self, ids: Sequence[int], config: SubwordConfig, draw: float) -> list[int]:
        """Ids of the same text in other pieces: one of its `sampling` best segmentations (Kudo 2018, 3.2).

        Drawn by a number from [0, 1). From the n best, since SentencePiece's own sampling cannot be repeated. Ids with
        unknown pieces stay as they are, as their text is lost.
        """
        if UNK in ids:
            return list(ids)
        text: str = self._processor.decode(list(ids))  # a batch of one would start threads: 270 µs instead of 10
        best: list[list[int]] = self._processor.nbest_encode(text, nbest_size=config.sampling)
        # A symbol that is never split may be split in all segmentations but the best.
        symbols = [piece for piece in best[0] if piece in self._symbols]
        if symbols:
            best = [found for found in best if [piece for piece in found if piece in self._symbols] == symbols]
        scores = np.array([sum(self._scores[piece] for piece in found) for found in best])
        cumulated = np.exp(config.sampling_alpha * (scores - scores.max())).cumsum()
        return best[int(np.searchsorted(cumulated, draw * cumulated[-1], side="right"))]

    @cached_property
    def _scores(self) -> list[float]:
        """The log-probability of each piece, as a unigram model has it."""
        return [self._processor.get_score(piece) for piece in range(self.size)]

    @cached_property
    def _symbols(self) -> Set[int]:
        """The pieces that are never split."""
        return {number for number, piece in enumerate(pieces_of(self.model)) if piece.type == USER_DEFINED}

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Text of each sequence of ids, a line; special pieces have none."""
        # decode([]) would be the text of no ids, "", not no texts.
        texts: list[str] = self._processor.decode([list(line) for line in ids]) if ids else []
        return list(map(_one_line, texts))

    def encode_pieces(self, text: str) -> Pieces:
        """A text's pieces with the characters that each covers."""
        mapping = self._processor.encode(text, return_type="offset_mapping")
        return Pieces(mapping["ids"], mapping["offsets"], text)

    def decode_pieces(self, ids: Sequence[int]) -> Pieces:
        """The text of ids, with the characters that each covers."""
        mapping = self._processor.decode(list(ids), return_type="offset_mapping")
        return Pieces(mapping["ids"], mapping["offsets"], _one_line(mapping["text"]))


def _one_line(text: str) -> str:
    """Text of pieces as a line: of a byte or a given model's piece that is a line break, no line may become two."""
    return text.replace("\n", " ")


@dataclass(frozen=True)
class Subwords:
    """The vocabularies of source and target: the same object when joint."""

    source: Vocabulary
    target: Vocabulary

    @property
    def joint(self) -> bool:
        return self.source is self.target

    @property
    def kind(self) -> str:
        """How the pieces were learned, for people."""
        return " and ".join(dict.fromkeys([kind_of(self.source.model), kind_of(self.target.model)]))

    def digest(self) -> str:
        """A sum of both models: equal sums, equal ids."""
        return hashlib.sha256(self.source.model + self.target.model).hexdigest()

    def save(self, folder: Path) -> None:
        """Write `subwords.model`, or `source.model` and `target.model`, into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.joint:
            models = {"subwords": self.source.model}
        else:
            models = {"source": self.source.model, "target": self.target.model}
        for name, model in models.items():
            with written_aside(folder / f"{name}.model") as file:
                file.write(model)

    @staticmethod
    def load(folder: Path) -> "Subwords":
        """The vocabularies that `save` wrote."""
        if not any((folder / f"{name}.model").exists() for name in ("subwords", "source", "target")):
            raise InputError(f"{folder.absolute()}: no SentencePiece models are there; copy the run again")
        try:
            if (folder / "subwords.model").exists():
                joint = Vocabulary((folder / "subwords.model").read_bytes())
                return Subwords(joint, joint)
            return Subwords(
                Vocabulary((folder / "source.model").read_bytes()),
                Vocabulary((folder / "target.model").read_bytes()),
            )
        except (OSError, RuntimeError) as error:
            raise InputError(f"{folder.absolute()}: no SentencePiece models can be read there: {error}") from None


def load_subwords(files: SubwordFiles) -> Subwords:
    """The vocabularies of SentencePiece models, with our ids for their special pieces; of one file: joint."""
    source = _given(Path(files.source))
    return Subwords(source, source if files.source == files.target else _given(Path(files.target)))


def _given(path: Path) -> Vocabulary:
    try:
        model = path.read_bytes()
    except OSError as error:
        raise InputError(f"subwords.model: {path.absolute()} cannot be read: {error.strerror or error}") from None
    try:
        own = Vocabulary(model)._processor
        vocabulary = Vocabulary(renumbered(model, {own.pad_id(), own.bos_id(), own.eos_id(), own.unk_id()}))
    except RuntimeError:
        raise InputError(f"subwords.model: {path.absolute()} is no SentencePiece model (*.model)") from None
    except ValueError as error:
        raise InputError(
            f"subwords.model: {path.absolute()} has a piece {error} that stands for text, but nmt has a special piece "
            "of that name; give another model"
        ) from None
    return vocabulary


def learn_subwords(source: Iterable[str], target: Iterable[str], config: SubwordConfig) -> tuple[Subwords, list[str]]:
    """Vocabularies learned on training text, and sentences for the user about what came out otherwise than asked.

    The same text gives the same bytes on any machine.
    """
    messages: list[str] = []

    def both() -> Iterable[str]:
        yield from source
        yield from target

    def learn(lines: Iterable[str], name: str) -> Vocabulary:
        vocabulary = _learn(lines, name, config, messages)
        if vocabulary.size < config.vocabulary_size:
            messages.append(
                f"the {name} vocabulary shrank from {config.vocabulary_size:,} to {vocabulary.size:,} pieces: "
                "the text holds no more"
            )
        return vocabulary

    if config.joint:
        joint = learn(both(), "joint")
        return Subwords(joint, joint), messages
    return Subwords(learn(source, "source"), learn(target, "target")), messages


def _learn(lines: Iterable[str], name: str, config: SubwordConfig, messages: list[str]) -> Vocabulary:
    usable = skipped = 0

    def sentences() -> Iterable[str]:
        nonlocal usable, skipped
        for line in lines:
            if len(line.encode()) > MAX_LINE_BYTES:
                skipped += 1
            elif line.strip():
                usable += 1
                yield line

    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(sentences()),
            model_writer=model,
            model_type=config.kind,
            vocab_size=config.vocabulary_size,
            hard_vocab_limit=False,
            character_coverage=config.character_coverage,
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            control_symbols=[SPECIAL[SEP]],
            user_defined_symbols=list(config.user_symbols),
            byte_fallback=config.byte_fallback,
            max_sentence_length=MAX_LINE_BYTES,
            num_threads=16,  # a part of the result: never the number of cores
            minloglevel=2,
        )
    except RuntimeError as error:
        if not usable:
            raise InputError(f"the {name} training text has no line to learn subwords from") from None
        needed = re.search(r"required_chars\. (\d+) vs (\d+)", str(error))
        if needed:
            raise InputError(
                f"subwords.vocabulary_size: found {config.vocabulary_size}, but the {name} training text has so many "
                f"characters that, with special pieces, it needs at least {needed[2]}; raise it or lower "
                "subwords.character_coverage"
            ) from None
        raise InputError(f"SentencePiece cannot learn from the {name} training text: {error}") from None
    if skipped:
        messages.append(f"{skipped:,} lines over {MAX_LINE_BYTES:,} bytes were left out when learning subwords")
    return Vocabulary(model.getvalue())
