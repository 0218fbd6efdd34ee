"""Tokens a second of every block, forward and backward on one thread, relative to multi-head attention.

    python tests/speed/blocks.py [--width 256] [--length 1024] [--batch 4]

float32; the median of some runs in turn, so that a change of the machine's speed meets all blocks alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from spaces.blocks.attention import Attention
from spaces.blocks.base import Block, total_aux_loss
from spaces.blocks.conv import GatedConv
from spaces.blocks.mamba import Mamba2
from spaces.blocks.memory import ProductKeyMemory
from spaces.blocks.mlp import MLP, SwiGLU
from spaces.blocks.moe import MoE

BLOCKS: dict[str, Callable[[int], Block]] = {
    "attention": lambda width: Attention(width, heads=8, kv_heads=8, position="rope", window=None),
    "attention, 1 kv head": lambda width: Attention(width, heads=8, kv_heads=1, position="rope", window=None),
    "attention, ALiBi": lambda width: Attention(width, heads=8, kv_heads=8, position="alibi", window=None),
    "attention, window 128": lambda width: Attention(width, heads=8, kv_heads=8, position="rope", window=128),
    "Mamba-2, state 16": lambda width: Mamba2(width, state=16, expand=2, head_dim=64),
    "Mamba-2, state 64": lambda width: Mamba2(width, state=64, expand=2, head_dim=64),
    "gated convolution": lambda width: GatedConv(width, kernel=4),
    "SwiGLU x3": lambda width: SwiGLU(width, mult=3),
    "MLP x4": lambda width: MLP(width, mult=4, activation="gelu"),
    "MoE, 2 of 16": lambda width: MoE(width, experts=16, top_k=2, mult=1),
    "SwiGLU x2, its twin": lambda width: SwiGLU(width, mult=2),
    "memory, 128² slots": lambda width: ProductKeyMemory(width, keys=128, heads=2, top_k=16),
}


def seconds(block: Block, x_BLD: torch.Tensor) -> float:
    began = time.perf_counter()
    y_BLD, _ = block(x_BLD)
    auxiliary = total_aux_loss(block)
    (y_BLD.square().mean() + (0 if auxiliary is None else auxiliary)).backward()
    return time.perf_counter() - began


def main() -> None:
    options = argparse.ArgumentParser()
    for name, default in (("width", 256), ("length", 1024), ("batch", 4), ("runs", 5)):
        options.add_argument(f"--{name}", type=int, default=default)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x_BLD = torch.randn(chosen.batch, chosen.length, chosen.width, requires_grad=True)
    blocks = {name: make(chosen.width) for name, make in BLOCKS.items()}
    times: dict[str, list[float]] = {name: [] for name in blocks}
    for run in range(1 + chosen.runs):
        for name, block in blocks.items():
            took = seconds(block, x_BLD)
            if run:
                times[name].append(took)
    tokens = chosen.batch * chosen.length
    medians = {name: tokens / statistics.median(each) for name, each in times.items()}
    print(f"batch {chosen.batch}, length {chosen.length}, width {chosen.width}, float32, one thread")
    for name, speed in medians.items():
        print(
            f"{name:24} {speed / 1e3:8.1f}k tokens a second   {speed / medians['attention']:.2f} of attention"
        )


if __name__ == "__main__":
    main()
