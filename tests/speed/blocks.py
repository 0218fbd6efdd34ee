"""Tokens a second of every block, forward and backward on one thread, relative to multi-head attention, and memory.

    python tests/speed/blocks.py [--width 256] [--length 1024] [--batch 4] [--only mamba]

float32; seconds of the processor, the median of some runs in turn, so that a change of the machine's speed meets all
blocks alike. Memory is what a first run adds to the process at its peak, in a process of its own. Mamba stands
beside that of the package mambapy, where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from spaces.blocks.attention import Attention
from spaces.blocks.base import total_aux_loss
from spaces.blocks.conv import GatedConv
from spaces.blocks.delta import GatedDeltaNet
from spaces.blocks.differential import DifferentialAttention
from spaces.blocks.linear_attention import GatedLinearAttention, LinearAttention
from spaces.blocks.long_conv import LongConv
from spaces.blocks.mamba import Mamba2
from spaces.blocks.memory import ProductKeyMemory
from spaces.blocks.mlp import MLP, SwiGLU
from spaces.blocks.moe import MoE
from spaces.blocks.rg_lru import RGLRU
from spaces.blocks.selective_ssm import Mamba
from spaces.blocks.state_space import S4D, S5
from spaces.blocks.token_parameters import TokenParameterAttention
from spaces.blocks.workspace import Workspace


class MambaPy(nn.Module):
    """The Mamba of mambapy, by its parallel scan."""

    def __init__(self, width: int) -> None:
        super().__init__()
        from mambapy.mamba import MambaBlock, MambaConfig

        self.block = MambaBlock(MambaConfig(d_model=width, n_layers=1, d_state=16, expand_factor=2))

    def forward(self, x_BLD: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.block(x_BLD), None


BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "attention": lambda width: Attention(width, heads=8, kv_heads=8, position="rope", window=None),
    "attention, 1 kv head": lambda width: Attention(width, heads=8, kv_heads=1, position="rope", window=None),
    "attention, ALiBi": lambda width: Attention(width, heads=8, kv_heads=8, position="alibi", window=None),
    "attention, window 128": lambda width: Attention(width, heads=8, kv_heads=8, position="rope", window=128),
    "Mamba, state 16": lambda width: Mamba(width, state=16, expand=2, init="decaying"),
    "differential attention": lambda width: DifferentialAttention(
        width, heads=4, kv_heads=4, position="rope", window=None
    ),
    "linear attention": lambda width: LinearAttention(width, heads=8),
    "gated linear attention": lambda width: GatedLinearAttention(width, heads=4),
    "gated DeltaNet": lambda width: GatedDeltaNet(width, heads=4, expand=1),
    "Mamba-2, state 16": lambda width: Mamba2(width, state=16, expand=2, head_dim=64),
    "Mamba-2, state 64": lambda width: Mamba2(width, state=64, expand=2, head_dim=64),
    "RG-LRU": lambda width: RGLRU(width, expand=1, heads=8),
    "S4D": lambda width: S4D(width, state=64, init="lin"),
    "S5": lambda width: S5(width, state=64),
    "Hyena": lambda width: LongConv(width, hidden=64, span=1024),
    "token parameters": lambda width: TokenParameterAttention(width, tokens=4 * width),
    "workspace": lambda width: Workspace(width, slots=16, chunk=64),
    "gated convolution": lambda width: GatedConv(width, kernel=4),
    "SwiGLU x3": lambda width: SwiGLU(width, mult=3),
    "MLP x4": lambda width: MLP(width, mult=4, activation="gelu"),
    "MoE, 2 of 16": lambda width: MoE(width, experts=16, top_k=2, mult=1),
    "SwiGLU x2, its twin": lambda width: SwiGLU(width, mult=2),
    "memory, 128² slots": lambda width: ProductKeyMemory(width, keys=128, heads=2, top_k=16),
}
if importlib.util.find_spec("mambapy"):
    BLOCKS["Mamba of mambapy"] = MambaPy


def seconds(block: nn.Module, x_BLD: torch.Tensor) -> float:
    began = time.process_time()
    y_BLD, _ = block(x_BLD)
    auxiliary = total_aux_loss(block)
    (y_BLD.square().mean() + (0 if auxiliary is None else auxiliary)).backward()
    return time.process_time() - began


def peak_bytes(name: str, shape: tuple[int, int, int]) -> int:
    """What a first run adds to the memory of this process, at its peak."""
    torch.set_num_threads(1)
    block, x_BLD = BLOCKS[name](shape[2]), torch.randn(shape, requires_grad=True)
    seconds(block, x_BLD[:, :1])  # what is loaded on first use is no part of the block
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds(block, x_BLD)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def main() -> None:
    options = argparse.ArgumentParser()
    for name, default in (("width", 256), ("length", 1024), ("batch", 4), ("runs", 5)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--only", default="", help="blocks whose name holds this, beside attention")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = (chosen.batch, chosen.length, chosen.width)
    x_BLD = torch.randn(shape, requires_grad=True)
    names = [name for name in BLOCKS if name == "attention" or chosen.only.lower() in name.lower()]
    processes = multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1)
    with processes:
        peaks = processes.starmap(peak_bytes, [(name, shape) for name in names], chunksize=1)
    blocks = {name: BLOCKS[name](chosen.width) for name in names}
    times: dict[str, list[float]] = {name: [] for name in blocks}
    for run in range(1 + chosen.runs):
        for name, block in blocks.items():
            took = seconds(block, x_BLD)
            if run:
                times[name].append(took)
    tokens = chosen.batch * chosen.length
    medians = {name: tokens / statistics.median(each) for name, each in times.items()}
    print(f"batch {chosen.batch}, length {chosen.length}, width {chosen.width}, float32, one thread")
    for (name, speed), peak in zip(medians.items(), peaks, strict=True):
        relative = speed / medians["attention"]
        print(
            f"{name:24} {speed / 1e3:8.1f}k tokens a second   {relative:.2f} of attention   {peak / 2**20:6.0f} MiB"
        )
    if "Mamba of mambapy" not in BLOCKS:
        print("Mamba of mambapy         not installed")


if __name__ == "__main__":
    main()
