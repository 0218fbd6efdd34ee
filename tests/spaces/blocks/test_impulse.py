import pytest
import torch

from spaces.blocks import impulse
from spaces.blocks.companion import CompanionSSM
from spaces.blocks.s4 import S4


def test_chunks_of_a_prompt_are_read_in_the_precision_of_the_state() -> None:
    torch.manual_seed(0)
    model, x_BLD = S4(3, state=4), torch.randn(2, 200, 3)
    with torch.no_grad():
        _, (last_BDS,) = model(x_BLD, model.init_state(2))
        with torch.autocast("cpu", torch.bfloat16):
            _, (other_BDS,) = model(x_BLD, model.init_state(2))
    torch.testing.assert_close(other_BDS, last_BDS, rtol=0, atol=0)


@pytest.mark.parametrize(
    "block, state", [(S4, 2), (S4, 16), (CompanionSSM, 1), (CompanionSSM, 16), (CompanionSSM, 70)]
)
def test_a_long_prompt_is_read_by_chunks_and_gives_what_steps_give(
    block: type[S4] | type[CompanionSSM], state: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs, the last state and all gradients, from a state that is not zero."""
    torch.manual_seed(0)
    model, length = block(3, state=state).double(), max(128, 16 * state) + 5
    x_BLD = torch.randn(2, length, 3, dtype=torch.float64, requires_grad=True)
    h_BDS = torch.randn_like(model.init_state(2)[0]).requires_grad_()
    taken, stepped = [], impulse.stepped

    def watched(x_BLD, *parts):
        taken.append(x_BLD.shape[1])
        return stepped(x_BLD, *parts)

    monkeypatch.setattr(impulse, "stepped", watched)
    leaves, results = (x_BLD, h_BDS, *model.parameters()), []
    for pieces in (1, length):
        state_now, parts = (h_BDS,), []
        for piece_BLD in x_BLD.chunk(pieces, dim=1):
            y_BLD, state_now = model(piece_BLD, state_now)
            parts.append(y_BLD)
        y_BLD, (last_BDS,) = torch.cat(parts, dim=1), state_now
        pulls = torch.cos(torch.arange(y_BLD.numel(), dtype=torch.float64)).view_as(y_BLD), last_BDS.detach()
        gradients = torch.autograd.grad((y_BLD, last_BDS), leaves, pulls, materialize_grads=True)
        results.append((y_BLD, last_BDS, *gradients))
        if pieces == 1:
            assert 0 < sum(taken) < 64
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
