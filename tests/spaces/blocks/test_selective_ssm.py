import pytest
import torch
import torch.nn.functional as F

from spaces.blocks.selective_ssm import PIECE, Mamba, selective_scan


def test_initial_steps_and_decays_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    block = Mamba(64, state=4, expand=8, init="decaying")
    step = F.softplus(block.step.bias)
    assert step.min() >= 0.99e-3
    assert step.max() <= 1.01e-1
    assert 0.007 < step.median() < 0.014  # log-uniform: the median is 0.01
    assert block.step.weight.abs().max() <= 4**-0.5
    torch.testing.assert_close(block.log_a.exp(), torch.arange(1.0, 5).expand(512, 4))


def test_scan_survives_decays_whose_exponentials_would_overflow() -> None:
    torch.manual_seed(0)
    x, b, c = torch.randn(1, 200, 2), torch.randn(1, 200, 3), torch.randn(1, 200, 3)
    dt = torch.full((1, 200, 2), 1e4, requires_grad=True)
    y, last = selective_scan(x, dt, -torch.ones(3, 2), b, c, torch.zeros(1, 3, 2))
    y.sum().backward()
    # Nothing of the past is left: each output is its own token's.
    torch.testing.assert_close(y, x * (b * c).sum(-1, keepdim=True))
    assert last.isfinite().all()
    assert dt.grad is not None
    assert dt.grad.isfinite().all()


def test_a_long_sequence_keeps_few_of_its_states() -> None:
    """For the gradient: the inputs, and one state for each piece."""
    length, inner, state = 40 * PIECE, 8, 16
    x, dt = (torch.rand(1, length, inner, requires_grad=True) for _ in range(2))
    b, c = torch.rand(1, length, state), torch.rand(1, length, state)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y, _ = selective_scan(x, dt, -torch.ones(state, inner), b, c, torch.zeros(1, state, inner))
    assert y.requires_grad
    numbers = 2 * length * (inner + state) + (length // PIECE + 1) * state * inner
    assert sum(kept.values()) <= 4 * numbers < 4 * length * state * inner / 2


def test_a_mimetic_layer_begins_as_linear_attention_with_queries_that_are_keys() -> None:
    torch.manual_seed(0)
    block = Mamba(16, state=8, expand=2, init="mimetic")
    u_BLD = torch.randn(2, 20, 16)
    x_BLI, z_BLI = block.in_proj(u_BLD).chunk(2, dim=-1)
    x_BLI = F.silu(x_BLI)
    _, b_BLN, _ = block.select(x_BLI).split(block.sizes, dim=-1)
    scores_BLL = (b_BLN @ b_BLN.transpose(1, 2)).tril()
    wanted_BLD = block.out((scores_BLL @ x_BLI + x_BLI) * F.silu(z_BLI))
    torch.testing.assert_close(block(u_BLD)[0], wanted_BLD, rtol=0.02, atol=0.02)


def test_an_unknown_init_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown init 'mimetc': use 'decaying' or 'mimetic'"):
        Mamba(16, state=4, expand=2, init="mimetc")  # type: ignore[arg-type]
