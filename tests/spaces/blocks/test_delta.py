import pytest
import torch

from spaces.blocks.delta import GatedDeltaNet, delta_scan, inverse_by_halves, unit
from spaces.blocks.reference.delta import delta_recurrence


@pytest.mark.parametrize("length", [1, 64, 129])
@pytest.mark.parametrize("rate", [0.0, 0.1, 1e4])
def test_the_chunked_form_and_its_gradients_equal_the_recurrence(length: int, rate: float) -> None:
    torch.manual_seed(0)
    shapes = [(2, length, 3, 4), (2, length, 3, 4), (2, length, 3, 5), (2, length, 3), (2, length, 3)]
    q, k, v, beta, decay = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    first = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (q, unit(k), v, beta.sigmoid(), -rate * decay.abs(), first)]
    outcomes = []
    for y, last in (delta_scan(*inputs, None), delta_recurrence(*inputs)):
        outcomes.append([y, last, *torch.autograd.grad(y.sin().sum() + last.cos().sum(), inputs)])
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_a_key_written_again_is_overwritten() -> None:
    """Without decay, at full strength, a query for a key reads the last value that was written to it alone."""
    k = torch.eye(4, dtype=torch.float64)[torch.arange(100) % 3][None, :, None]
    v = torch.randn(1, 100, 1, 5, dtype=torch.float64)
    beta, decay = torch.ones(1, 100, 1, dtype=torch.float64), torch.zeros(1, 100, 1, dtype=torch.float64)
    y, _ = delta_scan(k, k, v, beta, decay, torch.zeros(1, 1, 4, 5, dtype=torch.float64), None)
    torch.testing.assert_close(y, v)


def test_equal_keys_do_not_spoil_the_inverse() -> None:
    """All entries below the diagonal one: the hardest case of a Neumann series, whose terms grow to 10^17."""
    lower = torch.ones(2, 64, 64).tril(-1)
    inverse = inverse_by_halves(lower)
    torch.testing.assert_close(
        inverse @ (lower + torch.eye(64)), torch.eye(64).expand(2, -1, -1), rtol=0, atol=1e-6
    )


def test_impossible_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="width 16 is not a multiple of heads 3"):
        GatedDeltaNet(16, heads=3, expand=1)
