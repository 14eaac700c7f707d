"""What several tests share: small models of both kinds, batches with padding, and a place to give commands in."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from nmt.batching import make_batch
from nmt.cli import main
from nmt.config import RNNConfig, TransformerConfig
from nmt.models import build_model
from nmt.models.base import Seq2Seq
from nmt.models.ensemble import Ensemble
from nmt.subwords import PAD
from tests.place import MODELS, Outcome, Place, write_corpus

if TYPE_CHECKING:
    from playwright.sync_api import Browser

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
        attention_dropout=0.3,
        word_dropout=0.3,
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
    "learned-positions": TransformerConfig(
        kind="transformer",
        size=15,
        feed_forward_size=20,
        heads=3,
        encoder_layers=2,
        decoder_layers=2,
        activation="gelu",
        positions="learned",
        max_positions=100,
        attention_dropout=0.3,
        word_dropout=0.3,
    ),
}


def make_model(name: str) -> Seq2Seq:
    """A model in float64 and evaluation mode, PAD's embeddings large and random so that no use of them goes unseen."""
    if name == "ensemble":
        return Ensemble([make_model(member) for member in ("transformer", "deep-rnn", "rnn-without-attention")]).eval()
    torch.manual_seed(3)
    model = build_model(CONFIGS[name], VOCABULARY, VOCABULARY, joint=True).double().eval()
    with torch.no_grad():
        for embedding in dict.fromkeys([model.embeddings.source, model.embeddings.target]):
            embedding.weight[PAD] = 100 * torch.randn(embedding.embedding_dim)
    return model


@pytest.fixture(params=[*CONFIGS, "ensemble"])
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


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """All three models, trained by one command."""
    path = tmp_path_factory.mktemp("place")
    write_corpus(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setenv("NMT_CACHE", str(path / "cache"))
        assert main(["train", *(f"{name}.toml" for name in MODELS)]) == 0
        yield Place(path)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with a corpus and configs, to train in."""
    write_corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NMT_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def give(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A command in this process."""

    def given(*words: str, stdin: Path | None = None) -> Outcome:
        capfd.readouterr()
        try:
            if stdin:
                with open(stdin) as file:
                    monkeypatch.setattr(sys, "stdin", file)
                    code = main(list(words))
            else:
                code = main(list(words))
        except SystemExit as stop:  # argparse's way
            assert isinstance(stop.code, int)
            code = stop.code
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return given


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium, for pages."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None and "CI" not in os.environ:  # a user without it still tests all else; CI must have it
        pytest.skip("pages are tested in Chromium, which is not installed: apt-get install chromium")
    assert path, "CI tests pages, so it must install Chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
