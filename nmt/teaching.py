"""An aligner taught on a run's training text: by links that are given, or by those that counts suggest."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from nmt.aligner import Aligner
from nmt.alignment import Link, Words, WordSplit, membership, split_words
from nmt.batching import make_batch, plan_updates
from nmt.config import InputError
from nmt.corpus import TrainingCorpus
from nmt.gold import read_gold
from nmt.hmm import agreed_links
from nmt.lines import TextPairs
from nmt.scores import has_spaces
from nmt.subwords import PAD, Pieces
from nmt.translator import Pair, Translator

UPDATES, WARMUP, LEARNING_RATE = 1000, 50, 3e-3
MAX_TOKENS = 4096  # of an update
MOST_CELLS = 40_000_000  # pairs of pieces of lines that are looked at: 2 GB; more lines are left out


def choose_lines(corpus: TrainingCorpus) -> Tensor:
    """Line numbers of the pairs to teach on: all, or as many from all over the text as there is memory for."""
    cells = corpus.lengths[corpus.kept.long()].long().prod(1)
    every = math.ceil(int(cells.sum()) / MOST_CELLS)
    return corpus.kept[::every].long()


def read_links(path: Path, pairs: int) -> list[set[Link]]:
    """The links of each line of training text, of so many pairs, as another program found them."""
    found = [set(line.possible) for line in read_gold(path)]
    if len(found) != pairs:
        raise InputError(f"{path.absolute()}: {len(found):,} lines of links, but the training text has {pairs:,}")
    return found


@dataclass(frozen=True)
class Lesson:
    """What an aligner is taught on."""

    sources: list[list[int]]  # pieces
    targets: list[list[int]]
    links: list[Tensor]  # (2, T, S) how surely pieces belong together, by the target's choice and by the source's


def given_lesson(
    translator: Translator, pairs: TextPairs, lines: Sequence[int], links: Sequence[set[Link]], split: WordSplit
) -> Lesson:
    """The lesson of links between words that are given; raises InputError where one is of a word that is not there."""
    texts = _texts(translator, pairs, lines)
    found = []
    for line, (source, target) in zip(lines, texts, strict=True):
        words = split_words(source.text, split), split_words(target.text, split)
        linked = torch.zeros(len(words[1]), len(words[0]))
        for i, j in links[line]:
            if i >= len(words[0]) or j >= len(words[1]):
                raise InputError(
                    f"line {line + 1} of the links: {i}-{j}, but there are {len(words[0])} and {len(words[1])} words; "
                    "are these links of other words (--words)?"
                )
            linked[j, i] = 1
        found.append(_of_pieces(linked, source, target, words))
    return Lesson([source.ids for source, _ in texts], [target.ids for _, target in texts], found)


def counted_lesson(translator: Translator, pairs: TextPairs, lines: Sequence[int], languages: Sequence[str]) -> Lesson:
    """The lesson of what counts suggest: of pieces and, in languages with spaces, of lower-cased words, their mean.

    Words know what an ending goes with, pieces what rare and compound words are made of. Error rates of links over 0.3
    by pieces, by words and by their mean: 7.3, 7.9 and 6.5 % on the toy corpus, 7.1, 7.3 and 6.4 % on Multi30k.
    """
    texts = _texts(translator, pairs, lines)
    sources, targets = [source.ids for source, _ in texts], [target.ids for _, target in texts]
    found = [torch.stack([own, own]) for own in agreed_links(sources, targets, "counting pieces")]
    if all(map(has_spaces, languages)):
        words = [(split_words(source.text), split_words(target.text)) for source, target in texts]
        by_words = agreed_links(*_numbered(words), "counting words")
        for place, (linked, own) in enumerate(zip(by_words, words, strict=True)):
            found[place] = (found[place] + _of_pieces(linked.float(), *texts[place], own)) / 2
    return Lesson(sources, targets, found)


def _texts(translator: Translator, pairs: TextPairs, lines: Sequence[int]) -> list[Pair]:
    source, target = translator.subwords.source, translator.subwords.target
    return [(source.encode_pieces(pairs.sources[line]), target.encode_pieces(pairs.targets[line])) for line in lines]


def _numbered(lines: Sequence[tuple[Words, Words]]) -> tuple[list[list[int]], list[list[int]]]:
    """Numbers, from 1, of the lower-cased words of both sides."""
    numbers: dict[str, int] = {}
    source, target = (
        [[numbers.setdefault(word.lower(), len(numbers) + 1) for word in line[side].texts] for line in lines]
        for side in (0, 1)
    )
    return source, target


def _of_pieces(linked: Tensor, source: Pieces, target: Pieces, words: tuple[Words, Words]) -> Tensor:
    """(2, T, S) of pieces what (target words, source words) says: pieces of a word share what chooses it."""
    of_source, of_target = (
        torch.from_numpy(membership(pieces, own.spans)).float()
        for pieces, own in zip((source, target), words, strict=True)
    )
    # A word may have no piece: SentencePiece drops some characters, U+FFFD for one.
    by_target = of_target @ linked @ (of_source / of_source.sum(0).clamp_min(1e-12)).T
    by_source = (of_target / of_target.sum(0).clamp_min(1e-12)) @ linked @ of_source.T
    return torch.stack([by_target, by_source]).half()


def teach(translator: Translator, lesson: Lesson, seed: int) -> Aligner:
    """An aligner of the translator's model; raises InputError where its weights are not finite in the end."""
    sources, targets, links = lesson.sources, lesson.targets, lesson.links
    model, device = translator.model, translator.device
    torch.manual_seed(seed)
    weight, _ = model.output
    with torch.no_grad():
        states = model.encode(torch.tensor([sources[0]], device=device)).states.shape[2]
    aligner = Aligner(states, weight.shape[1]).to(device)
    optimiser = torch.optim.Adam(aligner.parameters(), betas=(0.9, 0.98))
    lengths = torch.tensor([list(map(len, sources)), list(map(len, targets))]).T
    with tqdm(total=UPDATES, desc="teaching", unit="update", disable=None, leave=False) as bar:
        for number, rows in enumerate(islice(_updates(lengths, seed), UPDATES), 1):
            own = rows.tolist()
            batch = make_batch([sources[row] for row in own], [targets[row] for row in own], rows).to(device)
            with torch.no_grad():
                memory = model.encode(batch.source)
                features = model.decode(memory, batch.target_in)
            pieces = batch.target_out != PAD
            choices = aligner(memory, features, pieces)
            wanted = _wanted([links[row] for row in own], memory.mask.shape[1], pieces.shape[1]).to(device)
            loss = torch.zeros((), device=device)
            for choice, target in zip(choices, (wanted[:, 0], wanted[:, 1].mT), strict=True):
                loss = loss + _cross_entropy(choice[:, :-1], target[:, :-1])
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * min(1, number / WARMUP) * (1 + math.cos(math.pi * number / UPDATES)) / 2
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            bar.update()
    if not all(weight.isfinite().all() for weight in aligner.parameters()):
        raise InputError(
            "teaching went astray: the aligner's weights are not finite. The run keeps the aligner that it had; are "
            "the model's own weights finite (nmt score)?"
        )
    return aligner.eval()


def _updates(lengths: Tensor, seed: int) -> Iterator[Tensor]:
    """Rows of each update, epoch after epoch."""
    for epoch in count():
        yield from plan_updates(lengths, MAX_TOKENS, seed, epoch, torch.arange(len(lengths)))


def _wanted(links: Sequence[Tensor], source: int, target: int) -> Tensor:
    """(B, 2, T, S) links of some lines side by side; the last place of a row or column says that it is real."""
    found = torch.zeros(len(links), 2, target, source)
    for row, own in enumerate(links):
        _, rows, columns = own.shape
        found[row, :, :rows, :columns] = own
        found[row, :, :rows, -1] = found[row, :, -1, :columns] = 1
    return found


def _cross_entropy(choice: Tensor, wanted: Tensor) -> Tensor:
    """The mean over real rows; choice: log-probabilities (B, ·, N); wanted: (B, ·, N), 1 at the end of a real row.

    What a row lacks of 1 is nothing, the last choice; one that comes to more is brought to 1.
    """
    real = wanted[:, :, -1] > 0
    shares = wanted[real][:, :-1]  # (rows, N - 1)
    total = shares.sum(1, keepdim=True)
    shares = torch.cat([shares / total.clamp_min(1), (1 - total).clamp_min(0)], dim=1)
    return -(shares * choice[real].clamp_min(-100)).sum(1).mean()
