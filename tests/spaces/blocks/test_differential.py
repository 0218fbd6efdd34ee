import pytest
import torch

from spaces.blocks.attention import Attention
from spaces.blocks.differential import DifferentialAttention


def test_equal_arms_leave_the_mean_share_of_one_softmax() -> None:
    """With q1 = q2 and k1 = k2 the two softmaxes are one, of which 1 - lambda is left."""
    torch.manual_seed(0)
    choices = {"kv_heads": 1, "position": "rope", "window": None}
    block = DifferentialAttention(16, heads=1, **choices).double()
    plain = Attention(16, heads=2, **choices | {"kv_heads": 2}).double()
    with torch.no_grad():
        for weight in (block.qkv.weight, plain.qkv.weight):
            weight[8:16], weight[24:32] = weight[:8], weight[16:24]
        plain.qkv.weight.copy_(block.qkv.weight)
        plain.out.weight.copy_(torch.eye(16))
        block.out.weight.copy_(torch.eye(16))
        x = torch.randn(2, 50, 16, dtype=torch.float64)
        read = (1 - block.weight()) * plain(x)[0]
        torch.testing.assert_close(block(x)[0], (1 - 0.8) * block.norm(read))


@pytest.mark.parametrize(
    "choices, message",
    [
        ({"heads": 16}, "width 16 is not a multiple of twice the heads 16"),
        ({"kv_heads": 3}, "heads 4 is not a multiple of kv_heads 3"),
        ({"window": 0}, "window 0 is below 1"),
    ],
)
def test_impossible_choices_are_refused(choices: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DifferentialAttention(16, **{"heads": 4, "kv_heads": 4, "position": "rope", "window": None} | choices)
