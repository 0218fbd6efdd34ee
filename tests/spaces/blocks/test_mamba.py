import pytest
import torch
import torch.nn.functional as F

from spaces.blocks import mamba
from spaces.blocks.mamba import Mamba2
from spaces.blocks.reference import mamba as slow


@pytest.mark.parametrize("length", [1, 64, 129])
@pytest.mark.parametrize("rate", [0.0, 0.1, 30.0])
def test_chunked_scan_and_its_gradients_equal_the_recurrence(length: int, rate: float) -> None:
    torch.manual_seed(0)
    batch, heads, dim, state = 2, 3, 4, 5
    shapes = [
        (batch, length, heads, dim),
        (batch, length, heads),
        (batch, length, state),
        (batch, length, state),
    ]
    x, decay, b, c, first = (
        torch.randn(shape, dtype=torch.float64) for shape in [*shapes, (batch, heads, dim, state)]
    )
    decay = -rate * decay.abs()
    inputs = [tensor.requires_grad_() for tensor in (x, decay, b, c, first)]
    outcomes = []
    for scan in (mamba.scan, slow.scan):
        y, last = scan(*inputs)
        outcomes.append([y, last, *torch.autograd.grad(y.sin().sum() + last.cos().sum(), inputs)])
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_scan_survives_decays_whose_exponentials_would_overflow() -> None:
    x, b, c = torch.randn(1, 200, 1, 2), torch.randn(1, 200, 3), torch.randn(1, 200, 3)
    decay = torch.full((1, 200, 1), -1e4, requires_grad=True)
    y, last = mamba.scan(x, decay, b, c, torch.zeros(1, 1, 2, 3))
    y.sum().backward()
    # Nothing of the past is left: each output is its own token's.
    torch.testing.assert_close(y, x * (b * c).sum(-1)[..., None, None])
    assert last.isfinite().all()
    assert decay.grad is not None
    assert decay.grad.isfinite().all()


def test_initial_steps_and_decays_are_in_the_ranges_of_the_paper() -> None:
    block = Mamba2(64, state=4, expand=8, head_dim=1)
    step = F.softplus(block.dt_bias)
    assert step.min() >= 0.99e-3
    assert step.max() <= 1.01e-1
    assert 0.005 < step.median() < 0.02  # log-uniform: the median is 0.01
    assert block.log_a.exp().min() >= 1
    assert block.log_a.exp().max() <= 16


def test_impossible_head_dim_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expand \* width = 32 is not a multiple of head_dim 5"):
        Mamba2(16, state=4, expand=2, head_dim=5)
