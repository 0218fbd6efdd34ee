import itertools
import math

import pytest
import torch

from spaces.blocks.companion import CompanionSSM
from spaces.blocks.reference.companion import companion


def block_of(width: int, state: int) -> CompanionSSM:
    """A block that predicts something."""
    torch.manual_seed(0)
    block = CompanionSSM(width, state=state).double()
    torch.nn.init.normal_(block.predict, std=0.5 * state**-0.5)
    return block


@pytest.mark.parametrize("state, steps", [(1, 5), (8, 1), (8, 7), (8, 100), (33, 64)])
def test_a_forecast_is_the_rollout(state: int, steps: int) -> None:
    """Predicting, reading what was predicted, and so on, gives the same outputs, gradients and last state."""
    block = block_of(6, state)
    x_BLD = torch.randn(3, 20, 6, dtype=torch.float64, requires_grad=True)
    _, begun = block(x_BLD, block.init_state(3))
    ours_BHD, ours = block.forecast(begun, steps)
    outputs, theirs = [], begun
    for _ in range(steps):
        predicted_BD = (block.predict * theirs[0]).sum(dim=-1)
        y_BLD, theirs = block(predicted_BD[:, None], theirs)
        outputs.append(y_BLD)
    theirs_BHD = torch.cat(outputs, dim=1)
    torch.testing.assert_close(ours_BHD, theirs_BHD, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-9, atol=1e-9)
    leaves = [x_BLD, *block.parameters()]
    gradients = [
        torch.autograd.grad(y.square().sum(), leaves, retain_graph=True) for y in (ours_BHD, theirs_BHD)
    ]
    for our, their in zip(*gradients, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-8, atol=1e-8)


def test_a_process_that_is_known_is_forecast_exactly() -> None:
    """Without a column the state is the last inputs, and a wave follows from two of them."""
    block = block_of(1, 2)
    with torch.no_grad():
        block.column.zero_()
        block.write.copy_(torch.tensor([[1.0, 0.0]]))
        block.predict.copy_(torch.tensor([[2 * math.cos(0.3), -1.0]], dtype=torch.float64))
    wave_BLD = torch.sin(0.3 * torch.arange(150, dtype=torch.float64))[None, :, None]
    _, state = block(wave_BLD[:, :50], block.init_state(1))
    told_BLD, _ = block(wave_BLD[:, 50:], state)
    forecast_BHD, _ = block.forecast(state, 100)
    torch.testing.assert_close(forecast_BHD, told_BLD, rtol=1e-9, atol=1e-9)


def test_the_auxiliary_loss_is_the_error_of_predictions_within_documents() -> None:
    block = block_of(4, 5)
    x_BLD = torch.randn(2, 30, 4, dtype=torch.float64)
    segments_BL = torch.tensor([[0] * 11 + [1] * 19, [0] * 30])
    a_DSS, errors = companion(block), []
    for document_LD in (x_BLD[0, :11], x_BLD[0, 11:], x_BLD[1]):
        h_DS = torch.zeros_like(block.read)
        for now_D, next_D in itertools.pairwise(document_LD):
            h_DS = (a_DSS @ h_DS[..., None])[..., 0] + block.write * now_D[:, None]
            errors.append(((block.predict * h_DS).sum(dim=-1) - next_D).square().mean())
    block(x_BLD, None, segments_BL)
    torch.testing.assert_close(block.aux_loss, 0.01 * torch.stack(errors).mean())
    block(x_BLD, block.init_state(2))
    assert block.aux_loss is None, "a call with a state has the loss of the call before"
    block.eval()(x_BLD)
    assert block.aux_loss is None


def test_powers_of_the_matrix_are_bounded() -> None:
    block = block_of(5, 7)
    keep_DSS, _ = block.system()
    torch.testing.assert_close(keep_DSS, companion(block))
    assert torch.linalg.matrix_norm(keep_DSS, 1).max() <= 1 + 1e-12


def test_the_filter_does_not_depend_on_the_length() -> None:
    """Also where there are fewer points than dimensions, and where nothing fades."""
    block = block_of(3, 64)
    torch.nn.init.constant_(block.column, 1.0)
    [long_LD] = block.filters(1000, block.read)
    for length in (1, 3, 65, 512):
        torch.testing.assert_close(
            block.filters(length, block.read)[0], long_LD[:length], rtol=1e-9, atol=1e-9
        )


def test_no_steps_are_refused() -> None:
    block = block_of(2, 3)
    with pytest.raises(ValueError, match="steps 0 is below 1"):
        block.forecast(block.init_state(1), 0)
