"""Batched beam search; greedy is beam 1. It sees ids, scores and hypotheses, and no model but through its contract."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.models.base import Seq2Seq
from nmt.subwords import BOS, EOS, PAD, SEP, UNK

# Pieces that no translation consists of. They are masked after the log-softmax, without renormalising, so that a
# hypothesis' log-probability is the one that scoring its ids gives.
FORBIDDEN = [PAD, BOS, UNK, SEP]

GROUP_SIZE = 25  # pieces that one maximum stands for in `best_pieces`; with 10 to 40 of them a search took as long


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
        # Of twice as many candidates as live hypotheses at least half do not end, as each live one ends in one way.
        ending, values, pieces = _continuations(logits, 2 * beam_size)
        totals = (values + scores[:, :, None]).flatten(1)
        best, where = totals.topk(min(2 * beam_size, totals.shape[1]))  # (B, C)
        parents, pieces = where // values.shape[2], pieces.flatten(1).gather(1, where)
        ends = pieces == EOS

        at_limit = [max_lengths[sentence] == length for sentence in sentences]
        if any(at_limit):  # all live hypotheses end
            ending_all = torch.tensor(at_limit, device=source.device)[:, None]  # (B, 1)
            ends &= ~ending_all
            rows, live = (ending_all & scores.isfinite()).nonzero(as_tuple=True)
            finish(rows, live, (scores + ending)[rows, live])
        rows, candidates = (ends & best.isfinite())[:, :beam_size].nonzero(as_tuple=True)
        finish(rows, parents[rows, candidates], best[rows, candidates])

        scores, chosen = best.masked_fill(ends, -torch.inf).topk(min(beam_size, best.shape[1]))  # (B, K')
        parents, tokens = parents.gather(1, chosen), pieces.gather(1, chosen)
        ids = torch.cat([ids.gather(1, parents[:, :, None].expand(-1, -1, length - 1)), tokens[:, :, None]], dim=2)
        state = state.reorder(parents)
        going = [
            row for row, sentence in enumerate(sentences) if not at_limit[row] and len(finished[sentence]) < beam_size
        ]
        if len(going) < len(sentences):
            sentences = [sentences[row] for row in going]
            kept = torch.tensor(going, dtype=torch.long, device=source.device)
            scores, ids, tokens = scores[kept], ids[kept], tokens[kept]
            memory, state = memory.keep(kept), state.keep(kept)
    return [
        sorted(hypotheses, key=lambda hypothesis: hypothesis.score, reverse=True)[:beam_size] for hypotheses in finished
    ]


def _continuations(logits: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of </s> (B, K) and of the `count` best pieces that may follow (B, K, count), and these pieces.

    Writes over the logits (B, K, V): new memory would cost as much as what is done in it.
    """
    ending, forbidden = logits[:, :, EOS].clone(), logits[:, :, FORBIDDEN]
    logits[:, :, FORBIDDEN] = -torch.inf
    values, pieces = best_pieces(logits, count)
    logits[:, :, FORBIDDEN] = forbidden
    greatest = torch.maximum(values.amax(2), forbidden.amax(2))
    normaliser = logits.sub_(greatest[:, :, None]).exp_().sum(2).log_().add_(greatest)  # (B, K)
    return ending - normaliser, values - normaliser[:, :, None], pieces


def best_pieces(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` greatest of logits (B, K, V), or all V if there are no more, and their pieces; in no order.

    They stand in the `count` groups whose maxima are greatest, so only these are searched: half the time of top-k over
    8,000 pieces.
    """
    groups = logits.shape[2] // GROUP_SIZE
    if groups <= count:
        return logits.topk(min(count, logits.shape[2]), sorted=False)
    # A group is every so many pieces, so that its maximum is that of rows, which is faster than within a row.
    grouped = logits[:, :, : groups * GROUP_SIZE].unflatten(2, (GROUP_SIZE, groups))
    chosen = grouped.amax(2).topk(count, sorted=False).indices[:, :, None]  # (B, K, 1, count)
    values = grouped.gather(3, chosen.expand(-1, -1, GROUP_SIZE, -1)).flatten(2)
    pieces = (chosen + torch.arange(0, groups * GROUP_SIZE, groups, device=logits.device)[:, None]).flatten(2)
    rest = torch.arange(groups * GROUP_SIZE, logits.shape[2], device=logits.device)  # too few for a group each
    best, where = torch.cat([values, logits[:, :, groups * GROUP_SIZE :]], dim=2).topk(count, sorted=False)
    return best, torch.cat([pieces, rest.expand(*pieces.shape[:2], -1)], dim=2).gather(2, where)
