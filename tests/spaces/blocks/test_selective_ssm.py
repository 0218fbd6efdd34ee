import pytest
import torch
import torch.nn.functional as F

from spaces.blocks import selective_ssm
from spaces.blocks.selective_ssm import STATES, TOKENS, Mamba, selective_scan


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
    y, last = selective_scan(x / 1e4, dt, -torch.ones(3, 2), b, c, torch.zeros(1, 3, 2))
    y.sum().backward()
    # Nothing of the past is left: each output is its own token's.
    torch.testing.assert_close(y, x * (b * c).sum(-1, keepdim=True))
    assert last.isfinite().all()
    assert dt.grad is not None
    assert dt.grad.isfinite().all()


def test_pieces_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four pieces of two sequences, the last ones short, and documents that end inside of them."""
    torch.manual_seed(0)
    batch, length, inner, state = 3, 3 * TOKENS + 5, 3, 2
    shapes = (
        [(batch, length, inner)] * 2
        + [(state, inner)]
        + [(batch, length, state)] * 2
        + [(batch, state, inner)]
    )
    inputs = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    inputs[1], inputs[2] = inputs[1].abs(), -inputs[2].abs()
    for part in inputs:
        part.requires_grad_()
    segments = torch.arange(length).div(7, rounding_mode="floor").expand(batch, -1)
    for documents in (None, segments):
        outcomes = []
        for states in (2**19, 2 * TOKENS * state * inner):
            monkeypatch.setattr(selective_ssm, "STATES", states)
            y, last = selective_scan(*inputs, documents)
            outcomes.append([y, last, *torch.autograd.grad(y.sin().sum() + last.cos().sum(), inputs)])
        for whole, pieces in zip(*outcomes, strict=True):
            torch.testing.assert_close(pieces, whole, rtol=1e-10, atol=1e-10)


def test_a_long_sequence_keeps_few_of_its_states() -> None:
    """For the gradient: the inputs, and one state for each piece of a sequence."""
    length, inner, state = 40 * TOKENS, STATES // TOKENS // 16, 16
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
    numbers = 2 * length * (inner + state) + (40 + 1) * state * inner
    assert sum(kept.values()) <= 4 * numbers < 4 * length * state * inner / 4


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


def test_documents_are_kept_apart_in_an_exported_graph_too() -> None:
    block = Mamba(8, state=4, expand=1, init="decaying").eval()
    x_BLD, other_BLD = torch.randn(2, 2, 20, 8)
    documents_BL = torch.tensor([[0] * 7 + [1] * 13, [4] * 20])
    program = torch.export.export(block, (x_BLD, None, documents_BL), strict=False).module()
    for packed_BL in (documents_BL, documents_BL.flip(1)):
        ours_BLD, theirs_BLD = (form(other_BLD, None, packed_BL)[0] for form in (program, block))
        torch.testing.assert_close(ours_BLD, theirs_BLD)
