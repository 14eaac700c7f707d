"""Floating-point operations that real tokens need."""

from torch import Tensor

from nmt.config import RNNConfig, TransformerConfig


def training_flops(model: TransformerConfig | RNNConfig, vocabulary: int, lengths: Tensor) -> float:
    """Operations of forward and backward pass over pairs of real source and target tokens, `lengths` (pairs, 2).

    Matrix products alone: of the model's parameters, of attention, and of the output layer; what padding costs is not
    counted, nor sines, softmaxes, norms, dropout, the optimiser. A product of (m, k) and (k, n) takes 2mkn operations,
    and its backward pass two such products: 3 × forward. Lengths count </s>, and the target's positions are those that
    are predicted. `vocabulary` counts the target's pieces.
    """
    source, target = lengths.double().T
    match model:
        case TransformerConfig():
            products = _transformer(model, source, target) + target * model.size * vocabulary
        case RNNConfig():
            products = _rnn(model, source, target) + target * model.embedding_size * vocabulary
    return 3 * 2 * float(products.sum())


def _transformer(model: TransformerConfig, source: Tensor, target: Tensor) -> Tensor:
    """(pairs,) multiplications of a pair.

    A position costs 4D² in an attention's four projections and 2DF in a feed-forward layer; a query that sees n keys
    costs 2nD. A target position sees those up to itself.
    """
    width, feed_forward = model.size, 2 * model.size * model.feed_forward_size
    encoder = source * (4 * width**2 + feed_forward) + 2 * source**2 * width
    own = target * 4 * width**2 + target * (target + 1) * width
    cross = (source + target) * 2 * width**2 + 2 * source * target * width
    return model.encoder_layers * encoder + model.decoder_layers * (own + cross + target * feed_forward)


def _rnn(model: RNNConfig, source: Tensor, target: Tensor) -> Tensor:
    """(pairs,) multiplications of a pair.

    A GRU of width D costs 3D × (input + D) a position; additive attention of width A a projection of each source and
    each target position, A for each score and the width of what it reads.
    """
    width, encoder, decoder = model.embedding_size, model.encoder_size, model.decoder_size
    context = 2 * encoder
    inputs = width + (model.encoder_layers - 1) * context
    read = source * 2 * 3 * encoder * (inputs + model.encoder_layers * encoder)
    started = model.decoder_layers * encoder * decoder
    above = (model.decoder_layers - 1) * 2 * decoder
    written = target * 3 * decoder * (width + context + decoder + above)
    deep = target * 2 * width * (decoder + width + context)
    attention = source * 0
    if model.attention == "additive":
        hidden = model.attention_size
        attention = (source * context + target * decoder) * hidden + source * target * (hidden + context)
    return read + started + written + deep + attention
