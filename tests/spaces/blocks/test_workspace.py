import pytest
import torch

from spaces.blocks.workspace import Workspace


def test_a_chunk_is_read_by_later_chunks_and_not_by_itself() -> None:
    torch.manual_seed(0)
    block = Workspace(8, slots=3, chunk=4).double()
    x_BLD = torch.randn(1, 12, 8, dtype=torch.float64, requires_grad=True)
    y_BLD, _ = block(x_BLD)
    for token in range(12):
        [pull] = torch.autograd.grad(y_BLD[0, token].sum(), x_BLD, retain_graph=True)
        reached = pull[0].abs().sum(dim=1) > 0
        before = torch.arange(12) < token // 4 * 4
        assert torch.equal(reached, before | (torch.arange(12) == token))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="slots 1 is below 2: a token chooses what it reads"):
        Workspace(8, slots=1, chunk=4)
    with pytest.raises(ValueError, match="chunk 0 is below 1"):
        Workspace(8, slots=2, chunk=0)
