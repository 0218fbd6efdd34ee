"""Sizes that make no block are refused by name, by every block."""

from typing import Any

import pytest

from spaces.blocks.attention import Attention
from spaces.blocks.base import Block
from spaces.blocks.companion import CompanionSSM
from spaces.blocks.conv import GatedConv
from spaces.blocks.delta import GatedDeltaNet
from spaces.blocks.differential import DifferentialAttention
from spaces.blocks.hierarchical_memory import HierarchicalMemory
from spaces.blocks.linear_attention import GatedLinearAttention, LinearAttention
from spaces.blocks.liquid import LTC, CfC
from spaces.blocks.long_conv import LongConv
from spaces.blocks.mamba import Mamba2
from spaces.blocks.memory import ProductKeyMemory
from spaces.blocks.mlp import MLP, SwiGLU
from spaces.blocks.moe import MoE
from spaces.blocks.multi_axis import MambaND
from spaces.blocks.rg_lru import RGLRU
from spaces.blocks.routing import ChunkMoE, ExpertChoiceMoE, HashedMoE, SinkhornMoE
from spaces.blocks.s4 import S4
from spaces.blocks.selective_ssm import Mamba
from spaces.blocks.spectral import EinFFT, FourierLayer, WholeEinFFT
from spaces.blocks.state_space import S4D, S5
from spaces.blocks.toeplitz import GatedToeplitz
from spaces.blocks.token_parameters import TokenParameterAttention
from spaces.blocks.workspace import Workspace

HEADS = {"heads": 2, "kv_heads": 1, "position": "rope", "window": 4}
GOOD: dict[type[Block], dict[str, Any]] = {
    Attention: HEADS,
    DifferentialAttention: HEADS,
    LinearAttention: {"heads": 2},
    GatedLinearAttention: {"heads": 2},
    GatedDeltaNet: {"heads": 2, "expand": 1},
    Mamba: {"state": 4, "expand": 2, "init": "decaying"},
    Mamba2: {"state": 8, "expand": 2, "head_dim": 8},
    RGLRU: {"expand": 1, "heads": 2},
    S4: {"state": 8},
    S4D: {"state": 8, "init": "lin"},
    CompanionSSM: {"state": 8},
    S5: {"state": 8},
    LTC: {"expand": 1, "steps": 2},
    CfC: {"mult": 2},
    LongConv: {"hidden": 8, "span": 64},
    GatedToeplitz: {"expand": 1, "hidden": 8, "span": 64},
    GatedConv: {"kernel": 3},
    TokenParameterAttention: {"tokens": 4},
    Workspace: {"slots": 4, "chunk": 8},
    SwiGLU: {"mult": 2},
    MLP: {"mult": 2, "activation": "gelu"},
    EinFFT: {"blocks": 4},
    WholeEinFFT: {"blocks": 4},
    FourierLayer: {"modes": 2, "columns": 4},
    MambaND: {"state": 4, "expand": 1, "order": "rows", "columns": 4},
    MoE: {"experts": 4, "top_k": 2, "mult": 1},
    ExpertChoiceMoE: {"experts": 4, "capacity": 2, "mult": 1},
    SinkhornMoE: {"experts": 4, "mult": 1},
    HashedMoE: {"experts": 4, "mult": 1},
    ChunkMoE: {"experts": 4, "top_k": 2, "mult": 1, "chunk": 8},
    HierarchicalMemory: {"mult": 2, "branches": 3, "levels": 2, "units": 2, "chunk": 8},
    ProductKeyMemory: {"keys": 6, "heads": 2, "top_k": 3},
}
WORDS = ("position", "init", "activation", "order")
SIZES = [(block, key) for block, choices in GOOD.items() for key in ("width", *choices) if key not in WORDS]


@pytest.mark.parametrize("size", [0, -2])
@pytest.mark.parametrize("block, key", SIZES)
def test_sizes_below_one_are_refused_by_name(block: type[Block], key: str, size: int) -> None:
    choices = {"width": 16, **GOOD[block]}
    block(**choices)
    with pytest.raises(ValueError, match=f"{key} {size} "):
        block(**{**choices, key: size})


def test_a_negative_number_of_shared_experts_is_refused() -> None:
    with pytest.raises(ValueError, match="shared -1 is below 0"):
        HashedMoE(16, experts=4, mult=1, shared=-1)
