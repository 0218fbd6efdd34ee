"""Measures what chunks cost and prints the model of `spaces.blocks.chunking` that fits best.

    python tests/speed/chunks.py [--runs 3] [--batch 4] [--only delta]

Each operator runs forward and backward in chunks of all sizes at some lengths and widths, float32, one thread. The
model is fitted to the relative times by least squares without negative terms. Beside it stands how much longer the
chunks that it chooses take than the best of each setting, in the mean and at most, and what chunks of 64 would take.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from unittest import mock

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from spaces.blocks import delta, linear_attention, mamba, scan, state_space
from spaces.blocks.allocation import freed_memory_kept
from spaces.blocks.chunking import CPU, Seconds, chunk_size

LENGTHS, WIDTHS, SIZES = (256, 1024, 4096), (64, 256, 768), (8, 16, 32, 64, 128, 256)
HEAD, STATE = 32, 32


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, requires_grad=True)


def decays(*shape: int) -> Tensor:
    return (-torch.rand(shape)).requires_grad_()


def heads(width: int) -> tuple[int, int]:
    return width // HEAD, HEAD


def recurrence(batch: int, length: int, width: int) -> Tensor:
    keep, added = decays(batch, length, width).exp(), draw(batch, length, width)
    return scan.linear_scan(keep, added, draw(batch, width))


def ssd(batch: int, length: int, width: int) -> tuple[Tensor, Tensor]:
    b, c = (draw(batch, length, STATE) for _ in range(2))
    x, decay = draw(batch, length, *heads(width)), decays(batch, length, width // HEAD)
    return mamba.scan(x, decay, b, c, draw(batch, *heads(width), STATE))


def ungated(batch: int, length: int, width: int) -> tuple[Tensor, Tensor]:
    qkv = [draw(batch, length, *heads(width)) for _ in range(3)]
    return linear_attention.ungated_scan(*qkv, draw(batch, *heads(width), HEAD), None)


def gated(batch: int, length: int, width: int) -> tuple[Tensor, Tensor]:
    qkv = [draw(batch, length, *heads(width)) for _ in range(3)]
    decay = decays(batch, length, *heads(width))
    return linear_attention.gated_scan(*qkv, decay, draw(batch, *heads(width), HEAD), None)


def delta_rule(batch: int, length: int, width: int) -> tuple[Tensor, Tensor]:
    q, k, v = (draw(batch, length, *heads(width)) for _ in range(3))
    beta, decay = (part(batch, length, width // HEAD) for part in (draw, decays))
    return delta.delta_scan(
        q, delta.unit(k), v, beta.sigmoid(), decay, draw(batch, *heads(width), HEAD), None
    )


def modes_filter(batch: int, length: int, width: int) -> Tensor:
    z, gain = draw(2, width, STATE), draw(2, width, STATE)
    return state_space._filter(torch.stack([-z[0].abs(), z[1]]), gain, length)


OPERATORS: dict[str, tuple[object, Callable[[int, int, int], object]]] = {
    "recurrence": (scan, recurrence),
    "ssd": (mamba, ssd),
    "linear attention": (linear_attention, ungated),
    "gated linear attention": (linear_attention, gated),
    "delta": (delta, delta_rule),
    "filter": (state_space, modes_filter),
}


def seconds(apply: Callable[[], object], runs: int) -> float:
    """The median time of forward and backward of some runs, after one more."""
    took = []
    for _ in range(1 + runs):
        began = time.process_time()
        outcome = apply()
        (outcome if isinstance(outcome, Tensor) else outcome[0]).sum().backward()
        took.append(time.process_time() - began)
    return statistics.median(took[1:])


def terms(length: int, width: int, size: int) -> list[float]:
    """What the coefficients of `Seconds` count, and three terms that do not depend on the chunks."""
    counts = [length * size, length / size, size]
    return [factor * count for count in counts for factor in (1, width)] + [1, length, length * width]


def main() -> None:
    options = argparse.ArgumentParser()
    for name, default in (("runs", 3), ("batch", 4)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--only", default="", help="operators whose name holds this")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name, (module, apply) in OPERATORS.items():
        if chosen.only not in name:
            continue
        took = {}
        for length in LENGTHS:
            for width in WIDTHS:
                for size in SIZES:
                    with mock.patch.object(module, "chunk_size", lambda *_, size=size: size):
                        took[length, width, size] = seconds(
                            partial(apply, chosen.batch, length, width), chosen.runs
                        )
        weights = np.array([1 / each for each in took.values()])
        matrix = np.array([terms(*setting) for setting in took])
        fitted, _ = nnls(matrix * weights[:, None], np.ones(len(took)))
        model = Seconds(*(float(f"{1e6 * each:.2g}") for each in fitted[:6]))
        print(f'    "{name}": Seconds({", ".join(map(str, model))}),')
        excess: dict[str, list[float]] = {"model": [], "64": []}
        with mock.patch.dict(CPU, {name: model}):
            chunk_size.cache_clear()
            for length in LENGTHS:
                for width in WIDTHS:
                    times = {size: took[length, width, size] for size in SIZES}
                    best = min(times.values())
                    size = max(SIZES[0], chunk_size(name, length, width))
                    excess["model"].append(times[size] / best - 1)
                    excess["64"].append(times[64] / best - 1)
                    told = " ".join(f"{size}:{1e3 * each:.1f}" for size, each in times.items())
                    print(f"        # {length} x {width}: {told} ms, chosen {size}", flush=True)
        for which, each in excess.items():
            print(
                f"        # {which}: {statistics.mean(each):.1%} longer in the mean, {max(each):.1%} at most"
            )


if __name__ == "__main__":
    with freed_memory_kept():
        main()
