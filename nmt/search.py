"""Batched beam search and sampling; greedy is beam 1. They see ids and scores, no model but through its contract."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.config import SearchConfig
from nmt.models.base import Memory, Moves, Seq2Seq, State, stack
from nmt.subwords import BOS, EOS, PAD, SEP, UNK

# Pieces that no translation consists of. They are masked after the log-softmax, without renormalising, so that a
# hypothesis' log-probability is the one that scoring its ids gives.
FORBIDDEN = [PAD, BOS, UNK, SEP]

# Pieces that one maximum stands for in `best_continuations`. Of 128 sentences, a beam of 5 and 8,000 pieces, 10 took
# 3.0 ms, 16: 2.7, 25: 2.5, 40: 3.0, 64: 5.9.
GROUP_SIZE = 25

# Of a batch, the last one in so many sentences is searched later, with those of other batches. On two cores that was a
# tenth faster with a beam of 5, as was 4; with 2 batches, greedily, 7 %.
LAST = 8


@dataclass(frozen=True)
class Hypothesis:
    """A translation of one sentence, as ids."""

    ids: list[int]  # without <s> and </s>
    log_probability: float  # nats, </s> counted
    score: float  # log-probability / (len(ids) + 1) ** length_penalty


@dataclass(frozen=True)
class Request:
    """A sentence to search, and what its hypotheses must be."""

    number: int  # by which they are given back
    max_length: int  # pieces, </s> counted, at least 1; at that length </s> is forced
    prefix: Sequence[int] = ()  # the pieces that they begin with, fewer than max_length


@dataclass(frozen=True)
class Sampling:
    """Hypotheses are drawn, piece by piece, as the model would say them."""

    temperature: float = 1.0  # log-probabilities are divided by it before a draw: under 1 it is bolder, over 1 freer
    top_k: int = 0  # draw from the most probable pieces, so many (Fan et al. 2018, 5.1); 0: from all
    seed: int = 1  # what is drawn follows from it and a sentence's number, whatever is searched beside it


@dataclass(frozen=True)
class _Sentence:
    """A sentence that is searched."""

    request: Request
    draws: np.random.Generator | None  # its random numbers, where hypotheses are drawn
    finished: list[Hypothesis] = field(default_factory=list)  # added to

    def best(self, beam_size: int) -> list[Hypothesis]:
        """Its finished hypotheses, the best first."""
        return sorted(self.finished, key=lambda hypothesis: hypothesis.score, reverse=True)[:beam_size]


@dataclass(frozen=True)
class _Beam:
    """Sentences with their live hypotheses, which may be of different lengths from sentence to sentence."""

    sentences: list[_Sentence]
    memory: Memory
    state: State
    scores: Tensor  # (B, K) log-probabilities
    ids: Tensor  # (B, K, T) with as many at the end as the sentence's state has read
    tokens: Tensor  # (B, K) the last ones, which the state has not read

    @staticmethod
    def begin(model: Seq2Seq, source: Tensor, sentences: list[_Sentence]) -> "_Beam":
        """Before the first step, with one hypothesis a sentence."""
        memory = model.encode(source).contiguous()
        return _Beam(
            sentences,
            memory,
            model.initial_state(memory),
            scores=memory.states.new_zeros(len(source), 1),
            ids=source.new_empty(len(source), 1, 0),
            tokens=source.new_full((len(source), 1), BOS),
        )

    def keep(self, stays: Sequence[bool]) -> "_Beam":
        """Some of the sentences; uses this one up."""
        moves = Moves.keeping(stays, self.scores.device)
        return _Beam(
            [self.sentences[row] for row in moves.rows],
            self.memory.keep(moves),
            self.state.keep(moves),
            moves.apply(self.scores),
            moves.apply(self.ids),
            moves.apply(self.tokens),
        )

    def join(self, other: "_Beam") -> "_Beam":
        """These sentences and others, for as many hypotheses of each."""
        state = self.state.join(other.state)
        return _Beam(
            self.sentences + other.sentences,
            self.memory.join(other.memory),
            state,
            torch.cat([self.scores, other.scores]),
            stack(self.ids, other.ids, 2, max(state.lengths, default=0), newest=True),
            torch.cat([self.tokens, other.tokens]),
        )


@torch.no_grad()
def beam_search(
    model: Seq2Seq,
    batches: Iterable[tuple[Tensor, Sequence[Request]]],
    config: SearchConfig,
    sampling: Sampling | None = None,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """The number of each sentence and its finished hypotheses, at least one, the best first.

    batches: ids (B, S), and what is asked of B sentences. A sentence is done, and given back, when beam_size hypotheses
    ended among the best beam_size candidates of a step; where they are drawn, when beam_size of them ended. The last
    few sentences of each batch are set aside and searched together: a step of few takes hardly less time than one of
    many.
    """
    aside: _Beam | None = None

    def begin(request: Request) -> _Sentence:
        return _Sentence(request, np.random.default_rng([sampling.seed, request.number]) if sampling else None)

    for source, requests in batches:
        beam = _Beam.begin(model, source, list(map(begin, requests)))
        while len(beam.sentences) > len(source) // LAST:
            beam, done = _advance(model, beam, config, sampling)
            yield from done
        aside = beam if aside is None else aside.join(beam)
        while len(aside.sentences) > len(source):  # never more than a batch, so that memory suffices
            aside, done = _advance(model, aside, config, sampling)
            yield from done
    while aside is not None and aside.sentences:
        aside, done = _advance(model, aside, config, sampling)
        yield from done


def _advance(
    model: Seq2Seq, beam: _Beam, config: SearchConfig, sampling: Sampling | None
) -> tuple[_Beam, list[tuple[int, list[Hypothesis]]]]:
    """The beam after one more step, with beam_size hypotheses of each sentence, and the sentences that are done."""
    sentences, beam_size = beam.sentences, config.beam_size
    logits, state = model.step(beam.memory, beam.state, beam.tokens)
    log_probabilities = torch.log_softmax(logits, -1, out=logits)  # new memory would cost more than the sums
    at_limit = [own.request.max_length == length for own, length in zip(sentences, state.lengths, strict=True)]
    _forbid(log_probabilities, beam, state.lengths, at_limit, config)

    def finish(rows: Tensor, parents: Tensor, totals: Tensor) -> None:
        """Add these hypotheses of these rows, which have ended."""
        found = zip(rows.tolist(), beam.ids[rows, parents].tolist(), totals.tolist(), strict=True)
        for row, ids, total in found:
            length = state.lengths[row]
            own = ids[len(ids) - length + 1 :]
            sentences[row].finished.append(Hypothesis(own, total, total / length**config.length_penalty))

    if sampling is None:
        # Of twice as many candidates as hypotheses at least half do not end, as each hypothesis ends in one way.
        best, parents, pieces = best_continuations(beam.scores, log_probabilities, 2 * beam_size)  # each (B, C)
    else:
        best, parents, pieces = _drawn(beam, log_probabilities, beam_size, sampling)  # each (B, K)
    ends = pieces == EOS
    if any(at_limit):  # all live hypotheses end
        ending_all = torch.tensor(at_limit, device=logits.device)[:, None]  # (B, 1)
        ends &= ~ending_all
        rows, live = (ending_all & beam.scores.isfinite()).nonzero(as_tuple=True)
        finish(rows, live, (beam.scores + log_probabilities[:, :, EOS])[rows, live])
    del logits, log_probabilities  # so that the next step finds their memory free
    rows, candidates = (ends & best.isfinite())[:, :beam_size].nonzero(as_tuple=True)
    if len(rows):
        finish(rows, parents[rows, candidates], best[rows, candidates])

    scores = best.masked_fill(ends, -torch.inf)
    if sampling is None:
        scores, chosen = scores.topk(beam_size)  # (B, K)
        parents, pieces = parents.gather(1, chosen), pieces.gather(1, chosen)
    ids = torch.cat([beam.ids.gather(1, parents[:, :, None].expand(-1, -1, beam.ids.shape[2])), pieces[:, :, None]], 2)
    beam = _Beam(sentences, beam.memory, state.reorder(parents), scores, ids, pieces)
    stays = [
        not ended and len(sentence.finished) < beam_size for sentence, ended in zip(sentences, at_limit, strict=True)
    ]
    left = [sentence for sentence, stay in zip(sentences, stays, strict=True) if not stay]
    done = [(sentence.request.number, sentence.best(beam_size)) for sentence in left]
    return (beam.keep(stays) if done else beam), done


def _forbid(
    log_probabilities: Tensor, beam: _Beam, lengths: list[int], at_limit: list[bool], config: SearchConfig
) -> None:
    """Set to -inf what may not follow, of log-probabilities (B, K, V); lengths: of what would end now, </s> counted."""
    device = log_probabilities.device
    given = [
        (row, own.request.prefix[length - 1])
        for row, (own, length) in enumerate(zip(beam.sentences, lengths, strict=True))
        if length <= len(own.request.prefix)
    ]
    if given:
        rows, pieces = torch.tensor(given, device=device).unbind(1)
        forced = log_probabilities[rows, :, pieces]  # (rows, K), a copy
    log_probabilities.index_fill_(2, torch.tensor(FORBIDDEN, device=device), -torch.inf)
    short = [length <= config.min_length and not ends for length, ends in zip(lengths, at_limit, strict=True)]
    if any(short) or config.no_repeat_ngram_size:
        ending = log_probabilities[:, :, EOS].clone()
        log_probabilities[torch.tensor(short, device=device), :, EOS] = -torch.inf
        if config.no_repeat_ngram_size:
            _forbid_repetition(log_probabilities, beam.ids, config.no_repeat_ngram_size)
        # Where nothing is left, a hypothesis may end after all.
        stuck = log_probabilities.amax(-1) == -torch.inf  # (B, K)
        log_probabilities[:, :, EOS] = torch.where(stuck, ending, log_probabilities[:, :, EOS])
    if given:
        log_probabilities[rows] = -torch.inf
        log_probabilities[rows, :, pieces] = forced


def _forbid_repetition(log_probabilities: Tensor, ids: Tensor, size: int) -> None:
    """Set to -inf, of (B, K, V), the pieces with which ids (B, K, T) would end in n pieces that they hold already.

    Paulus et al. 2018, section 2.5. Before a hypothesis' first piece stands PAD, which no n pieces hold.
    """
    if ids.shape[2] < size:
        return
    last = ids[:, :, ids.shape[2] - size + 1 :]  # (B, K, n - 1)
    same = (ids.unfold(2, size, 1)[..., :-1] == last[:, :, None]).all(-1)  # (B, K, T - n + 1)
    log_probabilities.scatter_(2, torch.where(same, ids[:, :, size - 1 :], PAD), -torch.inf)


def _drawn(beam: _Beam, log_probabilities: Tensor, count: int, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor]:
    """As `best_continuations`, but `count` drawn ones: of one hypothesis all, else one of each, in their order."""
    hypotheses = log_probabilities.shape[1]
    each = count // hypotheses
    scaled = log_probabilities.double() / sampling.temperature
    if 0 < sampling.top_k < scaled.shape[2]:
        scaled = scaled.masked_fill(scaled < scaled.topk(sampling.top_k).values[:, :, -1:], -torch.inf)
    cumulated = scaled.softmax(-1).cumsum(-1)  # (B, K, V)
    numbers = np.stack([own.draws.random((hypotheses, each)) for own in beam.sentences if own.draws is not None])
    draws = torch.from_numpy(numbers).to(cumulated.device) * cumulated[:, :, -1:]
    pieces = torch.searchsorted(cumulated, draws, right=True)  # (B, K, each): the first one whose sum is greater
    totals = beam.scores[:, :, None] + log_probabilities.gather(2, pieces)
    parents = torch.arange(hypotheses, device=pieces.device)[None, :, None].expand_as(pieces)
    return totals.flatten(1), parents.flatten(1), pieces.flatten(1)


def best_continuations(scores: Tensor, log_probabilities: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each sentence's best hypotheses longer by a piece: their scores, the best first, parents and pieces, each (B, C).

    scores: (B, K); log_probabilities: (B, K, V) of the pieces that may follow. C is `count`; where K × V is less, the
    last have any piece and a score of -inf. The best ones stand in the `count` groups of pieces whose maxima are
    greatest, so only these are searched: a fifth of the time of top-k over all pieces.
    """
    sentences, hypotheses, vocabulary = log_probabilities.shape
    groups = vocabulary // GROUP_SIZE  # of each hypothesis
    flat = log_probabilities.flatten(1)  # (B, K × V)
    if hypotheses * groups <= count:
        totals = (log_probabilities + scores[:, :, None]).flatten(1)
        best, where = F.pad(totals, (0, max(0, count - totals.shape[1])), value=-torch.inf).topk(count)
        where = where.clamp_max(totals.shape[1] - 1)
        return best, where // vocabulary, where % vocabulary
    # A group is every so many pieces, so that its maximum is that of rows, which is faster than within a row.
    maxima = log_probabilities[:, :, : groups * GROUP_SIZE].unflatten(2, (GROUP_SIZE, groups)).amax(2)  # (B, K, groups)
    chosen = (maxima + scores[:, :, None]).flatten(1).topk(count, sorted=False).indices  # (B, C)
    firsts = (chosen // groups * vocabulary + chosen % groups)[:, :, None]
    members = (firsts + torch.arange(0, groups * GROUP_SIZE, groups, device=flat.device)).flatten(1)
    # The last few pieces of a hypothesis, too few for a group each, are searched with them.
    rest = torch.arange(groups * GROUP_SIZE, vocabulary, device=flat.device)
    rest = rest + torch.arange(0, hypotheses * vocabulary, vocabulary, device=flat.device)[:, None]
    members = torch.cat([members, rest.flatten().expand(sentences, -1)], dim=1)
    best, where = (flat.gather(1, members) + scores.gather(1, members // vocabulary)).topk(count)
    where = members.gather(1, where)
    return best, where // vocabulary, where % vocabulary
