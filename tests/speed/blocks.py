"""Blocks beside multi-head attention: speed and memory of training, growth with the length, and decoding.

    python tests/speed/blocks.py [training] [length] [decoding] [--width 256] [--length 1024] [--only mamba]

float32, one thread, seconds of the processor; for training freed memory is kept and oneDNN multiplies, as in campaigns.
Training is forward and backward, the median of some runs in turn, so that a change of the machine's speed meets all
blocks alike; its memory is what a first run adds to the process at its peak, in a process of its own, whose further
runs tell the speed with neither. Growth is the time of one sequence of 1k, 4k and 16k tokens; "-" where it would take
long if it grew by the square. Decoding is token by token after a context of 1k and 16k, as PyTorch multiplies by itself.
Mamba stands beside that of the package mambapy, where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from spaces.blocks.allocation import freed_memory_kept
from spaces.blocks.attention import Attention
from spaces.blocks.base import Block, state_bytes, total_aux_loss
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
from spaces.blocks.products import onednn_products
from spaces.blocks.rg_lru import RGLRU
from spaces.blocks.routing import ChunkMoE, ExpertChoiceMoE, HashedMoE, SinkhornMoE
from spaces.blocks.s4 import S4
from spaces.blocks.selective_ssm import Mamba
from spaces.blocks.spectral import EinFFT, FourierLayer, WholeEinFFT
from spaces.blocks.state_space import S4D, S5
from spaces.blocks.toeplitz import GatedToeplitz
from spaces.blocks.token_parameters import TokenParameterAttention
from spaces.blocks.workspace import Workspace


class MambaPy(nn.Module):
    """The Mamba of mambapy, by its parallel scan."""

    def __init__(self, width: int) -> None:
        super().__init__()
        from mambapy.mamba import MambaBlock, MambaConfig

        self.block = MambaBlock(MambaConfig(d_model=width, n_layers=1, d_state=16, expand_factor=2))

    def forward(self, x_BLD: Tensor) -> tuple[Tensor, None]:
        return self.block(x_BLD), None


COLUMNS = 32
"""Tokens of a row, of blocks over images."""
BLOCKS: dict[str, Callable[[int], nn.Module]] = {
    "attention": lambda width: Attention(width, heads=8, kv_heads=8, position="rope", window=None),
    "attention, 1 kv head": lambda width: Attention(width, heads=8, kv_heads=1, position="rope", window=None),
    "attention, ALiBi": lambda width: Attention(width, heads=8, kv_heads=8, position="alibi", window=None),
    "attention, window 128": lambda width: Attention(width, heads=8, kv_heads=8, position="rope", window=128),
    "differential attention": lambda width: DifferentialAttention(
        width, heads=4, kv_heads=4, position="rope", window=None
    ),
    "linear attention": lambda width: LinearAttention(width, heads=8),
    "gated linear attention": lambda width: GatedLinearAttention(width, heads=4),
    "gated DeltaNet": lambda width: GatedDeltaNet(width, heads=4, expand=1),
    "Mamba, state 16": lambda width: Mamba(width, state=16, expand=2, init="decaying"),
    "Mamba-2, state 16": lambda width: Mamba2(width, state=16, expand=2, head_dim=64),
    "Mamba-2, state 64": lambda width: Mamba2(width, state=64, expand=2, head_dim=64),
    "RG-LRU": lambda width: RGLRU(width, expand=1, heads=8),
    "S4": lambda width: S4(width, state=64),
    "S4D": lambda width: S4D(width, state=64, init="lin"),
    "SpaceTime": lambda width: CompanionSSM(width, state=64),
    "S5": lambda width: S5(width, state=64),
    "LTC, 6 steps": lambda width: LTC(width, expand=1, steps=6),
    "CfC": lambda width: CfC(width, mult=1),
    "Hyena": lambda width: LongConv(width, hidden=64, span=1024),
    "gated Toeplitz": lambda width: GatedToeplitz(width, expand=1, hidden=32, span=1024),
    "gated convolution": lambda width: GatedConv(width, kernel=4),
    "token parameters": lambda width: TokenParameterAttention(width, tokens=4 * width),
    "workspace": lambda width: Workspace(width, slots=16, chunk=64),
    "SwiGLU x3": lambda width: SwiGLU(width, mult=3),
    "MLP x4": lambda width: MLP(width, mult=4, activation="gelu"),
    "EinFFT, 4 blocks": lambda width: EinFFT(width, blocks=4),
    "EinFFT over tokens": lambda width: WholeEinFFT(width, blocks=4),
    "Fourier layer, 1 axis": lambda width: FourierLayer(width, modes=16),
    "Fourier layer, 2 axes": lambda width: FourierLayer(width, modes=8, columns=COLUMNS),
    "Mamba-ND": lambda width: MambaND(width, state=16, expand=2, order="columns_back", columns=COLUMNS),
    "SwiGLU x2, twin of MoE": lambda width: SwiGLU(width, mult=2),
    "MoE, 2 of 16": lambda width: MoE(width, experts=16, top_k=2, mult=1),
    "MoE, 2 of 16 a chunk": lambda width: ChunkMoE(width, experts=16, top_k=2, mult=1, chunk=64),
    "MoE, experts choose": lambda width: ExpertChoiceMoE(width, experts=16, capacity=2, mult=1),
    "MoE, assigned": lambda width: SinkhornMoE(width, experts=16, mult=2),
    "MoE, hashed": lambda width: HashedMoE(width, experts=16, mult=2),
    # Its twin of equal active parameters is the SwiGLU of three times the width.
    "fetched, 16 + 16² nodes": lambda width: HierarchicalMemory(
        width, mult=2, branches=16, levels=2, units=width // 2, chunk=64, sparse=True
    ),
    "memory, 512² slots": lambda width: ProductKeyMemory(width, keys=512, heads=2, top_k=16, sparse=True),
}
if importlib.util.find_spec("mambapy"):
    BLOCKS["Mamba of mambapy"] = MambaPy

CONTEXTS = (1024, 4096, 16384)
PIECE = 512
"""Tokens that are read at once before decoding."""


def seconds(block: nn.Module, x_BLD: Tensor) -> float:
    """Seconds of the processor for one forward and backward pass."""
    block.zero_grad()
    began = time.process_time()
    y_BLD, _ = block(x_BLD)
    auxiliary = total_aux_loss(block)
    (y_BLD.square().mean() + (0 if auxiliary is None else auxiliary)).backward()
    return time.process_time() - began


def alone(name: str, shape: tuple[int, int, int], runs: int) -> tuple[int, float]:
    """What a first run adds to the memory of this process, at its peak, bytes; tokens a second of others, with PyTorch
    as it is."""
    torch.set_num_threads(1)
    block, x_BLD = BLOCKS[name](shape[2]), torch.randn(shape, requires_grad=True)
    seconds(block, x_BLD[:, :COLUMNS])  # what is loaded on first use is no part of the block
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds(block, x_BLD)
    peak = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return peak, shape[0] * shape[1] / statistics.median(seconds(block, x_BLD) for _ in range(runs))


def training(names: list[str], shape: tuple[int, int, int], runs: int) -> None:
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        apart = processes.starmap(alone, [(name, shape, runs) for name in names], chunksize=1)
    x_BLD = torch.randn(shape, requires_grad=True)
    blocks = {name: BLOCKS[name](shape[2]) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for run in range(1 + runs):
        for name, block in blocks.items():
            took = seconds(block, x_BLD)
            if run:
                times[name].append(took)
    speeds = {name: shape[0] * shape[1] / statistics.median(each) for name, each in times.items()}
    print(
        "training: thousand tokens a second, relative to attention; both with PyTorch as it is; MiB at the peak"
    )
    lone = dict(zip(names, apart, strict=True))
    for name, speed in speeds.items():
        peak, unkept = lone[name]
        relative = f"{unkept / 1e3:9.1f}{unkept / lone['attention'][1]:9.2f}"
        print(
            f"{name:24}{speed / 1e3:9.1f}{speed / speeds['attention']:9.2f}{relative}{peak / 2**20:9.0f}",
            flush=True,
        )


def growth(names: list[str], width: int, patience: float) -> None:
    print("length: thousand tokens a second, forward and backward, at " + ", ".join(map(str, CONTEXTS)))
    for name in names:
        block, took, speeds = BLOCKS[name](width), 0.0, []
        for tokens in CONTEXTS:
            if 16 * took > patience:  # each length is four times the one before
                speeds.append(math.nan)
                continue
            x_BLD = torch.randn(1, tokens, width, requires_grad=True)
            took = min(seconds(block, x_BLD) for _ in range(2))
            speeds.append(tokens / took / 1e3)
        cells = "".join(f"{'-' if math.isnan(speed) else f'{speed:.1f}':>9}" for speed in speeds)
        print(f"{name:24}{cells}", flush=True)


@torch.no_grad()
def decoding(names: list[str], width: int, steps: int = 32) -> None:
    first, last = CONTEXTS[0], CONTEXTS[-1]
    print(f"decoding: tokens a second and KiB of state after {first}, then after {last}")
    for name in names:
        block = BLOCKS[name](width).eval()
        if not (isinstance(block, Block) and block.causal):
            continue
        state, read, cells = block.init_state(1), 0, ""
        for tokens in (first, last):
            for _ in range((tokens - read) // PIECE):
                _, state = block(torch.randn(1, PIECE, width), state)
            read = tokens
            x_B1D, began, decoded = torch.randn(1, 1, width), time.process_time(), state
            for _ in range(steps):
                _, decoded = block(x_B1D, decoded)
            took = time.process_time() - began
            cells += f"{steps / took:10.0f}{state_bytes(state) / 1024:10.1f}"
        print(f"{name:24}{cells}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("parts", nargs="*", help="training, length and decoding; all if none is named")
    for name, default in (("width", 256), ("length", 1024), ("batch", 4), ("runs", 3)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--only", default="", help="blocks whose name holds this, beside attention")
    options.add_argument("--patience", type=float, default=10, help="seconds that a length may take")
    chosen = options.parse_args()
    if unknown := set(chosen.parts) - {"training", "length", "decoding"}:
        options.error(f"unknown part {min(unknown)!r}: use training, length or decoding")
    parts = chosen.parts or ["training", "length", "decoding"]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    names = [name for name in BLOCKS if name == "attention" or chosen.only.lower() in name.lower()]
    print(f"width {chosen.width}, float32, one thread; training on {chosen.batch} x {chosen.length} tokens")
    with freed_memory_kept(), onednn_products():
        if "training" in parts:
            training(names, (chosen.batch, chosen.length, chosen.width), chosen.runs)
            if "Mamba of mambapy" not in BLOCKS:
                print("Mamba of mambapy         not installed")
        if "length" in parts:
            growth(names, chosen.width, chosen.patience)
    if "decoding" in parts:
        decoding(names, chosen.width)


if __name__ == "__main__":
    main()
