"""The operations that the benchmark of training counts are those that a model does on pairs without padding."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nmt.models import build_model
from tests.bench.flops import training_flops
from tests.conftest import CONFIGS, VOCABULARY


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("lengths", [(18, 16), (16, 19)])  # the CPU pads shorter ones
def test_operations_are_those_of_the_products_of_one_pair(name, lengths):
    config = CONFIGS[name]
    source, target = lengths
    model = build_model(config, VOCABULARY, VOCABULARY, joint=True)
    # The counter does not see into the fused kernel of the CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        features = model(torch.full((1, source), 5), torch.full((1, target), 5))
        F.linear(features, *model.output)
    counted = 3 * counter.get_total_flops()
    if config.kind == "transformer":  # what causal attention masks is computed there, but not needed
        unseen = target**2 - target * (target + 1) / 2
        counted -= 3 * 2 * config.decoder_layers * 2 * unseen * config.size
    assert training_flops(config, VOCABULARY, torch.tensor([lengths])) == counted
