"""What makes equal proposals give equal metrics: how many threads compute, and torch's random numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from spaces.blocks.allocation import freed_memory_kept


def worker_threads() -> int:
    """The threads that trials compute on in this process: OMP_NUM_THREADS, which workers set, else 1."""
    return int(os.environ.get("OMP_NUM_THREADS", "1").partition(",")[0])


@contextmanager
def reproducible(seed: int, device: str, threads: int | None = None) -> Iterator[None]:
    """As many threads as the worker has (their number changes bits), and torch seeded; both restored afterwards.

    Memory that is freed stays with the process until then.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or worker_threads())
    cuda = [device] if device.startswith("cuda") else []
    try:
        with torch.random.fork_rng(cuda), freed_memory_kept():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)
