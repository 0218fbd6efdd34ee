import pytest
import torch

from spaces.blocks.s4 import S4
from spaces.blocks.state_space import hippo


def test_the_model_begins_as_hippo_legs() -> None:
    """The filter is that of the matrix of HiPPO-LegS itself by the bilinear rule (arXiv 2111.00396, equation 2)."""
    torch.manual_seed(0)
    state, length = 16, 50
    block = S4(3, state=state).double()
    order_S = torch.arange(state, dtype=torch.float64)
    write_S = (2 * order_S + 1).sqrt()
    a_SS = -(write_S[:, None] * write_S).tril(-1) - torch.diag(order_S + 1)
    read_DS = (torch.complex(*block.read) @ hippo(state)[1].to(torch.complex128).mH).real * 2
    for channel, step in enumerate(block.log_dt.exp()):
        back_SS = torch.eye(state) - step / 2 * a_SS
        h_S = torch.linalg.solve(back_SS, step * write_S)
        for response in block.filter(length)[:, channel]:
            torch.testing.assert_close(response, read_DS[channel] @ h_S, rtol=1e-4, atol=1e-5)
            h_S = torch.linalg.solve(back_SS, h_S + step / 2 * a_SS @ h_S)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-6)])
def test_the_filter_does_not_depend_on_the_length(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    block = S4(4, state=64).to(dtype)
    long_LD = block.filter(3000)
    for length in (1, 2, 100, 1023):
        torch.testing.assert_close(block.filter(length), long_LD[:length], rtol=tolerance, atol=tolerance)


def test_no_matrix_that_is_learned_is_unstable() -> None:
    """Whatever the low-rank part, no step makes a state larger."""
    torch.manual_seed(0)
    block = S4(20, state=8).double()
    with torch.no_grad():
        block.low.normal_(std=30)
        block.angle.normal_(std=100)
        block.log_dt.uniform_(-7, 3)
    keep_DSS, _, _ = block.system()
    assert torch.linalg.matrix_norm(keep_DSS, 2).max() <= 1 + 1e-12


def test_an_odd_state_is_refused() -> None:
    with pytest.raises(ValueError, match="state 5 is odd, but each mode stands for two dimensions"):
        S4(8, state=5)
