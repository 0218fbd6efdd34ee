"""Scans in float32 against themselves in float64, where decays of all strengths stand next to each other."""

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from spaces.blocks import delta, linear_attention, mamba, selective_ssm
from spaces.blocks.scan import linear_scan

LENGTH, HEADS, DIM = 200, 2, 4


def normal(*shape: int) -> Tensor:
    """Numbers that float32 holds, as float64."""
    return torch.randn(shape).double()


def ssd(decay_BLH: Tensor) -> tuple[Callable[..., tuple[Tensor, Tensor]], list[Tensor]]:
    b, c = (normal(1, LENGTH, DIM) for _ in range(2))
    return mamba.scan, [normal(1, LENGTH, HEADS, DIM), decay_BLH, b, c, normal(1, HEADS, DIM, DIM)]


def gated(decay_BLH: Tensor) -> tuple[Callable[..., tuple[Tensor, Tensor]], list[Tensor]]:
    qkv = [normal(1, LENGTH, HEADS, DIM) for _ in range(3)]
    decay_BLHK = decay_BLH[..., None].expand(-1, -1, -1, DIM).contiguous()
    scan = functools.partial(linear_attention.gated_scan, segments_BL=None)
    return scan, [*qkv, decay_BLHK, normal(1, HEADS, DIM, DIM)]


def delta_rule(decay_BLH: Tensor) -> tuple[Callable[..., tuple[Tensor, Tensor]], list[Tensor]]:
    q, k, v = (normal(1, LENGTH, HEADS, DIM) for _ in range(3))
    beta = normal(1, LENGTH, HEADS).sigmoid().float().double()
    scan = functools.partial(delta.delta_scan, segments_BL=None)
    return scan, [q, delta.unit(k).float().double(), v, beta, decay_BLH, normal(1, HEADS, DIM, DIM)]


def selective(decay_BLH: Tensor) -> tuple[Callable[..., tuple[Tensor, Tensor]], list[Tensor]]:
    a_NH = -torch.ones(DIM, HEADS, dtype=torch.float64)
    b, c = (normal(1, LENGTH, DIM) for _ in range(2))
    return selective_ssm.selective_scan, [
        normal(1, LENGTH, HEADS), -decay_BLH, a_NH, b, c, normal(1, DIM, HEADS)
    ]  # fmt: skip


def recurrence(decay_BLH: Tensor) -> tuple[Callable[..., tuple[Tensor, Tensor]], list[Tensor]]:
    return lambda *inputs: (linear_scan(*inputs), inputs[2]), [
        decay_BLH.exp().float().double(),
        normal(1, LENGTH, HEADS),
        normal(1, HEADS),
    ]


@pytest.mark.parametrize("strongest", [-1.0, -30.0, -1e4])
@pytest.mark.parametrize("case", [ssd, gated, delta_rule, selective, recurrence])
def test_float32_is_as_exact_after_a_strong_decay(
    case: Callable[[Tensor], tuple[Callable[..., tuple[Tensor, Tensor]], list[Tensor]]], strongest: float
) -> None:
    torch.manual_seed(0)
    weak_BLH, strong_BLH = -0.01 * torch.rand(1, LENGTH, HEADS), torch.full((1, LENGTH, HEADS), strongest)
    decay_BLH = torch.where(torch.rand(1, LENGTH, HEADS) < 0.2, strong_BLH, weak_BLH).double()
    scan, inputs = case(decay_BLH)
    outcomes = []
    for dtype in (torch.float32, torch.float64):
        leaves = [part.to(dtype).requires_grad_() for part in inputs]
        y, _ = scan(*leaves)
        outcomes.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
    for rounded, exact in zip(*outcomes, strict=True):
        assert (rounded - exact).abs().max() <= 3e-6 * exact.abs().max()
