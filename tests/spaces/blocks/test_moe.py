import copy
import math
import pickle

import pytest
import torch

from spaces.blocks.base import total_aux_loss
from spaces.blocks.companion import CompanionSSM
from spaces.blocks.moe import MoE, load_balancing_loss, router_z_loss
from spaces.blocks.topology import Residual, Stack


def test_auxiliary_loss_equals_the_formula_by_hand() -> None:
    block = MoE(4, experts=3, top_k=2, mult=1).double()
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    block(x)
    routed, mean, z = [0.0] * 3, [0.0] * 3, 0.0
    for token in x.flatten(0, 1):
        logits = (block.router.weight @ token).tolist()
        total = sum(math.exp(logit) for logit in logits)
        z += math.log(total) ** 2 / 10
        for e in sorted(range(3), key=logits.__getitem__)[1:]:
            routed[e] += 1 / 20
        for e in range(3):
            mean[e] += math.exp(logits[e]) / total / 10
    balance = 3 * sum(f * p for f, p in zip(routed, mean, strict=True))
    assert block.aux_loss is not None
    assert block.aux_loss.item() == pytest.approx(0.01 * balance + 0.001 * z, rel=1e-12)


def test_load_balancing_loss_is_one_if_balanced_and_the_number_of_experts_if_collapsed() -> None:
    even = torch.full((6, 4), 0.25)
    assert load_balancing_loss(even, torch.tensor([3, 3, 3, 3])) == 1
    one_sided = torch.tensor([[1.0, 0, 0, 0]] * 6)
    assert load_balancing_loss(one_sided, torch.tensor([6, 0, 0, 0])) == 4
    assert router_z_loss(torch.full((6, 4), 3.0)).item() == pytest.approx((3 + math.log(4)) ** 2)


def test_auxiliary_losses_are_averaged_over_the_network_and_absent_in_evaluation() -> None:
    layers = [Residual(8, MoE(8, experts=4, top_k=1, mult=1)) for _ in range(2)]
    predicting = [
        CompanionSSM(8, state=2) for _ in range(3)
    ]  # whose losses take nothing from those of the mixtures
    model = Stack([*layers, *predicting])
    assert total_aux_loss(model) is None
    model(torch.randn(2, 6, 8))
    parts = [layer.blocks[0].aux_loss for layer in layers]
    total = total_aux_loss(model)
    assert total is not None
    others = sum(block.aux_loss for block in predicting) / 3
    torch.testing.assert_close(total, (parts[0] + parts[1]) / 2 + others)
    total.backward()
    assert layers[0].blocks[0].router.weight.grad.abs().max() > 0
    model.eval()
    model(torch.randn(2, 6, 8))
    assert total_aux_loss(model) is None


def test_a_trained_block_can_be_copied_and_pickled() -> None:
    block = MoE(8, experts=4, top_k=2, mult=1)
    x = torch.randn(1, 3, 8)
    y, _ = block(x)
    for twin in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert twin.aux_loss is None
        torch.testing.assert_close(twin(x)[0], y)
    assert block.aux_loss is not None


def test_weights_are_not_renormalised() -> None:
    block = MoE(8, experts=4, top_k=1, mult=1)
    with torch.no_grad():
        block.router.weight.zero_()  # every probability is 1/4
        block.gate_up.copy_(block.gate_up[:1].expand_as(block.gate_up))
        block.out.copy_(block.out[:1].expand_as(block.out))
        x = torch.randn(1, 5, 8)
        gate, up = (x @ block.gate_up[0]).chunk(2, dim=-1)
        expert = (torch.nn.functional.silu(gate) * up) @ block.out[0]
        torch.testing.assert_close(block(x)[0], expert / 4)


@pytest.mark.parametrize("top_k", [0, 5])
def test_impossible_top_k_is_refused(top_k: int) -> None:
    with pytest.raises(ValueError, match=f"top_k {top_k} is not between 1 and the number of experts, 4"):
        MoE(8, experts=4, top_k=top_k, mult=1)


def test_a_compiled_mixture_takes_sequences_of_any_length() -> None:
    block, x_BLD = MoE(8, experts=4, top_k=2, mult=1), torch.randn(2, 12, 8)
    torch._dynamo.reset()
    compiled = torch.compile(block, backend="aot_eager")
    for length in (12, 7, 3):
        torch.testing.assert_close(compiled(x_BLD[:, :length])[0], block(x_BLD[:, :length])[0])
