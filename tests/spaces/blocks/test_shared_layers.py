"""Layers that run several times with the same weights, through the conformance suite of blocks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from spaces.blocks.attention import Attention
from spaces.blocks.base import total_aux_loss
from spaces.blocks.costs import COSTS, Cost
from spaces.blocks.mamba import Mamba2
from spaces.blocks.moe import MoE
from spaces.blocks.reference.attention import attention
from spaces.blocks.reference.mamba import mamba2
from spaces.blocks.reference.moe import moe
from spaces.blocks.reference.sharing import parallel_streams, shared
from spaces.blocks.sharing import ParallelStreams, Shared
from spaces.blocks.testing import CHECKS, BlockCase
from spaces.blocks.topology import Residual, Stack

WIDTH = 16
AT = SimpleNamespace(width=WIDTH)
ATTENTION = {"heads": 2, "kv_heads": 1, "position": "rope", "window": 24}
MAMBA = {"state": 4, "expand": 1, "head_dim": 8}
EXPERTS = {"experts": 4, "top_k": 2, "mult": 1}


def make_group() -> Stack:
    return Stack([Residual(WIDTH, Attention(WIDTH, **ATTENTION)), Residual(WIDTH, MoE(WIDTH, **EXPERTS))])


def group(block: Stack, x_BLD: Tensor) -> Tensor:
    for layer, twin in zip(block.blocks, (attention, moe), strict=True):
        x_BLD = x_BLD + twin(layer.blocks[0], layer.norm(x_BLD))
    return x_BLD


def group_cost(context: int) -> Cost:
    inside = COSTS["attention"](AT, context, **ATTENTION) + COSTS["moe"](AT, context, **EXPERTS)
    return inside + COSTS["residual"](AT, context).times(2)


def mamba_cost(context: int) -> Cost:
    return COSTS["mamba2"](AT, context, **MAMBA)


def case(name: str, choice: str, runs: int, make: Callable, twin: Callable, cost: Callable) -> BlockCase:
    kind, slow = {"passes": (Shared, shared), "streams": (ParallelStreams, parallel_streams)}[choice]
    own = COSTS[slow.__name__]
    given = () if kind is Shared else (WIDTH,)
    return BlockCase(
        name,
        lambda: kind(*given, make(), **{choice: runs}),
        lambda block, x_BLD: slow(block, x_BLD, twin),
        lambda context: own(AT, context, **{choice: runs}) + cost(context).run(runs),
        WIDTH,
    )


CASES = [
    case("passes of attention and experts", "passes", 2, make_group, group, group_cost),
    case("passes of Mamba-2", "passes", 3, lambda: Mamba2(WIDTH, **MAMBA), mamba2, mamba_cost),
    case("streams of attention and experts", "streams", 2, make_group, group, group_cost),
    case("streams of Mamba-2", "streams", 3, lambda: Mamba2(WIDTH, **MAMBA), mamba2, mamba_cost),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_block(case: BlockCase, check: Callable[[BlockCase], None]) -> None:
    check(case)


def test_the_losses_of_all_passes_count() -> None:
    torch.manual_seed(0)
    block = Shared(Residual(WIDTH, MoE(WIDTH, **EXPERTS)), passes=3).double()
    x = torch.randn(2, 20, WIDTH, dtype=torch.float64)
    block(x)
    losses, y = [], x
    found = total_aux_loss(block)
    for _ in range(3):
        y, _ = block.layer(y)
        losses.append(total_aux_loss(block.layer))
    torch.testing.assert_close(found, torch.stack(losses).mean(), rtol=1e-12, atol=0)
    block.eval()(x)
    assert total_aux_loss(block) is None


def test_streams_differ_from_the_start() -> None:
    torch.manual_seed(0)
    block = ParallelStreams(WIDTH, Mamba2(WIDTH, **MAMBA), streams=2)
    x = torch.randn(1, 5, WIDTH)
    first, second = (
        block.layer(x * scale + shift)[0] for scale, shift in zip(block.scale, block.shift, strict=True)
    )
    assert (first - second).norm() > 0.05 * first.norm()


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="passes 0 is below 1"):
        Shared(Mamba2(WIDTH, **MAMBA), passes=0)
    with pytest.raises(ValueError, match="streams 0 is below 1"):
        ParallelStreams(WIDTH, Mamba2(WIDTH, **MAMBA), streams=0)
