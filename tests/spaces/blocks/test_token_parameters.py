import pytest
import torch

from spaces.blocks.token_parameters import TokenParameterAttention


def test_a_grown_block_can_be_loaded() -> None:
    block = TokenParameterAttention(16, tokens=8)
    block.grow(8)
    loaded = TokenParameterAttention(16, tokens=16)
    loaded.load_state_dict(block.state_dict())
    x_BLD = torch.randn(2, 5, 16)
    assert torch.equal(loaded(x_BLD)[0], block(x_BLD)[0])


def test_growing_leaves_the_output_and_lets_the_new_keys_learn() -> None:
    torch.manual_seed(0)
    block = TokenParameterAttention(6, tokens=5).double()
    x_BLD = torch.randn(2, 7, 6, dtype=torch.float64)
    before_BLD, _ = block(x_BLD)
    block.grow(4)
    after_BLD, _ = block(x_BLD)
    torch.testing.assert_close(after_BLD, before_BLD, rtol=1e-12, atol=1e-12)
    assert block.keys.shape == block.values.shape == (9, 6)
    after_BLD.square().sum().backward()
    assert block.keys.grad is not None
    assert block.keys.grad[5:].all()


def test_an_input_of_zeros_gives_zeros_and_finite_gradients() -> None:
    block = TokenParameterAttention(6, tokens=5)
    x_BLD = torch.zeros(1, 2, 6, requires_grad=True)
    y_BLD, _ = block(x_BLD)
    assert not y_BLD.any()
    y_BLD.sum().backward()
    assert x_BLD.grad is not None
    assert x_BLD.grad.isfinite().all()


def test_too_few_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="tokens 0 is below 1"):
        TokenParameterAttention(6, tokens=0)
    with pytest.raises(ValueError, match="tokens 0 is below 1"):
        TokenParameterAttention(6, tokens=5).grow(0)
