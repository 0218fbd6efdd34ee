import pytest
import torch

from spaces.blocks.base import state_bytes
from spaces.blocks.long_conv import LongConv
from spaces.blocks.reference.long_conv import long_conv


def test_windows_fade_from_fast_to_slow() -> None:
    """Of two filters that differ by their windows alone, to a hundredth at 0.3 and at 1.5 of the span."""
    block = LongConv(3, hidden=4, span=100)
    with torch.no_grad():
        block.frequency.zero_()
        assert not block.filter(200).any()
        block.network[2].bias.copy_(torch.full((4,), torch.pi / 2))
        block.frequency.fill_(1)
        for layer in block.network:
            layer.weight.zero_()
        taps_LD = block.filter(200)
    faded = taps_LD / taps_LD[0]
    torch.testing.assert_close(faded[30, 0], torch.tensor(0.01), rtol=1e-4, atol=0)
    torch.testing.assert_close(faded[150, 2], torch.tensor(0.01), rtol=1e-4, atol=0)
    assert (faded[1:].diff(dim=1) > 0).all()


def test_a_lone_channel_fades_fast() -> None:
    block = LongConv(1, hidden=4, span=20).double()
    x_BLD = torch.randn(2, 30, 1, dtype=torch.float64)
    torch.testing.assert_close(block(x_BLD)[0], long_conv(block, x_BLD))


def test_decoding_keeps_all_tokens_and_what_they_add_to_as_many_outputs() -> None:
    block = LongConv(8, hidden=4, span=100)
    _, state = block(torch.randn(1, 30, 8), block.init_state(1))
    _, state = block(torch.randn(1, 1, 8), state)
    assert state_bytes(state) == 4 * (2 * 24 + 2 * 31 * 8)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="hidden 0 is below 1"):
        LongConv(8, hidden=0, span=10)
