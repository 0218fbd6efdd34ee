"""The little that the conformance suite does not say about convolutions, feed-forward layers and topology."""

import pytest
import torch

from spaces.blocks.base import linear, state_bytes
from spaces.blocks.conv import GatedConv
from spaces.blocks.mlp import MLP
from spaces.blocks.topology import Parallel, Residual, Stack


def test_kernel_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel 0 is below 1"):
        GatedConv(8, kernel=0)


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown activation 'relu': use 'gelu' or 'relu2'"):
        MLP(8, mult=2, activation="relu")  # type: ignore[arg-type]


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
