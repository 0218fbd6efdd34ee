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
    with freed_memory_kept():
        for _ in range(3):  # something small may take a place in the middle of the first
            torch.ones(MANY)
        before = faults()
        torch.ones(MANY)
        assert faults() - before < PAGES / 10


def test_freed_memory_goes_back_at_the_end() -> None:
    with freed_memory_kept():
        torch.ones(MANY)
        held = resident_pages()
    assert held - resident_pages() > 0.9 * PAGES
