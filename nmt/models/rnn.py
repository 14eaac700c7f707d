"""Bahdanau's encoder-decoder: a bidirectional GRU read by a GRU with additive attention (Bahdanau et al. 2015)."""

from collections.abc import Sequence
from typing import cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.config import RNNConfig
from nmt.models.attention import AdditiveAttention
from nmt.models.base import Extraction, Memory, Seq2Seq, State, lengths_of
from nmt.models.layers import BidirectionalGRU, Dropout, Embeddings, WordDropout, gru_cell, real_positions


@final
class RNN(Seq2Seq):
    """Bahdanau et al. 2015, appendix A, for any depth.

    Where it differs from the paper: the GRU cell is `nn.GRU`'s, whose reset gate is applied after the state's
    product (see `gru_cell`); the output layer reads the new state s_i, as the paper's section 3.1 has it, not s_{i-1}
    as its A.2.2; its maxout layer is as wide as an embedding, so that the two can be tied; dropout.
    Layers of the decoder beyond the first are plain GRUs on top of it. Without attention the context of every step is
    the encoder's last state in each direction.
    """

    def __init__(self, config: RNNConfig, source_size: int, target_size: int, *, joint: bool) -> None:
        super().__init__()
        width, size, context = config.embedding_size, config.decoder_size, 2 * config.encoder_size
        self.embeddings = Embeddings(source_size, target_size, width, tied=config.tied_embeddings, joint=joint)
        self.encoder = nn.ModuleList(
            BidirectionalGRU(width if layer == 0 else context, config.encoder_size)
            for layer in range(config.encoder_layers)
        )
        self.attend = (
            AdditiveAttention(size, context, config.attention_size, config.attention_dropout)
            if config.attention == "additive"
            else None
        )
        self.initial = nn.ModuleList(nn.Linear(config.encoder_size, size) for _ in range(config.decoder_layers))
        # The first decoder layer's input is the previous word and the context; kept apart, the words' part of all
        # steps is one product.
        self.word_input = nn.Linear(width, 3 * size)
        self.context_input = nn.Linear(context, 3 * size, bias=False)
        self.upper_inputs = nn.ModuleList(nn.Linear(size, 3 * size) for _ in range(config.decoder_layers - 1))
        self.recurrent = nn.ModuleList(nn.Linear(size, 3 * size) for _ in range(config.decoder_layers))
        self.deep_state = nn.Linear(size, 2 * width)
        self.deep_word = nn.Linear(width, 2 * width, bias=False)
        self.deep_context = nn.Linear(context, 2 * width, bias=False)
        self.dropout, self.word_dropout = Dropout(config.dropout), WordDropout(config.word_dropout)
        self.attention_layers, self.attention_heads = 0 if self.attend is None else 1, 1
        self.default_extraction = None if self.attend is None else Extraction(layer=0)
        for recurrent in self.recurrent:  # A.2.3: recurrent matrices start orthogonal
            for part in cast(nn.Linear, recurrent).weight.detach().split(size):
                nn.init.orthogonal_(part)

    @property
    def output(self) -> tuple[Tensor, Tensor]:
        return self.embeddings.output_weight, self.embeddings.output_bias

    def encode(self, source: Tensor) -> Memory:
        mask = real_positions(source)
        states = self.dropout(self.word_dropout(self.embeddings.source(source)))
        for index, layer in enumerate(self.encoder):
            states = layer(states if index == 0 else self.dropout(states), mask)  # (B, S, 2E)
        states = self.dropout(states)
        if self.attend is None:
            return Memory(states, mask, (), ())
        return Memory(states, mask, (), (self.attend.keys(states).unsqueeze(1),))

    def decode(self, memory: Memory, target_in: Tensor, weights: Tensor | None = None) -> Tensor:
        words, states, contexts, _ = self._unroll(memory, target_in, weights)
        return self._deep_output(states, words, contexts)

    def attention(self, memory: Memory, target_in: Tensor, layers: Sequence[int]) -> Tensor:
        *_, weights = self._unroll(memory, target_in, None)  # (B, T, S)
        return weights[:, None, None].expand(-1, len(layers), -1, -1, -1)  # (B, L, 1, T, S)

    def value_products(self, memory: Memory, layers: Sequence[int]) -> Tensor:
        # The context enters the new state and the output, through a matrix each.
        carried = torch.cat([self.context_input(memory.states), self.deep_context(memory.states)], dim=2)  # (B, S, ·)
        squares = torch.linalg.vecdot(carried, carried)  # (B, S)
        return squares[:, None, :, None, None].expand(-1, len(layers), -1, -1, -1)

    def initial_state(self, memory: Memory) -> State:
        # The backward encoder state at the first word has read the whole source (A.2.2).
        first = memory.states[:, 0, memory.states.shape[2] // 2 :]
        carried = tuple(torch.tanh(project(first))[:, None] for project in self.initial)  # each (B, 1, D)
        nothing = torch.ones(len(first), 1, 0, dtype=torch.bool, device=first.device)
        return State(carried, (), nothing, [0] * len(first))

    def step(self, memory: Memory, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        words = self.embeddings.target(tokens)  # (B, K, width)
        weights = self._weights(memory, state.carried)
        context = self._context(memory, weights, tokens.shape[1])
        carried = self._advance(self.word_input(words), context, state.carried)
        logits = F.linear(self._deep_output(carried[-1], words, context), *self.output)
        return logits, State(carried, (), state.visible, [length + 1 for length in state.lengths])

    def _unroll(
        self, memory: Memory, target_in: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Embeddings of words (B, T, ·), states (B, T, D), contexts (B, T, 2E), and attention (B, T, S)."""
        words = self.dropout(self.word_dropout(self.embeddings.target(target_in)))  # (B, T, width)
        # Cut once: a slice at each time would, backwards, fill and add a tensor of all times at each time.
        from_words = self.word_input(words).split(1, dim=1)  # T of (B, 1, 3D)
        carried = self.initial_state(memory).carried
        states, contexts, used = [], [], []
        for time, from_word in enumerate(from_words):
            now = self._weights(memory, carried) if weights is None else weights[:, 0, :, time]  # (B, 1, S)
            context = self._context(memory, now, 1)
            carried = self._advance(from_word, context, carried)
            states.append(carried[-1])
            contexts.append(context)
            used.append(now)
        return words, torch.cat(states, dim=1), torch.cat(contexts, dim=1), torch.cat(used, dim=1)

    def _weights(self, memory: Memory, carried: tuple[Tensor, ...]) -> Tensor:
        """(B, K, S) what each hypothesis looks at next; queried by the state before the step."""
        if self.attend is None:
            return memory.states.new_zeros(*carried[0].shape[:2], memory.states.shape[1])
        weights: Tensor = self.attend(carried[0], memory.values[0].squeeze(1), memory.mask)
        return weights

    def _context(self, memory: Memory, weights: Tensor, hypotheses: int) -> Tensor:
        """(B, K, 2E) what is read by the weights (B, K, S)."""
        if self.attend is not None:
            return weights @ memory.states
        half = memory.states.shape[2] // 2
        last = lengths_of(memory.mask) - 1
        forwards = memory.states[torch.arange(len(last), device=last.device), last, :half]
        context = torch.cat([forwards, memory.states[:, 0, half:]], dim=1)  # (B, 2E)
        return context[:, None].expand(-1, hypotheses, -1)

    def _advance(self, from_word: Tensor, context: Tensor, carried: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The states (B, K, D) of all layers after a word's input (B, K, 3D) and a context (B, K, 2E)."""
        from_input = from_word + self.context_input(context)
        advanced: list[Tensor] = []
        for layer, state in enumerate(carried):
            if layer:
                from_input = self.upper_inputs[layer - 1](self.dropout(advanced[-1]))
            advanced.append(gru_cell(from_input, self.recurrent[layer](state), state))
        return tuple(advanced)

    def _deep_output(self, states: Tensor, words: Tensor, contexts: Tensor) -> Tensor:
        """(B, ·, D) the maxout layer before the output (A.2.2)."""
        mixed = self.deep_state(self.dropout(states)) + self.deep_word(words) + self.deep_context(contexts)
        pairs: Tensor = mixed.unflatten(-1, (-1, 2)).amax(-1)
        return self.dropout(pairs)
