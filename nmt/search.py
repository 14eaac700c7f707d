"""Batched beam search; greedy is beam 1. It sees ids, scores and hypotheses, and no model but through its contract."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.models.base import Moves, Seq2Seq
from nmt.subwords import BOS, EOS, PAD, SEP, UNK

# Pieces that no translation consists of. They are masked after the log-softmax, without renormalising, so that a
# hypothesis' log-probability is the one that scoring its ids gives.
FORBIDDEN = [PAD, BOS, UNK, SEP]

# Pieces that one maximum stands for in `best_continuations`. Of 128 sentences, a beam of 5 and 8,000 pieces, 10 took
# 3.0 ms, 16: 2.7, 25: 2.5, 40: 3.0, 64: 5.9.
GROUP_SIZE = 25


@dataclass(frozen=True)
class Hypothesis:
    """A translation of one sentence, as ids."""

    ids: list[int]  # without <s> and </s>
    log_probability: float  # nats, </s> counted
    score: float  # log-probability / (len(ids) + 1) ** length_penalty


@torch.no_grad()
def beam_search(
    model: Seq2Seq, source: Tensor, max_lengths: Sequence[int], *, beam_size: int, length_penalty: float
) -> list[list[Hypothesis]]:
    """For each sentence its finished hypotheses, the best first; at least one, at most beam_size.

    source: (B, S) ids. max_lengths: B numbers of pieces, </s> counted, at least 1; at that length </s> is forced. A
    sentence is done when beam_size hypotheses ended among the best beam_size candidates of a step.
    """
    memory = model.encode(source).contiguous()
    state = model.initial_state(memory)
    sentences = list(range(len(source)))  # which sentence each row is
    finished: list[list[Hypothesis]] = [[] for _ in sentences]
    scores = memory.states.new_zeros(len(source), 1)  # (B, K) log-probabilities of live hypotheses
    ids = source.new_empty(len(source), 1, 0)  # (B, K, length)
    tokens = source.new_full((len(source), 1), BOS)  # (B, K)
    forbidden = torch.tensor(FORBIDDEN, device=source.device)
    length = 0

    def finish(rows: Tensor, parents: Tensor, log_probabilities: Tensor) -> None:
        """Add these hypotheses of these rows, which have ended."""
        found = zip(rows.tolist(), ids[rows, parents].tolist(), log_probabilities.tolist(), strict=True)
        for row, own, log_probability in found:
            score = log_probability / length**length_penalty
            finished[sentences[row]].append(Hypothesis(own, log_probability, score))

    while sentences:
        logits, state = model.step(memory, state, tokens)
        length += 1
        log_probabilities = torch.log_softmax(logits, -1, out=logits)  # new memory would cost more than the sums
        log_probabilities.index_fill_(2, forbidden, -torch.inf)
        # Of twice as many candidates as live hypotheses at least half do not end, as each live one ends in one way.
        best, parents, pieces = best_continuations(scores, log_probabilities, 2 * beam_size)  # each (B, C)
        ends = pieces == EOS

        at_limit = [max_lengths[sentence] == length for sentence in sentences]
        if any(at_limit):  # all live hypotheses end
            ending_all = torch.tensor(at_limit, device=source.device)[:, None]  # (B, 1)
            ends &= ~ending_all
            rows, live = (ending_all & scores.isfinite()).nonzero(as_tuple=True)
            finish(rows, live, (scores + log_probabilities[:, :, EOS])[rows, live])
        del logits, log_probabilities  # so that the next step finds their memory free
        rows, candidates = (ends & best.isfinite())[:, :beam_size].nonzero(as_tuple=True)
        if len(rows):
            finish(rows, parents[rows, candidates], best[rows, candidates])

        scores, chosen = best.masked_fill(ends, -torch.inf).topk(min(beam_size, best.shape[1]))  # (B, K')
        parents, tokens = parents.gather(1, chosen), pieces.gather(1, chosen)
        ids = torch.cat([ids.gather(1, parents[:, :, None].expand(-1, -1, length - 1)), tokens[:, :, None]], dim=2)
        state = state.reorder(parents)
        stays = [
            not ended and len(finished[sentence]) < beam_size
            for sentence, ended in zip(sentences, at_limit, strict=True)
        ]
        if not all(stays):
            moves = Moves.keeping(stays, source.device)
            sentences = [sentences[row] for row in moves.rows]
            scores, ids, tokens = moves.apply(scores), moves.apply(ids), moves.apply(tokens)
            memory, state = memory.keep(moves), state.keep(moves)
    return [
        sorted(hypotheses, key=lambda hypothesis: hypothesis.score, reverse=True)[:beam_size] for hypotheses in finished
    ]


def best_continuations(scores: Tensor, log_probabilities: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each sentence's best hypotheses longer by a piece: their scores, the best first, parents and pieces, each (B, C).

    scores: (B, K); log_probabilities: (B, K, V) of the pieces that may follow. C is `count`, or K × V if that is less.
    The best ones stand in the `count` groups of pieces whose maxima are greatest, so only these are searched: a fifth
    of the time of top-k over all pieces.
    """
    sentences, hypotheses, vocabulary = log_probabilities.shape
    groups = vocabulary // GROUP_SIZE  # of each hypothesis
    flat = log_probabilities.flatten(1)  # (B, K × V)
    if hypotheses * groups <= count:
        totals = (log_probabilities + scores[:, :, None]).flatten(1)
        best, where = totals.topk(min(count, totals.shape[1]))
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
