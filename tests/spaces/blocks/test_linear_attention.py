import pytest
import torch

from spaces.blocks.linear_attention import GatedLinearAttention, LinearAttention, gated_scan
from spaces.blocks.reference.linear_attention import gated_recurrence


@pytest.mark.parametrize("length", [1, 64, 129])
@pytest.mark.parametrize("rate", [0.0, 0.1, 30.0])
def test_the_gated_scan_and_its_gradients_equal_the_recurrence(length: int, rate: float) -> None:
    torch.manual_seed(0)
    shapes = [(2, length, 3, 4), (2, length, 3, 4), (2, length, 3, 5), (2, length, 3, 4), (2, 3, 4, 5)]
    q, k, v, decay, first = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    inputs = [tensor.requires_grad_() for tensor in (q, k, v, -rate * decay.abs(), first)]
    outcomes = []
    for y, last in (gated_scan(*inputs, None), gated_recurrence(*inputs)):
        outcomes.append([y, last, *torch.autograd.grad(y.sin().sum() + last.cos().sum(), inputs)])
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_decays_whose_exponentials_would_overflow_leave_each_token_alone() -> None:
    q, k, v = torch.randn(1, 200, 1, 3), torch.randn(1, 200, 1, 3), torch.randn(1, 200, 1, 2)
    decay = torch.full((1, 200, 1, 3), -1e4, requires_grad=True)
    y, last = gated_scan(q, k, v, decay, torch.zeros(1, 1, 3, 2), None)
    y.sum().backward()
    torch.testing.assert_close(y, (q * k).sum(-1, keepdim=True) * v)
    assert last.isfinite().all()
    assert decay.grad is not None
    assert decay.grad.isfinite().all()


def test_linear_attention_of_equal_values_is_that_value() -> None:
    block = LinearAttention(8, heads=2).double()
    with torch.no_grad():
        block.qkv.weight[16:] = 0
        block.qkv.weight[16:, 0] = 1
        block.out.weight.copy_(torch.eye(8))
        x = torch.randn(1, 100, 8, dtype=torch.float64)
        x[..., 0] = 3
        torch.testing.assert_close(block(x)[0], torch.full_like(x, 3), rtol=1e-5, atol=0)


def test_impossible_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="width 16 is not a multiple of heads 3"):
        LinearAttention(16, heads=3)
    with pytest.raises(ValueError, match="width 16 is not a multiple of twice the heads 16"):
        GatedLinearAttention(16, heads=16)
