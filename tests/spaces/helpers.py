"""What tests of spaces share."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from spaces import InvalidGenome, InvalidSpace


def draws(space, number, seed=0):
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(number)]


def refusal(call, *arguments, **options):
    """What the error says of a genome or of the use of a space."""
    with pytest.raises((InvalidGenome, InvalidSpace)) as error:
        call(*arguments, **options)
    return str(error.value)


def check_cost(space, genome, samples, outputs):
    """The network of a genome has the parameters that its cost tells, and takes the FLOPs: of each of the samples."""
    model, cost = space.build(genome).eval(), space.cost(genome)
    assert cost.parameters == cost.active_parameters == sum(p.numel() for p in model.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        assert model(samples).shape == (len(samples), outputs)
    assert len(samples) * cost.flops_per_token == counter.get_total_flops()
    assert cost.state_bytes == 0
