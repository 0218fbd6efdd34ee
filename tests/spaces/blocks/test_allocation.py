import platform
import resource
from pathlib import Path

import pytest
import torch

from spaces.blocks.allocation import freed_memory_kept

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")

MANY = 2**24
PAGES = 4 * MANY // resource.getpagesize()


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


def test_freed_memory_is_taken_up_again() -> None:
    """Sooner or later: something small may take a place in memory that was freed, so that it no longer fits."""
    taken = []
    with freed_memory_kept():
        for _ in range(12):
            before = faults()
            torch.ones(MANY)
            taken.append(faults() - before)
    assert min(taken) < PAGES / 10, taken


def test_freed_memory_goes_back_at_the_end() -> None:
    with freed_memory_kept():
        torch.ones(MANY)
        held = resident_pages()
    assert held - resident_pages() > 0.9 * PAGES
