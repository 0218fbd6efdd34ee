import math

import pytest
import torch

from spaces.blocks.chunking import chunk_size
from spaces.blocks.reference import scan as slow
from spaces.blocks.scan import linear_scan

LENGTHS = [1, 2, 31, 32, 33, 160, 200]


def draw(length: int, dtype: torch.dtype) -> list[torch.Tensor]:
    torch.manual_seed(0)
    a, b, h = (torch.randn(shape, dtype=dtype) for shape in [(2, length, 3, 4)] * 2 + [(2, 3, 4)])
    return [part.requires_grad_() for part in (a / a.detach().abs().clamp(min=1), b, h)]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=["real", "complex"])
def test_the_scan_and_its_gradients_equal_the_recurrence(length: int, dtype: torch.dtype) -> None:
    inputs = [part.detach().requires_grad_() for part in draw(length, dtype)]
    outcomes = []
    for scan in (linear_scan, slow.linear_scan):
        h = scan(*inputs)
        outcomes.append([h, *torch.autograd.grad(h.sin().abs().sum(), inputs)])
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("start", [1, 32, 37])
def test_nothing_passes_a_decay_of_zero(start: int) -> None:
    a, b, h = (part.detach() for part in draw(100, torch.float32))
    a[:, start] = 0
    b.requires_grad_()
    found = linear_scan(a, b, h)
    alone = linear_scan(a[:, start:], b[:, start:], torch.zeros_like(h))
    torch.testing.assert_close(found[:, start:], alone)
    [pull] = torch.autograd.grad(found[:, start:].sum(), b)
    assert not pull[:, :start].any()
    assert pull[:, start].any()


@pytest.mark.parametrize("decay", [0.0, 1e-38, math.exp(-80), 1.0])
def test_decays_of_any_strength_stay_finite_and_exact(decay: float) -> None:
    a = torch.full((1, 300, 1), decay, requires_grad=True)
    b = torch.ones(1, 300, 1)
    h = linear_scan(a, b, torch.zeros(1, 1))
    wanted = torch.arange(1.0, 301) if decay == 1 else torch.ones(300)
    torch.testing.assert_close(h[0, :, 0], wanted)
    h.sum().backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()


def test_bfloat16_is_scanned_in_float32() -> None:
    a, b, h = (part.detach().bfloat16() for part in draw(100, torch.float32))
    found = linear_scan(a, b, h)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, linear_scan(a.float(), b.float(), h.float()))


def test_the_graph_for_export_grows_with_the_chunks_and_not_the_tokens() -> None:
    class Scan(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return linear_scan(a, b, h)

    inputs = tuple(part.detach() for part in draw(1024, torch.float32))
    program = torch.export.export(Scan(), inputs, strict=False)
    torch.testing.assert_close(program.module()(*inputs), linear_scan(*inputs))
    steps = [node for node in program.graph.nodes if "addcmul" in str(node.target)]
    chunk = chunk_size("recurrence", 1024, inputs[0][0, 0].numel())
    assert len(steps) <= 2 * chunk + 1024 // chunk < 200
