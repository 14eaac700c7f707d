"""What several tests share: small models of both kinds, and batches with padding."""

import pytest
import torch

from nmt.batching import make_batch
from nmt.config import RNNConfig, TransformerConfig
from nmt.models import build_model
from nmt.models.base import Seq2Seq
from nmt.subwords import PAD

VOCABULARY = 23  # first free id: 5

CONFIGS = {
    "rnn": RNNConfig(kind="rnn", embedding_size=10, encoder_size=6, decoder_size=14, attention_size=8),
    "deep-rnn": RNNConfig(
        kind="rnn",
        embedding_size=10,
        encoder_size=6,
        encoder_layers=2,
        decoder_size=14,
        decoder_layers=3,
        attention_size=8,
        tied_embeddings=False,
    ),
    "rnn-without-attention": RNNConfig(
        kind="rnn", embedding_size=10, encoder_size=6, decoder_size=14, attention="none"
    ),
    "transformer": TransformerConfig(
        kind="transformer", size=12, feed_forward_size=20, heads=3, encoder_layers=2, decoder_layers=2
    ),
    "post-norm-transformer": TransformerConfig(
        kind="transformer",
        size=12,
        feed_forward_size=20,
        heads=2,
        encoder_layers=1,
        decoder_layers=3,
        norm="post",
        tied_embeddings=False,
    ),
}


def make_model(name: str) -> Seq2Seq:
    """A model in float64 and evaluation mode, PAD's embeddings large and random so that no use of them goes unseen."""
    torch.manual_seed(3)
    model = build_model(CONFIGS[name], VOCABULARY, VOCABULARY, joint=True).double().eval()
    with torch.no_grad():
        for embedding in dict.fromkeys([model.embeddings.source, model.embeddings.target]):
            embedding.weight[PAD] = 100 * torch.randn(embedding.embedding_dim)
    return model


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> Seq2Seq:
    return make_model(request.param)


@pytest.fixture(params=[name for name in CONFIGS if name != "rnn-without-attention"])
def attentive(request: pytest.FixtureRequest) -> Seq2Seq:
    """A model with attention."""
    return make_model(request.param)


def random_pairs(lengths: list[tuple[int, int]], seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
    generator = torch.Generator().manual_seed(seed)

    def ids(length: int) -> list[int]:
        return torch.randint(5, VOCABULARY, (length,), generator=generator).tolist()

    return [ids(source) for source, _ in lengths], [ids(target) for _, target in lengths]


LENGTHS = [(4, 6), (7, 3), (1, 1), (5, 0), (2, 8)]


@pytest.fixture
def pairs() -> tuple[list[list[int]], list[list[int]]]:
    """Ids of pairs of unlike lengths, one with an empty target."""
    return random_pairs(LENGTHS)


@pytest.fixture
def batch(pairs):
    return make_batch(*pairs, torch.arange(len(LENGTHS)))
