"""Blocks over whole images, through the checks of those that are not causal."""

from collections.abc import Callable

import pytest
import torch

from spaces.blocks.multi_axis import MambaND
from spaces.blocks.reference.multi_axis import mamba_nd
from spaces.blocks.reference.spectral import fourier_layer, whole_einfft
from spaces.blocks.spectral import EinFFT, FourierLayer, WholeEinFFT
from spaces.blocks.testing import WHOLE_CHECKS, BlockCase, survives_bfloat16
from spaces.blocks.topology import Residual
from tests.spaces.blocks.suite import case, suite

CASES = [
    case(MambaND, mamba_nd, state=4, expand=2, order="columns_back", columns=8),
    case(MambaND, mamba_nd, state=4, expand=1, order="rows_back", columns=5),
    case(MambaND, mamba_nd, state=8, expand=1, order="columns", columns=8),
    case(FourierLayer, fourier_layer, modes=4, columns=8),
    case(FourierLayer, fourier_layer, modes=3, columns=5),
    case(FourierLayer, fourier_layer, modes=4),
    case(WholeEinFFT, whole_einfft, blocks=4),
    case(WholeEinFFT, whole_einfft, blocks=1),
]


@pytest.mark.parametrize("case, check", suite(CASES, WHOLE_CHECKS))
def test_block(case: BlockCase, check: Callable[[BlockCase], None]) -> None:
    check(case)


@pytest.mark.parametrize("modes", [1, 3, 8])
@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (5, 7), (8, 16)])
def test_a_fourier_layer_reads_images_of_any_size(shape: tuple[int, int], modes: int) -> None:
    block = FourierLayer(3, modes=modes, columns=shape[1]).double()
    x_BLD = torch.randn(2, shape[0] * shape[1], 3, dtype=torch.float64)
    torch.testing.assert_close(block(x_BLD)[0], fourier_layer(block, x_BLD))


def test_what_is_around_a_block_that_is_not_causal_is_not_either() -> None:
    assert not Residual(16, WholeEinFFT(16, blocks=4)).causal
    assert Residual(16, EinFFT(16, blocks=4)).causal


def test_what_is_impossible_is_refused() -> None:
    with pytest.raises(ValueError, match="5 blocks do not divide width 16"):
        WholeEinFFT(16, blocks=5)
    with pytest.raises(
        ValueError, match="unknown order 'diagonal': use 'rows', 'rows_back', 'columns', 'col"
    ):
        MambaND(16, state=4, expand=1, order="diagonal", columns=4)  # type: ignore[arg-type]
    block = FourierLayer(16, modes=2, columns=4)
    with pytest.raises(ValueError, match="10 tokens do not fill rows of 4"):
        block(torch.zeros(1, 10, 16))
    with pytest.raises(
        ValueError, match="FourierLayer reads all tokens at once: it takes no state and no seg"
    ):
        block(torch.zeros(1, 8, 16), ())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_long_sequences_survive_bfloat16(case: BlockCase) -> None:
    survives_bfloat16(case, length=4096)
