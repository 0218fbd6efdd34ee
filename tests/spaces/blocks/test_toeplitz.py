import pytest
import torch

from spaces.blocks.base import state_bytes
from spaces.blocks.reference.filters import long_filter
from spaces.blocks.reference.toeplitz import modes
from spaces.blocks.toeplitz import GatedToeplitz


@pytest.mark.parametrize("size", [1, 2, 31, 64])
def test_toeplitz_coefficients_are_those_of_a_diagonal_state_space_model(size: int) -> None:
    coefficients_NE = torch.randn(size, 3, dtype=torch.float64)
    a_N1, b_NE = modes(coefficients_NE, 0.9)
    for k in range(3 * size):
        told_E = (b_NE * a_N1**k).sum(dim=0)
        torch.testing.assert_close(told_E.real, 0.9**k * coefficients_NE[k % size])
        torch.testing.assert_close(told_E.imag, torch.zeros(3, dtype=torch.float64))


def test_filter_is_the_decayed_encoder_within_the_span_and_comes_again_after_it() -> None:
    block = GatedToeplitz(2, expand=1, hidden=4, span=50).double()
    coefficients_NE, filter_LE = block._coefficients(50), block.filter(120)
    for k in (0, 1, 49, 50, 119):
        decayed_E = 0.99 ** (512 / 50 * k) * coefficients_NE[k % 50]
        torch.testing.assert_close(filter_LE[k], decayed_E)


def test_tokens_are_mixed_by_a_toeplitz_matrix_within_the_span() -> None:
    """Section 3.2 of arXiv 2305.04749: T[i, j] is the decayed coefficient of i - j, channel by channel."""
    block = GatedToeplitz(4, expand=2, hidden=8, span=32).double()
    x_LD = torch.randn(20, 4, dtype=torch.float64)
    gate_LE, v_LE = torch.nn.functional.silu(x_LD @ block.in_proj.weight.T).chunk(2, dim=-1)
    t_LE = block.filter(20)
    mixed_LE = torch.stack(
        [sum(t_LE[i - j] * v_LE[j] for j in range(i + 1)) for i in range(20)]  # type: ignore[misc]
    )
    y_BLD, _ = block(x_LD[None])
    torch.testing.assert_close(y_BLD[0], (gate_LE * mixed_LE) @ block.out.weight.T)


def test_outputs_begin_about_as_large_as_inputs() -> None:
    """The filter's, for independent inputs; the mean over many filters."""
    torch.manual_seed(0)
    blocks = [GatedToeplitz(4, expand=1, hidden=16, span=256) for _ in range(32)]
    x_BLE = torch.randn(1, 512, 4)
    sizes = [long_filter(x_BLE, block.filter(512)).square().mean().item() for block in blocks]
    assert 0.2 < sum(sizes) / len(sizes) < 2


def test_the_state_does_not_grow_with_the_context() -> None:
    block = GatedToeplitz(4, expand=2, hidden=4, span=32)
    state = block.init_state(1)
    sizes = []
    with torch.no_grad():
        for _ in range(4):
            _, state = block(torch.randn(1, 40, 4), state)
            sizes.append(state_bytes(state))
    assert sizes == [4 * 2 * 8 * (32 + 40 * n % 32) for n in (1, 2, 3, 4)]
