import pytest
import torch

from spaces.blocks.liquid import LTC, CfC
from spaces.blocks.reference.liquid import ltc


def neurons(block: LTC | CfC, x_BLD: torch.Tensor) -> torch.Tensor:
    """What the block reads its outputs of."""
    return block.states(block.drive(x_BLD) + block.drive_bias, block.init_state(len(x_BLD)).h_BN)


@pytest.mark.parametrize("steps", [1, 6])
def test_neurons_of_ltc_stay_between_zero_and_their_goal(steps: int) -> None:
    """Theorem 2 of arXiv 2006.04439."""
    torch.manual_seed(0)
    block = LTC(6, expand=2, steps=steps).double()
    torch.nn.init.normal_(block.recurrent, std=30)
    with torch.no_grad():
        h_BLN = neurons(block, 100 * torch.randn(3, 80, 6, dtype=torch.float64))
        assert (h_BLN >= block.goal.clamp(max=0) - 1e-12).all()
        assert (h_BLN <= block.goal.clamp(min=0) + 1e-12).all()
    assert (h_BLN.abs() > 0.5 * block.goal.abs()).any(), "no neuron went far"


def test_more_steps_come_nearer_to_the_differential_equation() -> None:
    """The solver is of the first order: twice the steps, half the error."""
    torch.manual_seed(0)
    block = LTC(4, expand=1, steps=1).double()
    x_BLD = torch.randn(2, 5, 4, dtype=torch.float64)
    ends = {}
    with torch.no_grad():
        for steps in (8, 16, 2048):
            block.steps = steps
            ends[steps] = neurons(block, x_BLD)
        coarse, fine = ((ends[steps] - ends[2048]).abs().max() for steps in (8, 16))
        block.steps = 8
        torch.testing.assert_close(block(x_BLD)[0], ltc(block, x_BLD))
    assert 1.8 < coarse / fine < 2.2


def test_a_neuron_that_nothing_opens_forgets_by_its_time_constant() -> None:
    block = LTC(1, expand=1, steps=1).double()
    torch.nn.init.constant_(block.drive_bias, -1e3)
    torch.nn.init.constant_(block.log_tau, 0.0)
    block.steps = 1000
    _, (h_BN,) = block(torch.zeros(1, 2, 1, dtype=torch.float64), (torch.ones(1, 1, dtype=torch.float64),))
    torch.testing.assert_close(h_BN.item(), 0.1353, rtol=2e-3, atol=0)  # e^-2


def test_a_closed_gate_of_cfc_keeps_to_one_head() -> None:
    torch.manual_seed(0)
    block = CfC(3, mult=2).double()
    x_BLD = torch.randn(2, 4, 3, dtype=torch.float64)
    with torch.no_grad():
        block.heads[:, 6:] = 0
        for bias, head in ((-1e3, slice(0, 3)), (1e3, slice(3, 6))):
            block.heads_bias[6:] = bias
            h_BLN = neurons(block, x_BLD)
            assert (h_BLN.abs() <= 1).all()
            z_BM = 1.7159 * torch.tanh(0.666 * (block.drive(x_BLD[:, 0])))
            torch.testing.assert_close(h_BLN[:, 0], torch.tanh(z_BM @ block.heads[:, head]))


def test_no_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mult 0\.1 of width 4 leaves no hidden units"):
        CfC(4, mult=0.1)
