"""Experts that are picked by themselves, by a hash, or once a chunk."""

from __future__ import annotations

import pytest
import torch

from spaces.blocks.reference.moe import expert_choice_moe, sinkhorn
from spaces.blocks.routing import (
    ChunkMoE,
    ExpertChoiceMoE,
    HashedMoE,
    SinkhornMoE,
    quantile_loss,
    transport_loss,
)


def used(block: ExpertChoiceMoE, x: torch.Tensor) -> torch.Tensor:
    """The share of tokens that each expert takes."""
    return (block.router(x) > block.thresholds()).double().mean(dim=(0, 1))


def test_thresholds_begin_where_normed_tokens_have_the_capacity_on_average() -> None:
    torch.manual_seed(0)
    block = ExpertChoiceMoE(256, experts=8, capacity=2, mult=1)
    x = torch.nn.functional.rms_norm(torch.randn(4, 500, 256), (256,))
    assert used(block, x).sum().item() == pytest.approx(2, abs=0.15)


def test_the_auxiliary_loss_leads_every_expert_to_its_share() -> None:
    """Also where tokens are not what the thresholds began with: skewed, and of another size."""
    torch.manual_seed(0)
    block = ExpertChoiceMoE(16, experts=8, capacity=2, mult=1)
    optimiser = torch.optim.SGD([block.threshold], lr=0.3 / 16)
    x = 2 * torch.randn(8, 500, 16).exp()
    before = (used(block, x) - 2 / 8).abs().max()
    for _ in range(1500):
        optimiser.zero_grad()
        block(x[:1])
        assert block.aux_loss is not None
        block.aux_loss.backward()
        optimiser.step()
    after = (used(block, x) - 2 / 8).abs().max()
    assert before > 0.2
    assert after < 0.05


def test_the_auxiliary_loss_moves_thresholds_alone_and_by_the_share_that_is_off() -> None:
    torch.manual_seed(0)
    block = ExpertChoiceMoE(16, experts=4, capacity=1, mult=1)
    x = torch.randn(2, 50, 16)
    block(x)
    assert block.aux_loss is not None
    block.aux_loss.backward()
    assert block.router.weight.grad is None
    assert block.threshold.grad is not None
    torch.testing.assert_close(block.threshold.grad, 4 * (1 / 4 - used(block, x)).float())
    block.eval()(x)
    assert block.aux_loss is None


def test_quantile_loss_is_least_at_the_quantile() -> None:
    scores = torch.arange(100.0)[:, None]
    losses = [
        quantile_loss(torch.tensor([t]), scores, 0.9).item() for t in torch.arange(0, 100, 0.5).tolist()
    ]
    assert losses.index(min(losses)) / 2 == pytest.approx(89.5, abs=0.5)


@pytest.mark.parametrize("training", [True, False])
def test_tokens_that_no_expert_takes_are_zero(training: bool) -> None:
    block = ExpertChoiceMoE(8, experts=4, capacity=1, mult=1).train(training)
    with torch.no_grad():
        block.threshold.fill_(1e9)
    x = torch.randn(2, 3, 8, requires_grad=True)
    y, _ = block(x)
    assert not y.any()
    y.sum().backward()
    torch.testing.assert_close(expert_choice_moe(block, x), y)


def test_offsets_learn_the_plan_of_sinkhorn() -> None:
    """Of skewed scores, by the loss alone; so each token has the expert that S-BASE gives it."""
    torch.manual_seed(0)
    score = 2 * torch.randn(200, 5).double() + torch.tensor([3.0, 1, 0, -1, -2])
    plan = sinkhorn(score)
    torch.testing.assert_close(plan.sum(dim=0), torch.full((5,), 1 / 5).double())
    offset = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([offset], max_iter=100, tolerance_grad=1e-12, tolerance_change=0)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = transport_loss(offset, score)
        loss.backward()
        return loss

    optimiser.step(closure)
    torch.testing.assert_close((score + offset).softmax(dim=1) / 200, plan, rtol=1e-6, atol=1e-9)
    assert torch.equal((score + offset).argmax(dim=1), plan.argmax(dim=1))


def trained(block: ExpertChoiceMoE | SinkhornMoE, steps: int) -> torch.Tensor:
    """By Adam, on tokens of six kinds with something in common, each of which wants a map of its own; the last."""
    kinds, maps = torch.randn(6, 64) + 0.5, torch.randn(6, 64, 64) / 8
    optimiser = torch.optim.Adam(block.parameters(), lr=3e-3)
    for _ in range(steps):
        kind = torch.randint(0, 6, (256,))
        x = torch.nn.functional.rms_norm(kinds[kind] + 0.7 * torch.randn(256, 64), (64,))
        y, _ = block(x[None])
        assert block.aux_loss is not None
        wanted = torch.einsum("td,tde->te", x, maps[kind])
        optimiser.zero_grad()
        ((y[0] - wanted).square().mean() + block.aux_loss).backward()
        optimiser.step()
    return x


def test_thresholds_keep_up_with_a_router_that_learns() -> None:
    torch.manual_seed(0)
    block = ExpertChoiceMoE(64, experts=8, capacity=2, mult=0.25)
    x = trained(block, 200)
    assert used(block, x[None]).sum() > 0.75 * 2


def test_offsets_keep_up_with_a_router_that_learns() -> None:
    torch.manual_seed(0)
    block = SinkhornMoE(64, experts=8, mult=0.25)
    x = trained(block, 100)
    plan = (block.router(x) + block.offsets()).softmax(dim=1)
    assert plan.mean(dim=0).max() < 1.4 / 8


def test_steps_on_the_auxiliary_loss_spread_skewed_tokens_and_move_offsets_alone() -> None:
    torch.manual_seed(0)
    block = SinkhornMoE(16, experts=8, mult=1)
    optimiser = torch.optim.SGD([block.offset], lr=1 / 16)
    x = torch.randn(4, 200, 16) + torch.randn(16)

    def largest() -> float:
        chosen = (block.router(x) + block.offsets()).argmax(dim=-1)
        return torch.bincount(chosen.flatten(), minlength=8).max().item() / 800

    before = largest()
    for _ in range(100):
        optimiser.zero_grad()
        block(x)
        assert block.aux_loss is not None
        block.aux_loss.backward()
        assert block.router.weight.grad is None
        optimiser.step()
    assert before > 0.4
    assert largest() < 0.2
    block.eval()(x)
    assert block.aux_loss is None


def test_equal_tokens_go_to_one_expert_and_opposite_ones_to_another() -> None:
    torch.manual_seed(0)
    block = HashedMoE(8, experts=6, mult=1)
    x = torch.randn(1, 1, 8)
    for same in (x, 3 * x):
        gate_up = torch.autograd.grad(block(same)[0].sum(), block.gate_up)[0]
        assert gate_up.flatten(1).any(dim=1).sum() == 1
    went = torch.autograd.grad(block(x)[0].sum(), block.gate_up)[0].flatten(1).any(dim=1)
    other = torch.autograd.grad(block(-x)[0].sum(), block.gate_up)[0].flatten(1).any(dim=1)
    assert (int(went.nonzero()) - int(other.nonzero())) % 6 == 3


def test_hashed_tokens_are_spread_evenly_where_none_is_favoured() -> None:
    torch.manual_seed(0)
    block = HashedMoE(64, experts=8, mult=1)
    near = torch.randn(8000, 64) @ block.directions
    counts = torch.bincount(torch.cat([near, -near], dim=1).argmax(dim=1), minlength=8)
    assert counts.min() > 500
    assert counts.max() < 1500


def test_the_fixed_directions_are_saved() -> None:
    block, other = HashedMoE(8, experts=4, mult=1), HashedMoE(8, experts=4, mult=1)
    other.load_state_dict(block.state_dict())
    x = torch.randn(2, 5, 8)
    assert torch.equal(block(x)[0], other(x)[0])


def test_a_chunk_follows_its_first_token() -> None:
    torch.manual_seed(0)
    block = ChunkMoE(8, experts=4, top_k=1, mult=1, chunk=4)
    x = torch.randn(1, 8, 8)
    x[:, 1:4] = x[:, 5:8]  # the same tokens, in two chunks
    y, _ = block(x)
    x[:, 4] = x[:, 0]
    together, _ = block(x)
    torch.testing.assert_close(together[:, :4], together[:, 4:])
    with torch.no_grad():
        block.router.weight.copy_(torch.eye(4, 8))
        x[:, 0], x[:, 4] = torch.eye(8)[0], torch.eye(8)[1]
    apart, _ = block(x)
    assert not torch.allclose(apart[:, 1:4], apart[:, 5:8])
    assert y.shape == x.shape


def test_what_cannot_be_routed_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity 4 is not from 1 to below the number of experts, 4"):
        ExpertChoiceMoE(8, experts=4, capacity=4, mult=1)
    with pytest.raises(ValueError, match="experts 3 must be even and at least 2"):
        HashedMoE(8, experts=3, mult=1)
    with pytest.raises(ValueError, match="chunk 0 is below 1"):
        ChunkMoE(8, experts=4, top_k=1, mult=1, chunk=0)
