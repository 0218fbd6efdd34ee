"""Every block, in several settings, through the conformance suite."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from spaces.blocks.attention import Attention
from spaces.blocks.companion import CompanionSSM
from spaces.blocks.conv import GatedConv
from spaces.blocks.costs import COSTS
from spaces.blocks.delta import GatedDeltaNet
from spaces.blocks.differential import DifferentialAttention
from spaces.blocks.hierarchical_memory import HierarchicalMemory
from spaces.blocks.linear_attention import GatedLinearAttention, LinearAttention
from spaces.blocks.liquid import LTC, CfC
from spaces.blocks.long_conv import LongConv
from spaces.blocks.mamba import Mamba2
from spaces.blocks.memory import ProductKeyMemory
from spaces.blocks.mlp import GLU, MLP, SwiGLU
from spaces.blocks.moe import MoE
from spaces.blocks.reference.attention import attention
from spaces.blocks.reference.companion import companion_ssm
from spaces.blocks.reference.conv import gated_conv
from spaces.blocks.reference.delta import gated_delta_net
from spaces.blocks.reference.differential import differential_attention
from spaces.blocks.reference.hierarchical_memory import hierarchical_memory
from spaces.blocks.reference.linear_attention import gated_linear_attention, linear_attention
from spaces.blocks.reference.liquid import cfc, ltc
from spaces.blocks.reference.long_conv import long_conv
from spaces.blocks.reference.mamba import mamba2
from spaces.blocks.reference.memory import product_key_memory
from spaces.blocks.reference.mlp import glu, mlp, swiglu
from spaces.blocks.reference.moe import chunk_moe, expert_choice_moe, hashed_moe, moe, sinkhorn_moe
from spaces.blocks.reference.rg_lru import rg_lru
from spaces.blocks.reference.selective_ssm import mamba
from spaces.blocks.reference.spectral import einfft
from spaces.blocks.reference.state_space import s4, s4d, s5
from spaces.blocks.reference.toeplitz import gated_toeplitz
from spaces.blocks.reference.token_parameters import token_parameter_attention
from spaces.blocks.reference.workspace import workspace
from spaces.blocks.rg_lru import RGLRU
from spaces.blocks.routing import ChunkMoE, ExpertChoiceMoE, HashedMoE, SinkhornMoE
from spaces.blocks.s4 import S4
from spaces.blocks.selective_ssm import Mamba
from spaces.blocks.spectral import EinFFT
from spaces.blocks.state_space import S4D, S5
from spaces.blocks.testing import BlockCase, survives_bfloat16
from spaces.blocks.toeplitz import GatedToeplitz
from spaces.blocks.token_parameters import TokenParameterAttention
from spaces.blocks.topology import DeepNorm, LayerScale, Parallel, Residual, ReZero, Stack
from spaces.blocks.workspace import Workspace
from spaces.cost import Cost
from tests.spaces.blocks.suite import AT, WIDTH, case, suite


def expert_choice(**choices: Any) -> BlockCase:
    """Costs are told for as many experts a token as the inputs of the suite really use: its mean is a promise."""
    told = case(ExpertChoiceMoE, expert_choice_moe, **choices)

    def cost(context: int) -> Cost:
        block = told.build(torch.float32)
        used = block.router(told.inputs(1, context, torch.float32)) > block.thresholds()
        capacity = used.sum().item() / context
        return COSTS["expert_choice_moe"](AT, context, **{**choices, "capacity": capacity})

    return replace(told, cost=cost)


CONV, FEED = {"kernel": 3}, {"mult": 2}


def residual(block: Residual, x_BLD: Tensor) -> Tensor:
    return x_BLD + gated_conv(block.blocks[0], block.norm(x_BLD))


def parallel(block: Parallel, x_BLD: Tensor) -> Tensor:
    normed = block.norm(x_BLD)
    return x_BLD + gated_conv(block.blocks[0], normed) + swiglu(block.blocks[1], normed)


def stack(block: Stack, x_BLD: Tensor) -> Tensor:
    return parallel(block.blocks[1], residual(block.blocks[0], x_BLD))


def layer_scale(block: LayerScale, x_BLD: Tensor) -> Tensor:
    return block.scale * gated_conv(block.body, x_BLD)


def rezero(block: ReZero, x_BLD: Tensor) -> Tensor:
    return block.scale * gated_conv(block.body, x_BLD)


def deep_norm(block: DeepNorm, x_BLD: Tensor) -> Tensor:
    sum_BLD = block.alpha * x_BLD + block.gain * gated_conv(block.body, x_BLD)
    centred_BLD = sum_BLD - sum_BLD.mean(dim=-1, keepdim=True)
    scale_BL1 = (centred_BLD.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
    return centred_BLD / scale_BL1 * block.norm.weight + block.norm.bias


def make_rezero(width: int) -> ReZero:
    """Opened, as it would be after a step."""
    block = ReZero(GatedConv(width, **CONV))
    torch.nn.init.constant_(block.scale, 0.5)
    return block


def make_residual(width: int) -> Residual:
    return Residual(width, GatedConv(width, **CONV))


def make_parallel(width: int) -> Parallel:
    return Parallel(width, [GatedConv(width, **CONV), SwiGLU(width, **FEED)])


def residual_cost(context: int) -> Any:
    return COSTS["residual"](AT, context) + COSTS["gated_conv"](AT, context, **CONV)


def parallel_cost(context: int) -> Any:
    return residual_cost(context) + COSTS["swiglu"](AT, context, **FEED)


CASES = [
    case(Attention, attention, heads=2, kv_heads=2, position="rope", window=None),
    case(Attention, attention, heads=4, kv_heads=2, position="rope", window=24),
    case(Attention, attention, heads=4, kv_heads=1, position="alibi", window=None),
    case(Attention, attention, heads=4, kv_heads=2, position="alibi", window=64),
    case(Attention, attention, heads=1, kv_heads=1, position="none", window=1000),
    case(Attention, attention, heads=2, kv_heads=1, position="none", window=1),
    case(Mamba, mamba, state=4, expand=2, init="decaying"),
    case(Mamba, mamba, state=16, expand=1, init="mimetic"),
    case(Attention, attention, heads=4, kv_heads=2, position="rope", window=24, qk_norm=True),
    case(DifferentialAttention, differential_attention, heads=2, kv_heads=2, position="rope", window=None),
    case(DifferentialAttention, differential_attention, heads=4, kv_heads=2, position="rope", window=24),
    case(DifferentialAttention, differential_attention, heads=4, kv_heads=2, position="alibi", window=None),
    case(DifferentialAttention, differential_attention, heads=2, kv_heads=1, position="none", window=1),
    case(LinearAttention, linear_attention, heads=1),
    case(LinearAttention, linear_attention, heads=4),
    case(GatedLinearAttention, gated_linear_attention, heads=1),
    case(GatedLinearAttention, gated_linear_attention, heads=4),
    case(GatedDeltaNet, gated_delta_net, heads=1, expand=1),
    case(GatedDeltaNet, gated_delta_net, heads=4, expand=2),
    case(Mamba2, mamba2, state=8, expand=1, head_dim=4),
    case(Mamba2, mamba2, state=4, expand=2, head_dim=32),
    case(Mamba2, mamba2, state=8, expand=2, head_dim=8, init="mimetic"),
    case(RGLRU, rg_lru, expand=1, heads=4),
    case(RGLRU, rg_lru, expand=2, heads=1),
    case(S4, s4, state=2),
    case(S4, s4, state=16),
    case(S4D, s4d, state=8, init="lin"),
    case(S4D, s4d, state=16, init="inv"),
    case(S4D, s4d, state=5, init="real"),
    case(S4D, s4d, state=8, init="legs"),
    case(S4D, s4d, state=8, init="lin", rate="stable"),
    case(S4D, s4d, state=5, init="real", rate="stable"),
    case(CompanionSSM, companion_ssm, state=1),
    case(CompanionSSM, companion_ssm, state=24),
    case(S5, s5, state=8),
    case(S5, s5, state=8, rate="stable"),
    case(S5, s5, state=32),
    case(LTC, ltc, expand=1, steps=1),
    case(LTC, ltc, expand=2, steps=3),
    case(CfC, cfc, mult=1),
    case(CfC, cfc, mult=2.5),
    case(LongConv, long_conv, hidden=8, span=64),
    case(LongConv, long_conv, hidden=4, span=1000),
    case(GatedToeplitz, gated_toeplitz, expand=2, hidden=8, span=64),
    case(GatedToeplitz, gated_toeplitz, expand=1, hidden=4, span=100),
    case(TokenParameterAttention, token_parameter_attention, tokens=5),
    case(TokenParameterAttention, token_parameter_attention, tokens=24),
    case(Workspace, workspace, slots=3, chunk=16),
    case(Workspace, workspace, slots=4, chunk=100),
    case(GatedConv, gated_conv, kernel=1),
    case(GatedConv, gated_conv, kernel=4),
    case(SwiGLU, swiglu, mult=8 / 3),
    case(GLU, glu, mult=2, activation="sigmoid"),
    case(GLU, glu, mult=1, activation="relu"),
    case(GLU, glu, mult=8 / 3, activation="gelu"),
    case(MLP, mlp, mult=4, activation="gelu"),
    case(MLP, mlp, mult=2, activation="relu2"),
    case(EinFFT, einfft, blocks=1),
    case(EinFFT, einfft, blocks=4),
    case(MoE, moe, experts=8, top_k=1, mult=1),
    case(MoE, moe, experts=8, top_k=2, mult=0.5),
    case(MoE, moe, experts=4, top_k=4, mult=1),
    case(MoE, moe, experts=4, top_k=1, mult=0.5, shared=2),
    expert_choice(experts=8, capacity=2, mult=1),
    expert_choice(experts=4, capacity=1, mult=0.5, shared=1),
    case(SinkhornMoE, sinkhorn_moe, experts=8, mult=1),
    case(SinkhornMoE, sinkhorn_moe, experts=4, mult=0.5, shared=1),
    case(HashedMoE, hashed_moe, experts=8, mult=1),
    case(HashedMoE, hashed_moe, experts=2, mult=0.5, shared=1),
    case(ChunkMoE, chunk_moe, experts=8, top_k=2, mult=1, chunk=16),
    case(ChunkMoE, chunk_moe, experts=4, top_k=1, mult=0.5, chunk=100, shared=1),
    case(HierarchicalMemory, hierarchical_memory, mult=1, branches=3, levels=2, units=2, chunk=16),
    case(HierarchicalMemory, hierarchical_memory, mult=0.5, branches=2, levels=1, units=3, chunk=100),
    case(ProductKeyMemory, product_key_memory, keys=6, heads=2, top_k=3),
    case(ProductKeyMemory, product_key_memory, keys=4, heads=1, top_k=4),
    BlockCase("residual", make_residual, residual, residual_cost, WIDTH),
    BlockCase(
        "layer_scale",
        lambda width: LayerScale(width, GatedConv(width, **CONV)),
        layer_scale,
        residual_cost,
        WIDTH,
    ),
    BlockCase(
        "rezero",
        make_rezero,
        rezero,
        lambda context: COSTS["rezero"](AT, context) + COSTS["gated_conv"](AT, context, **CONV),
        WIDTH,
    ),
    BlockCase(
        "deep_norm",
        lambda width: DeepNorm(width, GatedConv(width, **CONV), alpha=1.5),
        deep_norm,
        lambda context: COSTS["deep_norm"](AT, context, alpha=1.5) + COSTS["gated_conv"](AT, context, **CONV),
        WIDTH,
    ),
    BlockCase("parallel", make_parallel, parallel, parallel_cost, WIDTH),
    BlockCase(
        "stack",
        lambda width: Stack([make_residual(width), make_parallel(width)]),
        stack,
        lambda context: COSTS["stack"](AT, context) + residual_cost(context) + parallel_cost(context),
        WIDTH,
    ),
]


@pytest.mark.parametrize("case, check", suite(CASES))
def test_block(case: BlockCase, check: Callable[[BlockCase], None]) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_long_sequences_survive_bfloat16(case: BlockCase) -> None:
    survives_bfloat16(case, length=4096)
