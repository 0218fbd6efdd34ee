import pytest
import torch
import torch.nn.functional as F

from spaces.blocks.rg_lru import RGLRU


def test_initial_decays_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    decay = torch.exp(-8 * F.softplus(RGLRU(512, expand=1, heads=4).rate))
    assert decay.min() >= 0.8999
    assert decay.max() <= 0.9991
    assert 0.94 < decay.mean() < 0.96


def test_a_closed_gate_has_finite_gradients() -> None:
    """Where the gate rounds to zero, the decay is one and leaves no room for the input."""
    block = RGLRU(4, expand=1, heads=1)
    torch.nn.init.constant_(block.gate_bias, -200)
    x_BLD = torch.randn(1, 5, 4, requires_grad=True)
    block(x_BLD)[0].sum().backward()
    assert all(leaf.grad.isfinite().all() for leaf in (x_BLD, *block.parameters()))


def test_impossible_heads_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expand \* width = 32 is not a multiple of heads 5"):
        RGLRU(16, expand=2, heads=5)
