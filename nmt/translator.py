"""A trained model ready for text: translate, score, align; N lines in, N lines out."""

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from nmt.aligner import LEAST, Aligner
from nmt.alignment import MOST_WORDS, Least, Matrix, WordAttention, Words, WordSplit, extract, split_words, to_words
from nmt.batching import Batch, make_batch, pad, plan_in_order_of_length
from nmt.checkpoint import load_weights
from nmt.config import InputError, SearchConfig
from nmt.hardware import to_device, without_autocast, workers
from nmt.loss import log_probabilities
from nmt.models import build_model
from nmt.models.base import Extraction, Memory, Seq2Seq
from nmt.models.ensemble import Ensemble
from nmt.models.layers import lay_out_for_search
from nmt.runs import Checkpoint, Run
from nmt.search import Hypothesis, Request, Sampling, beam_search
from nmt.subwords import PAD, UNK, Pieces, Subwords

Pair = tuple[Pieces, Pieces]  # source, target
HELD = 1 << 24  # numbers of attention held at a time: more layers are read one after the other


@dataclass(frozen=True)
class Translation:
    """A translated line."""

    text: str
    ids: list[int]  # its pieces as they were found, without </s>
    score: float  # log-probability over length ** length_penalty; 0 for an empty line, which is not searched


@dataclass(frozen=True)
class Translator:
    """A model with its vocabularies and how it searches. Lines may hold anything but a line's end."""

    model: Seq2Seq
    subwords: Subwords
    search: SearchConfig
    device: torch.device
    warn: Callable[[str], None]  # told of lines that are cut
    extraction: Extraction | None = None  # where alignments are read; None where the model has no attention
    aligner: Aligner | None = None  # what reads them in its place
    threshold: Least | None = None  # least weight of a link; None: as what reads them has it

    @staticmethod
    def load(
        run: Run, checkpoint: Checkpoint, device: torch.device, warn: Callable[[str], None], *, aligns: bool = True
    ) -> "Translator":
        """The translator of a run; aligns: whether it can be asked for alignments, too."""
        config, subwords = run.config(), run.subwords()
        weights, update, path = run.weights(checkpoint)
        model = build_model(config.model, subwords.source.size, subwords.target.size, joint=subwords.joint)
        load_weights(model, weights, path)
        lay_out_for_search(model)
        extraction = aligner = None
        if aligns:
            extraction = run.extraction(model) or model.default_extraction
            taught = run.aligner(checkpoint, update)
            aligner = Aligner.of(taught, path).to(device).eval() if taught is not None else None
        return Translator(model.to(device).eval(), subwords, config.search, device, warn, extraction, aligner)

    @staticmethod
    def load_ensemble(
        runs: Sequence[Run], checkpoint: Checkpoint, device: torch.device, warn: Callable[[str], None]
    ) -> "Translator":
        """One translator of several runs, that searches as the first does and reads no alignments.

        Raises InputError where the runs differ in subwords or languages.
        """
        members = [Translator.load(run, checkpoint, device, warn, aligns=False) for run in runs]
        first, leader = members[0], runs[0].config().data
        for run, member in zip(runs, members, strict=True):
            languages, own = ((data.source_language, data.target_language) for data in (leader, run.config().data))
            if languages != own:  # a joint model may be the same for both directions
                raise InputError(
                    f"{run.path.absolute()}: translates {' to '.join(own)}, but {runs[0].path} "
                    f"{' to '.join(languages)}; an ensemble's runs must translate alike"
                )
            if member.subwords.digest() != first.subwords.digest():
                raise InputError(
                    f"{run.path.absolute()}: its subwords differ from those of {runs[0].path}; an ensemble's runs must "
                    "share them, as runs of the same text and the same [subwords] do"
                )
        ensemble = Ensemble([member.model for member in members]).eval()
        return Translator(ensemble, first.subwords, first.search, device, warn)

    @property
    def aligns(self) -> bool:
        """Whether there is anything to read alignments from."""
        return self.extraction is not None or self.aligner is not None

    @property
    def reading(self) -> str:
        """What alignments are read from, for people."""
        return str(self.extraction) if self.aligner is None else "trained aligner"

    def translate(self, lines: Sequence[str], *, first: int = 1, bar: str | None = None) -> list[Translation]:
        """The best hypothesis of each line, in order; an empty or blank line gives an empty one.

        first: the number of the first line, for messages. bar: the title of a progress bar, if one is wanted.
        """
        return [best for best, *_ in self.translations(lines, first=first, bar=bar)]

    @torch.no_grad()
    def translations(
        self,
        lines: Sequence[str],
        *,
        prefixes: Sequence[str] | None = None,
        sampling: Sampling | None = None,
        first: int = 1,
        bar: str | None = None,
    ) -> list[list[Translation]]:
        """All hypotheses that were found of each line, the best first: at least one, at most search.beam_size.

        prefixes: the pieces of a text that each line's translations begin with. Those of an empty or blank line are one
        empty text, whatever its prefix. sampling: hypotheses are drawn, by seed and line number.
        """
        sources = [self._cut(ids, number) for number, ids in enumerate(self.subwords.source.encode(list(lines)), first)]
        begins: list[list[int]] = [[]] * len(lines)
        if prefixes is not None:
            rows = zip(prefixes, lines, strict=True)
            begins = [self._forced(prefix, number) for number, (prefix, _) in enumerate(rows, first)]
        found = [[Translation("", [], 0.0)] for _ in lines]
        written = [row for row, line in enumerate(lines) if sources[row] and not line.isspace()]
        hypotheses = self.search_ids(
            [sources[row] for row in written],
            prefixes=[begins[row] for row in written],
            sampling=sampling,
            numbers=[first + row for row in written],
            bar=bar,
        )
        for row, own in zip(written, hypotheses, strict=True):
            texts = self.subwords.target.decode([one.ids for one in own])
            found[row] = [Translation(text, one.ids, one.score) for text, one in zip(texts, own, strict=True)]
        return found

    def _forced(self, prefix: str, number: int) -> list[int]:
        """The pieces of a prefix, up to the first one that the model has none for."""
        ids = self.subwords.target.encode([prefix])[0]
        if UNK in ids:
            known = ids[: ids.index(UNK)]
            self.warn(
                f"line {number}: the prefix {prefix!r} is kept up to {self.subwords.target.decode([known])[0]!r}, as "
                "the model has no piece for what follows"
            )
            ids = known
        return self._cut(ids, number, "a prefix of ")

    @torch.no_grad()
    def search_ids(
        self,
        sources: Sequence[list[int]],
        *,
        prefixes: Sequence[list[int]] | None = None,
        sampling: Sampling | None = None,
        numbers: Sequence[int] | None = None,
        bar: str | None = None,
    ) -> list[list[Hypothesis]]:
        """Hypotheses of each source, given as ids without </s>, in order; numbers: theirs, for draws (from 0 on)."""
        lengths = torch.tensor([len(ids) for ids in sources], dtype=torch.long).reshape(-1, 1)
        begins = [[]] * len(sources) if prefixes is None else prefixes
        numbers = range(len(sources)) if numbers is None else numbers
        requests = list(map(self._request, numbers, sources, begins))
        found: dict[int, list[Hypothesis]] = {}  # by number
        with workers(self.device) as (pool, count), _progress(bar, len(sources)) as done:
            waiting = deque(self._groups(lengths, hypotheses=self.search.beam_size, shares=count))

            def work() -> None:
                """Search what waits until nothing does, or until a worker fails."""
                try:
                    self._search(sources, requests, sampling, waiting, found, done)
                finally:
                    waiting.clear()

            if len(waiting) <= 1:  # handing over a single line costs a twelfth of its search
                work()
            try:
                for running in [pool.submit(work) for _ in range(min(count, len(waiting)))]:
                    running.result()
            finally:
                waiting.clear()  # else the workers would go on before an interruption is heard
        return [found[number] for number in numbers]

    def _request(self, number: int, source: list[int], prefix: list[int]) -> Request:
        longest = max(int(self.search.max_length_ratio * len(source)), len(prefix)) + self.search.max_length_offset
        return Request(number, int(min(longest, self._positions)), prefix)

    def _search(
        self,
        sources: Sequence[list[int]],
        requests: Sequence[Request],
        sampling: Sampling | None,
        waiting: deque[list[int]],
        found: dict[int, list[Hypothesis]],
        done: Callable[[int], object],
    ) -> None:
        """Take groups of rows from those that wait, and add the hypotheses of each, by its number."""
        batches = (
            (to_device(pad([sources[row] for row in group], end=True), self.device), [requests[row] for row in group])
            for group in _taken(waiting)
        )
        for number, hypotheses in beam_search(self.model, batches, self.search, sampling):
            found[number] = hypotheses
            done(1)

    @torch.no_grad()
    def score(self, sources: Sequence[str], targets: Sequence[str], *, bar: str | None = None) -> list[float]:
        """The log-probability of each target given its source, in nats, </s> counted."""
        return self.score_ids(
            self.subwords.source.encode(list(sources)), self.subwords.target.encode(list(targets)), bar=bar
        )

    @torch.no_grad()
    def score_ids(
        self, sources: Sequence[list[int]], targets: Sequence[list[int]], *, bar: str | None = None
    ) -> list[float]:
        """The same of ids without <s> and </s>."""
        sources = [self._cut(ids, number) for number, ids in enumerate(sources, 1)]
        targets = [self._cut(ids, number) for number, ids in enumerate(targets, 1)]
        lengths = torch.tensor([[len(s), len(t)] for s, t in zip(sources, targets, strict=True)]).reshape(-1, 2)
        scores = torch.zeros(len(sources), dtype=torch.float64)
        with _progress(bar, len(sources)) as done:
            for rows in self._groups(lengths):
                batch = make_batch([sources[row] for row in rows], [targets[row] for row in rows], torch.tensor(rows))
                batch = batch.to(self.device)
                with without_autocast(self.device):
                    features = self.model(batch.source, batch.target_in)  # (B, T, D)
                    flat = log_probabilities(
                        features.flatten(0, 1)[batch.predicted],
                        *self.model.output,
                        batch.target_out.flatten()[batch.predicted],
                    )
                sentence = batch.lines[batch.predicted.cpu() // batch.target_out.shape[1]]
                scores.index_add_(0, sentence, flat.double().cpu())
                done(len(rows))
        return scores.tolist()

    def align(self, sources: Sequence[Words], targets: Sequence[Words], *, first: int = 1) -> Iterator[WordAttention]:
        """Word attention of each given translation, in order; first: the number of the first line, for messages."""
        pieces = [self.subwords.target.encode_pieces(words.text) for words in targets]
        return self._align(sources, pieces, targets, first)

    def align_translations(
        self, sources: Sequence[Words], translations: Sequence[Translation], split: WordSplit, *, first: int = 1
    ) -> Iterator[WordAttention]:
        """Word attention of what `translate` found, over the very ids that it found."""
        pieces = [self.subwords.target.decode_pieces(translation.ids) for translation in translations]
        return self._align(sources, pieces, [split_words(own.text, split) for own in pieces], first)

    def _align(
        self, sources: Sequence[Words], targets: Sequence[Pieces], target_words: Sequence[Words], first: int
    ) -> Iterator[WordAttention]:
        read = [self.subwords.source.encode_pieces(words.text) for words in sources]
        cut = self.cut_pairs(read, targets, first=first)
        words = zip(sources, target_words, strict=True)
        for number, (own, pair, into) in enumerate(zip(self.read(cut), cut, words, strict=True), first):
            found = to_words(own, *pair, into, self.least)
            for given, held in zip(into, (found.source, found.target), strict=True):
                if len(held) == MOST_WORDS < len(given):
                    self.warn(f"line {number}: {len(given):,} words, of which the first {MOST_WORDS:,} are aligned")
            yield found

    @property
    def least(self) -> Least | None:
        """Least weights of links; None: a target word's link is the one with the most weight."""
        # An aligner may choose several source words for a target word, so its links are not the greatest weights.
        return self.threshold or (None if self.aligner is None else LEAST)

    def read(self, pairs: Sequence[Pair]) -> list[Matrix]:
        """(T, S) of each pair of pieces, the source's `</s>` last: what its alignment is read from."""
        found: list[Matrix] = [np.empty(0)] * len(pairs)
        for rows, batch in self._batches(pairs):
            for row, weights in zip(rows, self._piece_attention(batch, [pairs[row] for row in rows]), strict=True):
                found[row] = weights
        return found

    @torch.no_grad()
    def _piece_attention(self, batch: Batch, pairs: Sequence[Pair]) -> Iterator[Matrix]:
        """(T, S) of each sentence, the source's `</s>` last."""
        memory = self.model.encode(batch.source)
        if self.aligner is not None:
            features = self.model.decode(memory, batch.target_in)
            weights = self.aligner.weights(memory, features, batch.target_out != PAD).cpu().numpy()  # (B, T, S)
            for own, (source, target) in zip(weights, pairs, strict=True):
                rows = own[: len(target.ids)]
                yield np.concatenate([rows[:, : len(source.ids)], rows[:, -1:]], axis=1)
            return
        assert self.extraction is not None
        layers = [self.extraction.layer]
        for own, products in self._of_sentences(batch, memory, pairs, layers, norms=self.extraction.norms):
            yield extract(own[0], None if products is None else products[0], self.extraction)

    @torch.no_grad()
    def attentions(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, int, Matrix, Matrix]]:
        """A layer, a row, its cross-attention (H, T + 1, S) and its value products (S, H, H); T: pieces.

        Every layer of every pair, as `cut_pairs` gives them, the rows in no order, a row's layers from the first to
        the last.
        """
        for layers in self._layers_at_once(pairs):
            for rows, batch in self._batches(pairs):
                memory = self.model.encode(batch.source)
                found = self._of_sentences(batch, memory, [pairs[row] for row in rows], layers, norms=True)
                for row, (weights, products) in zip(rows, found, strict=True):
                    assert products is not None
                    for layer, own, product in zip(layers, weights, products, strict=True):
                        yield layer, row, own, product

    def _layers_at_once(self, pairs: Sequence[Pair]) -> Iterator[range]:
        """The layers in parts whose attention is held at a time."""
        longest = 1 + max((len(pieces.ids) for pair in pairs for pieces in pair), default=0)
        most = max(self.search.max_tokens, longest) * longest  # pairs of pieces of a batch
        step = max(1, HELD // (most * self.model.attention_heads))
        for first in range(0, self.model.attention_layers, step):
            yield range(first, min(first + step, self.model.attention_layers))

    def _of_sentences(
        self, batch: Batch, memory: Memory, pairs: Sequence[Pair], layers: Sequence[int], *, norms: bool
    ) -> Iterator[tuple[Matrix, Matrix | None]]:
        """Weights (L, H, T + 1, S) and value products (L, S, H, H) of each sentence, without padding."""
        weights = self.model.attention(memory, batch.target_in, layers).double().cpu().numpy()  # (B, L, H, T, S)
        products = self.model.value_products(memory, layers).double().cpu().numpy() if norms else None
        for row, (source, target) in enumerate(pairs):
            width = len(source.ids) + 1
            yield (
                weights[row, :, :, : len(target.ids) + 1, :width],
                None if products is None else products[row, :, :width],
            )

    def cut_pairs(self, sources: Sequence[Pieces], targets: Sequence[Pieces], *, first: int = 1) -> list[Pair]:
        """Pairs of pieces, none longer than search.max_length or what the model can read."""
        return [
            (self._cut_pieces(source, number), self._cut_pieces(target, number))
            for number, (source, target) in enumerate(zip(sources, targets, strict=True), first)
        ]

    def _batches(self, pairs: Sequence[Pair]) -> Iterator[tuple[list[int], Batch]]:
        """Rows of like length and their batch."""
        lengths = torch.tensor([[len(source.ids), len(target.ids)] for source, target in pairs]).reshape(-1, 2)
        for rows in self._groups(lengths):
            sources, targets = [pairs[row][0].ids for row in rows], [pairs[row][1].ids for row in rows]
            yield rows, make_batch(sources, targets, torch.tensor(rows)).to(self.device)

    def _groups(self, lengths: Tensor, *, hypotheses: int = 1, shares: int = 1) -> list[list[int]]:
        """Rows of like length, each of some hypotheses, within the search's max_tokens: as many for each share of work.

        The longest first, so that memory fails early.
        """
        # A twentieth more than there are: about as much is padding among lines of like length.
        tokens = 1.05 * float(lengths.amax(1).sum() + len(lengths))
        most = max(1, self.search.max_tokens // hypotheses)
        rounds = max(1, math.ceil(tokens / (shares * most)))
        groups = plan_in_order_of_length(lengths, max(1, min(most, math.ceil(tokens / (shares * rounds)))))
        return [group.tolist() for group in groups[::-1]]

    @property
    def _positions(self) -> float:
        """How many positions of a side the model can read."""
        return math.inf if self.model.most_positions is None else self.model.most_positions

    @property
    def _most(self) -> int:
        """How many pieces of a line are read; </s> takes a position, too."""
        return int(min(self.search.max_length, self._positions - 1))

    def _cut(self, ids: list[int], number: int, name: str = "") -> list[int]:
        if len(ids) > self._most:
            key = "search.max_length" if self._most == self.search.max_length else "model.max_positions - 1"
            self.warn(f"line {number}: {name}{len(ids):,} pieces, cut to {key} = {self._most:,}")
        return ids[: self._most]

    def _cut_pieces(self, pieces: Pieces, number: int) -> Pieces:
        most = self._most
        if len(pieces.ids) <= most:
            return pieces
        return Pieces(self._cut(pieces.ids, number), pieces.offsets[:most], pieces.text[: pieces.offsets[most - 1][1]])


def _taken(waiting: deque[list[int]]) -> Iterator[list[int]]:
    """What is left of those that wait, which other threads take too."""
    with contextlib.suppress(IndexError):
        while True:
            yield waiting.popleft()


@contextlib.contextmanager
def _progress(bar: str | None, lines: int) -> Iterator[Callable[[int], object]]:
    """What is told of lines that are done, by any thread; it moves a progress bar of that title, if one is wanted."""
    lock = threading.Lock()
    with tqdm(total=lines, desc=bar, unit="line", disable=None if bar else True, leave=False) as progress:

        def done(count: int) -> None:
            with lock:
                progress.update(count)

        yield done
