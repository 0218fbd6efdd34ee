"""Layers that run several times with the same weights, through the conformance suite of blocks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from spaces.blocks.attention import Attention
from spaces.blocks.base import state_bytes, total_aux_loss
from spaces.blocks.costs import COSTS
from spaces.blocks.cross_layer import CrossLayerAttention, Follower
from spaces.blocks.mamba import Mamba2
from spaces.blocks.moe import MoE
from spaces.blocks.reference.attention import attention
from spaces.blocks.reference.cross_layer import cross_layer_attention
from spaces.blocks.reference.mamba import mamba2
from spaces.blocks.reference.moe import moe
from spaces.blocks.reference.sharing import parallel_streams, shared
from spaces.blocks.sharing import ParallelStreams, Shared
from spaces.blocks.testing import BlockCase, survives_bfloat16
from spaces.blocks.topology import Residual, Stack
from spaces.cost import Cost
from tests.spaces.blocks.suite import suite

WIDTH = 16
AT = SimpleNamespace(width=WIDTH)
ATTENTION = {"heads": 2, "kv_heads": 1, "position": "rope", "window": 24}
MAMBA = {"state": 4, "expand": 1, "head_dim": 8}
EXPERTS = {"experts": 4, "top_k": 2, "mult": 1}


def make_group(width: int) -> Stack:
    return Stack([Residual(width, Attention(width, **ATTENTION)), Residual(width, MoE(width, **EXPERTS))])


def group(block: Stack, x_BLD: Tensor) -> Tensor:
    for layer, twin in zip(block.blocks, (attention, moe), strict=True):
        x_BLD = x_BLD + twin(layer.blocks[0], layer.norm(x_BLD))
    return x_BLD


def group_cost(context: int, norms: int = 1) -> Cost:
    inside = COSTS["attention"](AT, context, **ATTENTION) + COSTS["moe"](AT, context, **EXPERTS)
    return inside + COSTS["residual"](SimpleNamespace(width=WIDTH, norms=norms), context).times(2)


def mamba_cost(context: int) -> Cost:
    return COSTS["mamba2"](AT, context, **MAMBA)


def passes(
    name: str, number: int, make: Callable, twin: Callable, cost: Callable, templates: int = 1
) -> BlockCase:
    return BlockCase(
        name,
        lambda width: Shared([make(width) for _ in range(templates)], passes=number),
        lambda block, x_BLD: shared(block, x_BLD, twin),
        lambda context: (
            COSTS["shared"](AT, context, passes=number, templates=templates)
            + cost(context).run(number, templates)
        ),
        WIDTH,
    )


def passes_with_norms(number: int) -> BlockCase:
    """Groups whose passes have norms of their own, which here are far apart from the start."""

    def make(width: int) -> Shared:
        block = Shared([make_group(width)], passes=number, norms=True)
        for gain_D in block.norms.parameters():
            torch.nn.init.uniform_(gain_D, 0.5, 1.5)
        return block

    return BlockCase(
        "passes of attention and experts with norms of their own",
        make,
        lambda block, x_BLD: shared(block, x_BLD, group),
        lambda context: COSTS["shared"](AT, context, passes=number) + group_cost(context, number).run(number),
        WIDTH,
    )


def streams(name: str, number: int, make: Callable, twin: Callable, cost: Callable) -> BlockCase:
    return BlockCase(
        name,
        lambda width: ParallelStreams(width, make(width), streams=number),
        lambda block, x_BLD: parallel_streams(block, x_BLD, twin),
        lambda context: COSTS["parallel_streams"](AT, context, streams=number) + cost(context).run(number),
        WIDTH,
    )


def make_mamba(width: int) -> Mamba2:
    return Mamba2(width, **MAMBA)


def cross_layer(name: str, layers: int, **choices: object) -> BlockCase:
    """Cross-layer attention around groups, and its cost."""

    def cost(context: int) -> Cost:
        each = COSTS["follower"](AT, context) + group_cost(context)
        return COSTS["cross_layer_attention"](AT, context, **choices) + each.times(layers)

    return BlockCase(
        name,
        lambda width: CrossLayerAttention(
            width, [Follower(width, make_group(width)) for _ in range(layers)], **choices
        ),
        lambda block, x_BLD: cross_layer_attention(block, x_BLD, group),
        cost,
        WIDTH,
    )


CASES = [
    passes("passes of attention and experts", 2, make_group, group, group_cost),
    passes_with_norms(3),
    passes("passes of Mamba-2", 3, make_mamba, mamba2, mamba_cost),
    passes("templates of attention and experts", 3, make_group, group, group_cost, templates=2),
    passes("templates of Mamba-2", 2, make_mamba, mamba2, mamba_cost, templates=2),
    streams("streams of attention and experts", 2, make_group, group, group_cost),
    streams("streams of Mamba-2", 3, make_mamba, mamba2, mamba_cost),
    cross_layer("cross-layer attention", 1, heads=4, kv_heads=2, position="rope"),
    cross_layer("cross-layer attention, ALiBi", 2, heads=2, kv_heads=1, position="alibi"),
]


@pytest.mark.parametrize("case, check", suite(CASES))
def test_block(case: BlockCase, check: Callable[[BlockCase], None]) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_long_sequences_survive_bfloat16(case: BlockCase) -> None:
    survives_bfloat16(case, length=4096)


def test_the_losses_of_all_passes_count() -> None:
    torch.manual_seed(0)
    block = Shared([Residual(WIDTH, MoE(WIDTH, **EXPERTS))], passes=3).double()
    x = torch.randn(2, 20, WIDTH, dtype=torch.float64)
    block(x)
    losses, y = [], x
    found = total_aux_loss(block)
    for _ in range(3):
        y, _ = block.templates[0](y)
        losses.append(total_aux_loss(block.templates[0]))
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
        Shared([make_mamba(WIDTH)], passes=0)
    with pytest.raises(ValueError, match="streams 0 is below 1"):
        ParallelStreams(WIDTH, Mamba2(WIDTH, **MAMBA), streams=0)
    with pytest.raises(ValueError, match="there are 3 templates for 2 passes"):
        Shared([make_mamba(WIDTH) for _ in range(3)], passes=2)


def test_passes_begin_as_the_templates_in_turn() -> None:
    torch.manual_seed(0)
    block = Shared([make_mamba(WIDTH) for _ in range(2)], passes=3)
    x = torch.randn(1, 5, WIDTH)
    y = x
    for number in (0, 1, 0):
        y, _ = block.templates[number](y)
    torch.testing.assert_close(block(x)[0], y)


def test_followers_keep_no_keys() -> None:
    choices = {"heads": 4, "kv_heads": 2, "position": "rope"}
    layers = [Follower(WIDTH, Residual(WIDTH, MoE(WIDTH, **EXPERTS))) for _ in range(3)]
    block = CrossLayerAttention(WIDTH, layers, **choices)
    _, state = block(torch.randn(2, 10, WIDTH), block.init_state(2))
    assert state_bytes(state) == 2 * COSTS["attention"](AT, 10, **choices, window=None).state_bytes
