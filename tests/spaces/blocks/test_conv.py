import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from spaces.blocks.conv import causal_conv


@pytest.mark.parametrize("packed", [False, True], ids=["one document", "packed"])
def test_first_and_second_gradients_of_a_short_convolution(packed: bool) -> None:
    torch.manual_seed(0)
    x, taps, past = (
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in [(2, 7, 3), (4, 3), (2, 3, 3)]
    )
    segments = torch.tensor([[0, 0, 0, 1, 1, 2, 2]]).expand(2, -1) if packed else None

    def conv(x: Tensor, taps: Tensor, past: Tensor) -> Tensor:
        return causal_conv(x, taps, None if packed else past, segments)[0]

    inputs = (x, taps, past.detach() if packed else past)
    assert gradcheck(conv, inputs)
    assert gradgradcheck(conv, inputs)
