import math

import pytest
import torch

from spaces.blocks.filters import long_filter
from spaces.blocks.reference import filters as slow
from spaces.blocks.state_space import S4D, S5, _filter, hippo


@pytest.mark.parametrize("length", [1, 2, 63, 130])
def test_a_long_filter_and_its_gradients_equal_the_sum(length: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, length, 3, dtype=torch.float64, requires_grad=True)
    taps = torch.randn(length + 5, 3, dtype=torch.float64, requires_grad=True)
    outcomes = []
    for convolve in (long_filter, slow.long_filter):
        y = convolve(x, taps)
        outcomes.append([y, *torch.autograd.grad(y.sin().sum(), [x, taps])])
    for ours, theirs in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_a_filter_is_exact_where_the_first_input_is_large() -> None:
    """Rounding is relative to the largest input, and is that of float32 although the input is bfloat16."""
    x, taps = torch.zeros(1, 1000, 1), torch.full((1000, 1), 0.5)
    x[0, 0], x[0, 1:] = 1e3, 1.0
    wanted = slow.long_filter(x.double(), taps.double())
    torch.testing.assert_close(long_filter(x, taps).double(), wanted, rtol=1e-5, atol=0)
    assert long_filter(x.bfloat16(), taps).dtype == torch.bfloat16


def test_modes_of_legs_give_the_kernel_of_dss() -> None:
    """DSS_exp (arXiv 2203.14343, proposition 1): K[t] = sum of w (exp(z) - 1) / lambda exp(z t), z = lambda dt."""
    torch.manual_seed(0)
    state, length = 16, 40
    block = S4D(3, state=state, init="legs").double()
    order = torch.arange(state, dtype=torch.float64)
    root = (2 * order + 1).sqrt()
    matrix = -(root[:, None] * root).tril(-1) - torch.diag(order + 1)
    eigenvalues = torch.linalg.eigvals(matrix + (root[:, None] * root) / 2)
    lambdas = eigenvalues[eigenvalues.imag > 0]
    lambdas = lambdas[lambdas.imag.argsort()]
    z = block.log_dt.exp()[:, None] * lambdas
    weights = torch.complex(*block.read) * (z.exp() - 1) / lambdas
    kernel = (weights[..., None] * (z[..., None] * torch.arange(length)).exp()).sum(dim=1).real
    ours = _filter(*block.modes(), length).T
    torch.testing.assert_close(ours, 2 * kernel, rtol=1e-5, atol=1e-5)  # modes begin in float32


@pytest.mark.parametrize(
    "init, wanted",
    [
        ("lin", [-0.5 + 0j, -0.5 + 1j * math.pi, -0.5 + 2j * math.pi, -0.5 + 3j * math.pi]),
        ("inv", [-0.5 + 8j / math.pi * (8 / (2 * n + 1) - 1) for n in range(4)]),
        ("real", [-1, -2, -3, -4, -5, -6, -7, -8]),
    ],
)
def test_initial_modes_are_those_of_the_paper(init: str, wanted: list[complex]) -> None:
    torch.manual_seed(0)
    block = S4D(300, state=8, init=init)
    z_PDN, _ = block.modes()
    step_D = block.log_dt.exp()
    assert step_D.min() >= 0.99e-3
    assert step_D.max() <= 1.01e-1
    assert 0.007 < step_D.median() < 0.014  # log-uniform: the median is 0.01
    modes = torch.tensor(wanted, dtype=torch.complex64)
    torch.testing.assert_close(z_PDN[0] / step_D[:, None], modes.real.expand(300, -1))
    if init != "real":
        torch.testing.assert_close(z_PDN[1] / step_D[:, None], modes.imag.expand(300, -1))


def test_modes_of_s5_are_the_eigenvalues_of_hippo() -> None:
    state = 6
    angles_N, vectors_SN = hippo(state)
    a_SS = torch.zeros(state, state, dtype=torch.complex64)
    for n in range(state):
        for k in range(state):
            size = math.sqrt((n + 0.5) * (k + 0.5))
            a_SS[n, k] = -0.5 if n == k else -size if n > k else size
    torch.testing.assert_close(a_SS @ vectors_SN, vectors_SN * (-0.5 + 1j * angles_N))
    assert (angles_N > 0).all()
    torch.testing.assert_close(torch.linalg.norm(vectors_SN, dim=0), torch.ones(state // 2))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown init 'linear': use 'lin', 'inv', 'legs' or 'real'"):
        S4D(8, state=4, init="linear")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="state 5 is odd, but each mode of init 'inv' stands for two"):
        S4D(8, state=5, init="inv")
    with pytest.raises(ValueError, match="state 5 is odd, but each mode stands for two"):
        S5(8, state=5)
