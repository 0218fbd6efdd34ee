"""Which dimensions of parameters are width, told of blocks and whole models."""

import pytest
import torch
from torch import nn

import spaces
from spaces.blocks.attention import Attention
from spaces.blocks.moe import MoE
from spaces.blocks.width import width_dimensions


def test_heads_and_experts_are_no_width_and_what_they_hold_is() -> None:
    attention = width_dimensions(
        lambda width: Attention(width, heads=4, kv_heads=1, position="rope", window=None, qk_norm=True), 16
    )
    assert attention == {
        "q_norm.weight": (True,),
        "k_norm.weight": (True,),
        "qkv.weight": (True, True),
        "out.weight": (True, True),
    }
    experts = width_dimensions(lambda width: MoE(width, experts=4, top_k=2, mult=1), 16)
    assert experts == {
        "gate_up": (False, True, True),
        "out": (False, True, True),
        "router.weight": (False, True),
    }


def test_the_vocabulary_of_a_model_is_no_width() -> None:
    space = spaces.load("hybrid", spaces.tokens(64, 32))
    genome = space.architecture("transformer++")
    tags = width_dimensions(lambda width: space.at(spaces.tokens(64, width)).build(genome), 32)
    assert tags["embedding.weight"] == tags["head.weight"] == (False, True)
    assert all(any(tag) for tag in tags.values())
    assert set(tags) == {name for name, _ in space.build(genome).named_parameters()}


def test_a_parameter_of_other_dimensions_is_refused() -> None:
    class Folds(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(width) if width < 10 else torch.zeros(width, 2))

    with pytest.raises(ValueError, match=r"weight has shape \(4,\) at width 4, and \(64, 2\) at 64"):
        width_dimensions(Folds, 4)
