import subprocess
import sys
from types import SimpleNamespace

import torch
from torch import nn

from spaces.blocks.base import rms_norm
from spaces.blocks.costs import COSTS, frame
from spaces.blocks.hierarchical_memory import HierarchicalMemory
from spaces.blocks.memory import ProductKeyMemory
from spaces.blocks.moe import MoE
from spaces.cost import Cost

AT = SimpleNamespace(width=16)


def touched(parameter: nn.Parameter) -> int:
    """Numbers in the leading slices (experts, rows) of a parameter that got a gradient."""
    assert parameter.grad is not None
    used = parameter.grad.flatten(1).abs().sum(dim=1) > 0
    return int(used.sum()) * parameter[0].numel()


def test_costs_add_and_multiply() -> None:
    a, b = Cost(5, 4, 3.0, 2.0), Cost(50, 40, 30.0, 20.0)
    assert a + b == Cost(55, 44, 33.0, 22.0)
    assert a.times(3) == a + a + a


def test_one_token_touches_the_active_parameters_of_a_mixture() -> None:
    torch.manual_seed(0)
    choices = {"experts": 8, "top_k": 3, "mult": 2}
    block = MoE(16, **choices)
    block(torch.randn(1, 1, 16))[0].sum().backward()
    used = block.router.weight.numel() + touched(block.gate_up) + touched(block.out)
    assert COSTS["moe"](AT, 1, **choices).active_parameters == used


def test_one_token_touches_the_active_parameters_of_a_memory() -> None:
    torch.manual_seed(0)
    choices = {"keys": 32, "heads": 2, "top_k": 4}
    block = ProductKeyMemory(16, **choices)
    block(torch.randn(1, 1, 16))[0].sum().backward()
    dense = sum(p.numel() for name, p in block.named_parameters() if name != "values")
    assert COSTS["product_key_memory"](AT, 1, **choices).active_parameters == dense + touched(block.values)


def test_a_chunk_touches_the_active_parameters_of_a_hierarchical_memory() -> None:
    torch.manual_seed(0)
    choices = {"mult": 1, "branches": 4, "levels": 2, "units": 3, "chunk": 8}
    block = HierarchicalMemory(16, **choices).train()
    block(torch.randn(1, 8, 16))[0].sum().backward()
    common = sum(p.numel() for p in block.common.parameters())
    fetched = sum(touched(bank) for bank in (block.gate, block.up, block.out))
    compared = 2 * 4 * (16 + 1)  # four centroids and prices at each of two levels
    active = COSTS["hierarchical_memory"](AT, 8, **choices).active_parameters
    assert active == common + fetched + compared


def test_the_frame_is_an_embedding_a_norm_and_a_head() -> None:
    model = nn.ModuleList([nn.Embedding(50, 16), rms_norm(16), nn.Linear(16, 50, bias=False)])
    cost = frame(16, 50)
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert cost.active_parameters == 16 + 16 + 16 * 50
    assert cost.flops_per_token == 2 * 16 * 50
    assert cost.state_bytes == 0


def test_costs_need_no_torch() -> None:
    code = "import sys, spaces.blocks.costs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
