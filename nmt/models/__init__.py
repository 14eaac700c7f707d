"""The two models behind one contract."""

from nmt.config import RNNConfig, TransformerConfig
from nmt.models.base import Seq2Seq
from nmt.models.rnn import RNN
from nmt.models.transformer import Transformer


def build_model(config: RNNConfig | TransformerConfig, source_size: int, target_size: int, *, joint: bool) -> Seq2Seq:
    """An untrained model; its first weights are drawn from torch's default generator."""
    match config:
        case RNNConfig():
            return RNN(config, source_size, target_size, joint=joint)
        case TransformerConfig():
            return Transformer(config, source_size, target_size, joint=joint)
