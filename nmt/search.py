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

# Sentences that are done leave the batch together, when they are so large a share of it: their going copies what the
# others need, their staying computes what nobody needs.
DONE_SHARE = 1 / 8

# On a CPU logits are made and searched for so many hypotheses at a time: few enough to stay in the cache, enough for
# a fast product. (A GPU has room for all, and each kernel costs as much as it does.)
ROWS_AT_A_TIME = 160

GROUP_SIZE = 25  # pieces that one maximum stands for in `best_pieces`


@dataclass(frozen=True)
class Hypothesis:
    """A translation of one sentence, as ids."""

    ids: list[int]  # without <s> and </s>
    log_probability: float  # nats, </s> counted
    score: float  # log-probability / (len(ids) + 1) ** length_penalty


@torch.inference_mode()
def beam_search(
    model: Seq2Seq, source: Tensor, max_lengths: Sequence[int], *, beam_size: int, length_penalty: float
) -> list[list[Hypothesis]]:
    """For each sentence its finished hypotheses, the best first; at least one, at most beam_size.

    source: (B, S) ids. max_lengths: B numbers of pieces, </s> counted, at least 1; at that length </s> is forced. A
    sentence is done when beam_size hypotheses ended among the best beam_size candidates of a step.
    """
    memory = model.encode(source).contiguous()
    state = model.initial_state(memory)
    weight, bias = model.output
    weight = weight.T.contiguous().T  # the layout that suits few rows: a fifth less time for the product
    hypotheses = len(source) * beam_size
    room = memory.states.new_empty(
        min(ROWS_AT_A_TIME, hypotheses) if source.device.type == "cpu" else hypotheses, len(weight)
    )
    sentences = list(range(len(source)))  # which sentence each row is
    finished: list[list[Hypothesis]] = [[] for _ in sentences]
    scores = memory.states.new_zeros(len(source), 1)  # (B, K) log-probabilities of live hypotheses
    ids = source.new_empty(len(source), 1, 0)  # (B, K, length)
    tokens = source.new_full((len(source), 1), BOS)  # (B, K)
    done: set[int] = set()
    length = 0

    def finish(rows: Tensor, parents: Tensor, log_probabilities: Tensor) -> None:
        """Add </s> to these hypotheses of these rows; rows of sentences that are done are left out."""
        found = zip(rows.tolist(), ids[rows, parents].tolist(), log_probabilities.tolist(), strict=True)
        for row, own, log_probability in found:
            if sentences[row] not in done:
                score = log_probability / length**length_penalty
                finished[sentences[row]].append(Hypothesis(own, log_probability, score))

    while sentences:
        features, state = model.step(memory, state, tokens)  # (B, K, D)
        length += 1
        # Of twice as many candidates as live hypotheses at least half do not end, as each live one ends in one way.
        ending, values, pieces = _continuations(features, weight, bias, room, 2 * beam_size)
        totals = (values + scores[:, :, None]).flatten(1)
        best, where = totals.topk(min(2 * beam_size, totals.shape[1]))  # (B, C)
        parents, pieces = where // values.shape[2], pieces.flatten(1).gather(1, where)
        ends = pieces == EOS

        at_limit = [row for row, sentence in enumerate(sentences) if max_lengths[sentence] == length]
        if at_limit:
            ends[at_limit] = False  # all of its hypotheses end, below
            rows = torch.tensor(at_limit, device=source.device)[:, None].expand(-1, scores.shape[1])
            rows, live = rows[scores[at_limit].isfinite()], scores[at_limit].isfinite().nonzero()[:, 1]
            finish(rows, live, (scores + ending)[rows, live])
        rows, candidates = (ends & best.isfinite())[:, :beam_size].nonzero(as_tuple=True)
        if len(rows):
            finish(rows, parents[rows, candidates], best[rows, candidates])
        done.update(sentences[row] for row in at_limit)
        done.update(sentence for sentence in sentences if len(finished[sentence]) >= beam_size)

        scores, chosen = best.masked_fill(ends, -torch.inf).topk(min(beam_size, best.shape[1]))  # (B, K')
        parents, tokens = parents.gather(1, chosen), pieces.gather(1, chosen)
        ids = torch.cat([ids.gather(1, parents[:, :, None].expand(-1, -1, length - 1)), tokens[:, :, None]], dim=2)
        state = state.reorder(parents)
        going = [row for row, sentence in enumerate(sentences) if sentence not in done]
        if len(sentences) - len(going) >= max(1, DONE_SHARE * len(sentences)) or not going:
            sentences = [sentences[row] for row in going]
            kept = torch.tensor(going, dtype=torch.long, device=source.device)
            scores, ids, tokens = scores[kept], ids[kept], tokens[kept]
            memory, state = memory.keep(kept), state.keep(kept)
    return [
        sorted(hypotheses, key=lambda hypothesis: hypothesis.score, reverse=True)[:beam_size] for hypotheses in finished
    ]


def _continuations(
    features: Tensor, weight: Tensor, bias: Tensor, room: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of </s> (B, K) and of the `count` best pieces that may follow (B, K, count), and these pieces.

    room: (rows at a time, V), written over: new memory for each time would cost as much as what is done in it.
    """
    found = []
    for rows in features.flatten(0, 1).split(len(room)):
        logits = torch.addmm(bias, rows, weight.T, out=room[: len(rows)])
        ending, forbidden = logits[:, EOS].clone(), logits[:, FORBIDDEN]
        logits[:, FORBIDDEN] = -torch.inf
        values, pieces = best_pieces(logits, count)
        logits[:, FORBIDDEN] = forbidden
        greatest = torch.maximum(values.amax(1), forbidden.amax(1))
        normaliser = logits.sub_(greatest[:, None]).exp_().sum(1).log_().add_(greatest)
        found.append((ending - normaliser, values - normaliser[:, None], pieces))
    ending, values, pieces = (torch.cat(parts).unflatten(0, features.shape[:2]) for parts in zip(*found, strict=True))
    return ending, values, pieces


def best_pieces(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` greatest of logits (N, V), or all V if there are no more, and their pieces; in no order.

    They stand in the `count` groups whose maxima are greatest, so only these are searched: half the time of top-k over
    8,000 pieces.
    """
    groups = logits.shape[1] // GROUP_SIZE
    if groups <= count:
        return logits.topk(min(count, logits.shape[1]), sorted=False)
    # A group is every so many pieces, so that its maximum is that of rows, which is faster than within a row.
    grouped = logits[:, : groups * GROUP_SIZE].unflatten(1, (GROUP_SIZE, groups))
    chosen = grouped.amax(1).topk(count, sorted=False).indices[:, None]  # (N, 1, count)
    values = grouped.gather(2, chosen.expand(-1, GROUP_SIZE, -1)).flatten(1)
    pieces = (chosen + torch.arange(0, groups * GROUP_SIZE, groups, device=logits.device)[:, None]).flatten(1)
    rest = torch.arange(groups * GROUP_SIZE, logits.shape[1], device=logits.device)  # too few for a group each
    best, where = torch.cat([values, logits[:, groups * GROUP_SIZE :]], dim=1).topk(count, sorted=False)
    return best, torch.cat([pieces, rest.expand(len(pieces), -1)], dim=1).gather(1, where)
