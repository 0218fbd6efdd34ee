"""Linear input-varying operators as the matrices T_ij that they are, one pair of tokens at a time.

Letters in tensor names: B batch, L length, D width, O outputs of a group, P channels of a head.
"""

import math
from typing import cast

import torch
from torch import Tensor

from spaces.blocks.liv import LIV, Backbone, ChannelMap, Taps
from spaces.blocks.operators import (
    BAND,
    BANDED,
    BY_CHANNEL,
    DENSE,
    DIAGONAL,
    LINEAR,
    LOW_RANK,
    RELU,
    SEMI_SEPARABLE,
    SOFTMAX,
    TOEPLITZ,
)
from spaces.blocks.reference.attention import rotate_by_matrix
from spaces.blocks.reference.conv import causal_conv


def backbone(block: Backbone, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    features: list[dict[str, Tensor]] = []
    for number, (layer, leader) in enumerate(zip(block.layers, block.leaders, strict=True)):
        assert isinstance(layer, LIV)
        u_BLD = x_BLD / torch.sqrt(x_BLD.square().mean(dim=-1, keepdim=True) + 1e-6) * layer.norm.weight
        if "T" in layer.weights:
            u_BLD = causal_conv(u_BLD, cast(Taps, layer.weights["T"]).taps)
        maps = {letter: cast(ChannelMap, made) for letter, made in layer.weights.items() if letter != "T"}
        own = {letter: channel_map(made, u_BLD) for letter, made in maps.items()}
        source = features[leader] if leader != number else {}
        own |= {letter: source[letter] for letter in layer.taken if letter != "K"}
        own["rates"] = source["rates"] if "A" in layer.taken else _rates(layer, own)
        own["kernel"] = source["kernel"] if "K" in layer.taken else _kernel(layer, x_BLD.shape[1])
        features.append(own)
        x_BLD = x_BLD + channel_map(layer.out, mixed(layer, own))
    return x_BLD


def channel_map(block: ChannelMap, x_BLC: Tensor) -> Tensor:
    """The matrix written out, with a block for each group."""
    groups, fan_in, fan_out = block.groups, block.fan_in, block.fan_out
    if block.mixing == DENSE:
        return x_BLC @ block.weight.T
    rows = []
    for g in range(groups):
        x_BLI = x_BLC[..., g * fan_in : (g + 1) * fan_in]
        if block.mixing == BY_CHANNEL:
            few = min(fan_in, fan_out)
            matrix_IO = x_BLC.new_zeros(fan_in, fan_out)
            for k in range(max(fan_in, fan_out)):
                matrix_IO[k % fan_in, k % fan_out] = block.weight[g, k // few, k % few]
        else:
            matrix_IO = block.weight[g]
        rows.append(x_BLI @ matrix_IO)
    return torch.cat(rows, dim=-1)


def mixed(layer: LIV, features: dict[str, Tensor]) -> Tensor:
    """sum_j T_ij V_j for all heads, [B, L, heads * P]."""
    parts = []
    for head in range(layer.heads):
        arms = [_arm(layer, features, head, arm) for arm in range(layer.arms)]
        parts.append(arms[0] if len(arms) == 1 else arms[0] - layer.subtracted[head] * arms[1])
    return torch.cat(parts, dim=-1)


def _part(layer: LIV, features: Tensor, groups: int, head: int, arm: int, arms: int) -> Tensor:
    """The features of one head and arm."""
    each = features.shape[-1] // groups
    group = head // (layer.heads // groups)
    part = features[..., group * each : (group + 1) * each]
    return part.chunk(arms, dim=-1)[arm if arms > 1 else 0]


def _nonlinear(layer: LIV, x: Tensor) -> Tensor:
    kind = layer.operator.nonlinearity
    if kind == LINEAR:
        return x
    return torch.where(x > 0, x, 0) if kind == RELU else x / (1 + torch.exp(-x))


def _arm(layer: LIV, features: dict[str, Tensor], head: int, arm: int) -> Tensor:
    """sum_j T_ij V_j of one head and one of the mixings that are subtracted, [B, L, P]."""
    operator, few, heads, arms = layer.operator, layer.few, layer.heads, layer.arms
    mixing = operator.token_mixing
    c = _part(layer, features["C"], heads if mixing == LOW_RANK else few, head, arm, arms)
    v = _part(layer, features["V"], few if mixing == LOW_RANK else heads, head, 0, 1)
    if mixing == DIAGONAL:
        return _nonlinear(layer, c) * v
    b = _part(layer, features["B"], few, head, arm, arms)
    if mixing == LOW_RANK:
        c, b = (rotate_by_matrix(x[:, :, None])[:, :, 0] for x in (c, b))
    rows = []
    for i in range(v.shape[1]):
        first = 0
        if operator.sparsity == BANDED:
            first = max(0, i + 1 - (BAND if mixing == LOW_RANK else len(features["kernel"])))
        if mixing == LOW_RANK:
            scores = torch.einsum("bp,bsp->bs", c[:, i], b[:, first : i + 1]) / math.sqrt(c.shape[-1])
            if operator.nonlinearity == SOFTMAX:
                weights = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
            else:
                weights = _nonlinear(layer, scores) / (i + 1 - first)
            rows.append(torch.einsum("bs,bsp->bp", weights, v[:, first : i + 1]))
        elif mixing == TOEPLITZ:
            place = (head * arms + arm) * layer.share
            kernel = features["kernel"][: i + 1 - first, place : place + layer.share].flip(0)
            read = kernel * b[:, first : i + 1] * v[:, first : i + 1]
            rows.append(_nonlinear(layer, c[:, i]) * read.sum(dim=1))
        else:
            assert mixing == SEMI_SEPARABLE
            step, decay = (x[..., head * arms + arm] for x in features["rates"].unbind(dim=0))
            since = decay[:, : i + 1].flip(1).cumsum(dim=1).flip(1) - decay[:, : i + 1]
            reads = torch.einsum("bn,bsn->bs", _nonlinear(layer, c[:, i]), b[:, : i + 1]) / math.sqrt(
                c.shape[-1]
            )
            rows.append(torch.einsum("bs,bsp->bp", reads * since.exp() * step[:, : i + 1], v[:, : i + 1]))
    return torch.stack(rows, dim=1)


def _rates(layer: LIV, features: dict[str, Tensor]) -> Tensor:
    """How much each token adds, and the logarithm of the decay at it, for each head and arm: [2, B, L, heads]."""
    if "A" not in features:
        return torch.zeros(0)
    step = torch.log1p(torch.exp(features["A"] + layer.bias))
    return torch.stack([step, -step * torch.exp(layer.rate)])


def _kernel(layer: LIV, length: int) -> Tensor:
    """The kernel from the newest token to the oldest, [T, C]."""
    if layer.operator.token_mixing != TOEPLITZ:
        return torch.zeros(0)
    if layer.operator.sparsity == BANDED:
        return layer.taps.flip(0)
    keep = torch.exp(-torch.exp(layer.log_rate))
    return torch.stack([(layer.residue * (1 - keep) * keep**t).sum(dim=-1) for t in range(length)])
