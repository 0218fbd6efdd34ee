"""Products of float32 matrices on CPUs by oneDNN, as exact as by MKL, and on processors of AMD faster by far."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import nn

EXACT = 1e-5
"""How far a product may be off, relative to its norm: float32 stays well below, bfloat16 is a hundred times above."""

_SETTING: Any = getattr(torch.backends.mkldnn, "matmul", None)
"""What PyTorch lets oneDNN do with products of float32 matrices; None before PyTorch 2.9."""


@contextmanager
def onednn_products(wanted: bool = True) -> Iterator[None]:
    """float32 matrices are multiplied by oneDNN, unless it rounds them to less here; the setting before is restored.

    By itself PyTorch has MKL multiply them, which does not use all of AMD's processors: on a core of an EPYC of 2024
    105 GFLOP/s, where oneDNN reaches 240. It hands them to oneDNN where that may round to bfloat16 inside, which
    oneDNN does where the processor multiplies such matrices (AMX): there nothing is changed. Nor is it with versions
    of PyTorch before 2.9. Inside, `torch.get_float32_matmul_precision` raises RuntimeError, as the one precision of
    its name is not told by PyTorch where its libraries have several.
    """
    if not wanted or _SETTING is None or not _exact():
        yield
        return
    with _products("bf16"):
        yield


@contextmanager
def mkl_products() -> Iterator[None]:
    """Inside of `onednn_products`, as before: products of few rows take oneDNN up to four times as long."""
    if _SETTING is None:
        yield
        return
    with _products("ieee"):
        yield


def steps_by_token(model: nn.Module) -> bool:
    """Whether a module of a model says so: almost all of its products are of few rows, those of one token each."""
    return any(getattr(module, "steps_by_token", False) for module in model.modules())


@contextmanager
def _products(precision: str) -> Iterator[None]:
    before = _SETTING.fp32_precision
    _SETTING.fp32_precision = precision
    try:
        yield
    finally:
        _SETTING.fp32_precision = before


@lru_cache
def _exact() -> bool:
    """Whether oneDNN keeps float32: of one size, as how it multiplies hangs on the processor."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 256, 256, generator=generator)
    with _products("bf16"):
        found = x @ y
    exact = x.double() @ y.double()
    return bool((found - exact).norm() <= EXACT * exact.norm())
