"""An aligner taught on a run's training text: by links that are given, or by those that counts of pieces suggest."""

import math
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from nmt.aligner import Aligner
from nmt.alignment import WordSplit, membership, split_words
from nmt.batching import make_batch, plan_updates
from nmt.config import InputError
from nmt.corpus import TrainingCorpus
from nmt.gold import read_gold
from nmt.hmm import align_pieces
from nmt.lines import TextPairs
from nmt.subwords import PAD
from nmt.translator import Translator

UPDATES, WARMUP, LEARNING_RATE = 1000, 50, 3e-3
MAX_TOKENS = 4096  # of an update
MOST_CELLS = 40_000_000  # pairs of pieces of lines that are looked at: 2 GB; more lines are left out


def choose_lines(corpus: TrainingCorpus) -> Tensor:
    """Line numbers of the pairs to teach on: all, or as many from all over the text as there is memory for."""
    cells = corpus.lengths[corpus.kept.long()].long().prod(1)
    every = math.ceil(int(cells.sum()) / MOST_CELLS)
    return corpus.kept[::every].long()


def given_links(
    path: Path, pairs: TextPairs, lines: Sequence[int], split: WordSplit, translator: Translator
) -> list[Tensor]:
    """Of each line a matrix (T, S): 1 for pieces of words that a file's line of links has together, else 0."""
    links = read_gold(path)
    if len(links) != len(pairs.sources):
        raise InputError(
            f"{path.absolute()}: {len(links):,} lines of links, but the training text has {len(pairs.sources):,}"
        )
    found = []
    for line in lines:
        sides = []
        for vocabulary, text in (
            (translator.subwords.source, pairs.sources[line]),
            (translator.subwords.target, pairs.targets[line]),
        ):
            words = split_words(text, split)
            sides.append(torch.from_numpy(membership(vocabulary.encode_pieces(text), words.spans) > 0).half())
        linked = torch.zeros(sides[1].shape[1], sides[0].shape[1], dtype=torch.half)  # of words
        for source, target in links[line].possible:
            if source >= linked.shape[1] or target >= linked.shape[0]:
                raise InputError(
                    f"{path.absolute()}, line {line + 1}: link {source}-{target}, but there are {linked.shape[1]} and "
                    f"{linked.shape[0]} words; are these links of other words (--words)?"
                )
            linked[target, source] = 1
        found.append((sides[1] @ linked @ sides[0].T).clamp(0, 1))
    return found


def teach(
    translator: Translator, corpus: TrainingCorpus, lines: Tensor, links: Sequence[Tensor] | None, seed: int
) -> Aligner:
    """An aligner of the translator's model.

    links: of each line (T, S) how surely its pieces belong together; None: `align_pieces` tells.
    """
    sources, targets = corpus.ids(lines)
    if links is None:
        links = align_pieces(sources, targets, "counting")
    model, device = translator.model, translator.device
    torch.manual_seed(seed)
    weight, _ = model.output
    with torch.no_grad():
        states = model.encode(torch.tensor([sources[0].tolist()], device=device)).states.shape[2]
    aligner = Aligner(states, weight.shape[1]).to(device)
    optimiser = torch.optim.Adam(aligner.parameters(), betas=(0.9, 0.98))
    lengths = corpus.lengths[lines]
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
            for choice, target in zip(choices, (wanted, wanted.mT), strict=True):
                loss = loss + _cross_entropy(choice[:, :-1], target[:, :-1])
            for group in optimiser.param_groups:
                group["lr"] = LEARNING_RATE * min(1, number / WARMUP) * (1 + math.cos(math.pi * number / UPDATES)) / 2
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            bar.update()
    return aligner.eval()


def _updates(lengths: Tensor, seed: int) -> Iterator[Tensor]:
    """Rows of each update, epoch after epoch."""
    for epoch in count():
        yield from plan_updates(lengths, MAX_TOKENS, seed, epoch, torch.arange(len(lengths)))


def _wanted(links: Sequence[Tensor], source: int, target: int) -> Tensor:
    """(B, T, S) links of some lines side by side; what a row or column lacks of 1 is nothing, in its last place."""
    found = torch.zeros(len(links), target, source)
    for row, own in enumerate(links):
        found[row, : own.shape[0], : own.shape[1]] = own
        found[row, : own.shape[0], -1] = 1
        found[row, -1, : own.shape[1]] = 1
    return found


def _cross_entropy(choice: Tensor, wanted: Tensor) -> Tensor:
    """The mean over real rows; choice: log-probabilities (B, ·, N); wanted: (B, ·, N), 1 at the end of a real row."""
    real = wanted[:, :, -1] > 0
    shares = wanted[real][:, :-1]  # (rows, N - 1)
    total = shares.sum(1, keepdim=True)
    shares = torch.cat([shares / total.clamp_min(1), (1 - total).clamp_min(0)], dim=1)
    return -(shares * choice[real].clamp_min(-100)).sum(1).mean()
