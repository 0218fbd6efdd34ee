"""Attention to learned tokens, one input and one learned token at a time."""

import math

import torch
from torch import Tensor

from spaces.blocks.reference.mlp import gelu
from spaces.blocks.token_parameters import TokenParameterAttention


def token_parameter_attention(block: TokenParameterAttention, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    rows = []
    for x_D in x_BLD.flatten(0, 1):
        scores = [(x_D * key_D).sum() for key_D in block.keys]
        length = torch.sqrt(sum((score**2 for score in scores), torch.zeros(())))
        weights = [gelu(score * math.sqrt(block.first_tokens) / length) for score in scores]
        pairs = zip(weights, block.values, strict=True)
        rows.append(sum((weight * value_D for weight, value_D in pairs), torch.zeros(())))
    return torch.stack(rows).view_as(x_BLD)
