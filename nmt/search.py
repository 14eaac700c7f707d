"""Batched beam search; greedy is beam 1. It sees ids, scores and hypotheses, and no model but through its contract."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.models.base import Seq2Seq
from nmt.subwords import BOS, EOS, PAD, SEP, UNK

# Pieces that no translation consists of. They are masked after the log-softmax, without renormalising, so that a
# hypothesis' log-probability is the one that scoring its ids gives.
FORBIDDEN = (PAD, BOS, UNK, SEP)


@dataclass(frozen=True)
class Hypothesis:
    """A translation of one sentence, as ids."""

    ids: list[int]  # without <s> and </s>
    log_probability: float  # nats, </s> counted
    score: float  # log-probability / (len(ids) + 1) ** length_penalty


@torch.no_grad()
def beam_search(
    model: Seq2Seq, source: Tensor, max_lengths: Tensor, *, beam_size: int, length_penalty: float
) -> list[list[Hypothesis]]:
    """For each sentence its finished hypotheses, the best first; at least one, at most beam_size.

    source: (B, S) ids. max_lengths: (B,) pieces, </s> counted, at least 1; at that length </s> is forced. A sentence is
    done when beam_size hypotheses ended among the best beam_size candidates of a step; it then leaves the batch.
    """
    memory = model.encode(source)
    state = model.initial_state(memory)
    sentences = torch.arange(len(source), device=source.device)  # (B,) which sentence each row is
    finished: list[list[Hypothesis]] = [[] for _ in range(len(source))]
    scores = source.new_zeros((len(source), 1), dtype=memory.states.dtype)  # (B, K) log-probabilities of live ones
    ids = source.new_zeros((len(source), 1, 0))  # (B, K, t)
    tokens = torch.full_like(scores, BOS, dtype=torch.long)  # (B, K)
    length = 0
    while len(sentences):
        logits, state = model.step(memory, state, tokens)
        length += 1
        totals = _totals(logits, scores, length >= max_lengths)  # (B, K, V)
        vocabulary = totals.shape[2]
        # Of twice as many candidates as live hypotheses at least half do not end, as each live one ends in one way.
        best, where = totals.flatten(1).topk(min(2 * beam_size, totals[0].numel()))  # (B, C)
        parents, pieces = where // vocabulary, where % vocabulary
        ends = pieces == EOS

        among_best = ends & (torch.arange(best.shape[1], device=best.device) < beam_size) & best.isfinite()
        for row, candidate in among_best.nonzero().tolist():
            log_probability = float(best[row, candidate])
            finished[int(sentences[row])].append(
                Hypothesis(
                    ids[row, parents[row, candidate]].tolist(),
                    log_probability,
                    log_probability / length**length_penalty,
                )
            )

        scores, chosen = best.masked_fill(ends, -torch.inf).topk(min(beam_size, best.shape[1]))  # (B, K')
        parents, tokens = parents.gather(1, chosen), pieces.gather(1, chosen)
        ids = torch.cat([ids.gather(1, parents[:, :, None].expand(-1, -1, ids.shape[2])), tokens[:, :, None]], dim=2)
        state = state.reorder(parents)

        done = scores[:, 0].isneginf()  # nothing goes on
        for row, sentence in enumerate(sentences.tolist()):
            done[row] |= len(finished[sentence]) >= beam_size
        if done.any():
            going = (~done).nonzero()[:, 0]
            sentences, scores, ids, tokens = sentences[going], scores[going], ids[going], tokens[going]
            max_lengths, memory, state = max_lengths[going], memory.keep(going), state.keep(going)
    return [
        sorted(hypotheses, key=lambda hypothesis: hypothesis.score, reverse=True)[:beam_size] for hypotheses in finished
    ]


def _totals(logits: Tensor, scores: Tensor, at_limit: Tensor) -> Tensor:
    """(B, K, V) log-probabilities of every continuation; -inf where forbidden, and but for </s> at the limit."""
    totals = logits.to(scores.dtype).log_softmax(-1) + scores[:, :, None]
    totals[:, :, list(FORBIDDEN)] = -torch.inf
    ending = totals[:, :, EOS].clone()
    totals.masked_fill_(at_limit[:, None, None], -torch.inf)
    totals[:, :, EOS] = ending
    return totals
