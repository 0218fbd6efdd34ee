"""The little that the conformance suite does not say about convolutions, feed-forward layers and topology."""

import pytest
import torch

from spaces.blocks.base import linear, state_bytes
from spaces.blocks.conv import GatedConv
from spaces.blocks.mlp import GLU, MLP
from spaces.blocks.topology import DeepNorm, Parallel, Residual, ReZero, Stack


def test_kernel_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel 0 is below 1"):
        GatedConv(8, kernel=0)


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown activation 'relu': use 'gelu' or 'relu2'"):
        MLP(8, mult=2, activation="relu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown activation 'silu': use 'sigmoid', 'relu' or 'gelu'"):
        GLU(8, mult=2, activation="silu")  # type: ignore[arg-type]


def test_rezero_begins_as_nothing_and_deep_norm_as_its_input() -> None:
    torch.manual_seed(0)
    x_BLD = torch.randn(1, 5, 8)
    assert not ReZero(GatedConv(8, kernel=2))(x_BLD)[0].any()
    normed_BLD = torch.nn.functional.layer_norm(x_BLD, (8,))
    far_BLD, near_BLD = (DeepNorm(8, GatedConv(8, kernel=2), alpha=alpha)(x_BLD)[0] for alpha in (1, 100))
    assert (near_BLD - normed_BLD).abs().max() < 0.01 < (far_BLD - normed_BLD).abs().max()
    with pytest.raises(ValueError, match="alpha 0 must be above 0"):
        DeepNorm(8, GatedConv(8, kernel=2), alpha=0)


def test_projections_keep_the_variance() -> None:
    torch.manual_seed(0)
    layer = linear(400, 300)
    assert layer.bias is None
    assert layer(torch.randn(500, 400)).var().item() == pytest.approx(1, rel=0.05)


def test_states_nest_as_the_blocks_do() -> None:
    conv = GatedConv(8, kernel=3)
    model = Stack([Residual(8, conv), Parallel(8, [MLP(8, mult=1, activation="gelu"), conv])])
    state = model.init_state(2)
    assert [[part.past_BPC.shape for part in parts if part] for parts in state] == [[(2, 2, 8)], [(2, 2, 8)]]
    assert state_bytes(state) == 2 * (2 * 2 * 8 * 4)
    _, after = model(torch.randn(2, 5, 8), state)
    assert after[1][0] == ()
    assert after[1][1].past_BPC.abs().sum() > 0


def test_an_empty_stack_is_the_identity() -> None:
    x = torch.randn(1, 3, 8)
    assert torch.equal(Stack([])(x)[0], x)
    assert Stack([])(x, ())[1] == ()
