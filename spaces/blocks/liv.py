"""Linear input-varying operators as modules, and the backbone in which they share weights and features.

Letters in tensor names: B batch, L length, S tokens that are read, D width, H heads (times arms, where two mixings
are subtracted), G groups of heads, P channels of a head, N state, C channels, T taps; O outputs and I inputs of a
group. The letters of features are those of `spaces.blocks.operators`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.attention import in_blocks, in_documents, reach, rotate
from spaces.blocks.base import Block, State, at_least_float32, rms_norm
from spaces.blocks.conv import causal_conv, conv_taps, long_conv
from spaces.blocks.documents import positions, refuse_both
from spaces.blocks.mamba import scan
from spaces.blocks.operators import (
    BAND,
    BANDED,
    BY_CHANNEL,
    DENSE,
    DIAGONAL,
    LOW_RANK,
    MODES,
    RELU,
    SOFTMAX,
    SWISH,
    TOEPLITZ,
    Layer,
    Operator,
    head_count,
    holds_memory,
    mixed_width,
    problem,
    shapes,
)
from spaces.blocks.sizes import CONV_KERNEL


class LIVState(NamedTuple):
    """The last inputs of the featurizer's convolution [B, T - 1, D], what is remembered, how many tokens went by."""

    past_BTD: Tensor | None
    memory: tuple[Tensor, ...]
    offset: int


class ChannelMap(nn.Module):
    """A matrix from I channels a group to O a group: of all groups, of each alone, or a scale for each channel.

    The last repeats the channels of a group O / I times, or adds I / O of them up.
    """

    def __init__(self, mixing: int, groups: int, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.mixing, self.groups, self.fan_in, self.fan_out = mixing, groups, fan_in, fan_out
        shape: tuple[int, ...]
        if mixing == DENSE:
            shape, inputs = (groups * fan_out, groups * fan_in), groups * fan_in
        elif mixing == BY_CHANNEL:
            few = min(fan_in, fan_out)
            shape, inputs = (groups, max(fan_in, fan_out) // few, few), max(1, fan_in // fan_out)
        else:
            shape, inputs = (groups, fan_in, fan_out), fan_in
        self.weight = nn.Parameter(torch.randn(shape) * inputs**-0.5)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """[B, L, groups * I] to [B, L, groups, O]."""
        if self.mixing == DENSE:
            return F.linear(x_BLC, self.weight).unflatten(-1, (self.groups, self.fan_out))
        x_BLGI = x_BLC.unflatten(-1, (self.groups, self.fan_in))
        if self.mixing != BY_CHANNEL:
            return torch.einsum("blgi,gio->blgo", x_BLGI, self.weight)
        if self.fan_out >= self.fan_in:
            return (x_BLGI[:, :, :, None] * self.weight).flatten(3)
        return (x_BLGI.unflatten(-1, (-1, self.fan_out)) * self.weight).sum(dim=3)


class Taps(nn.Module):
    """The short convolution of a featurizer, one filter a channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.taps = conv_taps(CONV_KERNEL, width)


class LIV(nn.Module):
    """x + M sum_j T_ij V_j of the normed x, and what other layers may take from it.

    T is, by token mixing, with f the nonlinearity and n_i the tokens that i sees:

    1. f(C_i) for j = i, else 0
    2. the softmax of C_i . B_j / sqrt(P), or f(C_i . B_j / sqrt(P)) / n_i, with B and C rotated (RoPE); if banded,
       for the last `BAND` tokens
    3. f(C_i) K_(i-j) B_j for each channel; K is taps if banded, else K_t = sum_n r_n (1 - a_n) a_n^t
    4. f(C_i) . a_i ... a_(j+1) d_j B_j / sqrt(N), d = softplus(A + bias), a = exp(-d exp(rate)), each head its own

    A difference is T_1 - l T_2, each T with B, C, A and K of its own and l a number for each head.

    weights: the featurizer's by letter, perhaps also those of other layers.
    """

    def __init__(self, width: int, layer: Layer, weights: nn.ModuleDict) -> None:
        super().__init__()
        operator = layer.operator
        self.operator, self.taken = operator, layer.taken
        self.heads, self.arms = head_count(width), operator.arms
        self.few = self.heads // operator.repeat
        self.follows = holds_memory(operator, layer.taken)
        mixed = mixed_width(operator, width)
        self.share = mixed // self.heads
        self.norm = rms_norm(width)
        self.weights = weights
        self.out = ChannelMap(operator.channel_mixing, self.heads, self.share, width // self.heads)
        if operator.differential:
            self.subtracted = nn.Parameter(torch.full((self.heads,), 0.5))
        if operator.token_mixing == TOEPLITZ and not self.follows:
            if operator.sparsity == BANDED:
                self.taps = conv_taps(CONV_KERNEL, self.arms * mixed)
            else:
                rate_CN = torch.empty(self.arms * mixed, MODES).uniform_(math.log(1e-3), 0)
                self.log_rate = nn.Parameter(rate_CN)
                self.residue = nn.Parameter(torch.randn(self.arms * mixed, MODES))
        if "A" in weights:
            step_H = torch.exp(torch.empty(self.heads * self.arms).uniform_(math.log(1e-3), math.log(1e-1)))
            self.bias = nn.Parameter(step_H + torch.log(-torch.expm1(-step_H)))  # the inverse of softplus
            self.rate = nn.Parameter(torch.empty(self.heads * self.arms).uniform_(1, 16).log())

    def forward(
        self,
        x_BLD: Tensor,
        state: LIVState | None,
        segments_BL: Tensor | None,
        lent: dict[str, Tensor],
    ) -> tuple[Tensor, LIVState | None, dict[str, Tensor]]:
        """The sum, the state after it, and what may be lent; `lent` is what the leader may lend."""
        past_BTD, memory, offset = LIVState(None, (), 0) if state is None else state
        u_BLD = self.norm(x_BLD)
        if "T" in self.weights:
            u_BLD, past_BTD = causal_conv(u_BLD, cast(Taps, self.weights["T"]).taps, past_BTD, segments_BL)
        features = {letter: weight(u_BLD) for letter, weight in self.weights.items() if letter != "T"}
        features |= {letter: lent[letter] for letter in self.taken if letter in lent}
        if self.operator.token_mixing == DIAGONAL:
            z_BLHP = self._nonlinear(self._spread(features["C"])) * features["V"]
        elif self.operator.token_mixing == LOW_RANK:
            z_BLHP, memory = self._low_rank(features, memory, offset, segments_BL, lent)
        elif self.operator.token_mixing == TOEPLITZ:
            z_BLHP, memory = self._toeplitz(features, memory, segments_BL, lent)
        else:
            z_BLHP, memory = self._semi_separable(features, memory, segments_BL, lent)
        if self.operator.differential:
            first_BLHP, second_BLHP = z_BLHP.unflatten(2, (-1, 2)).unbind(3)
            z_BLHP = first_BLHP - self.subtracted[:, None] * second_BLHP
        y_BLD = x_BLD + self.out(z_BLHP.flatten(2)).flatten(2)
        after = None if state is None else LIVState(past_BTD, memory, offset + x_BLD.shape[1])
        return y_BLD, after, features

    def init_state(self, batch: int) -> LIVState:
        operator, few = self.operator, self.few
        weight = self.out.weight
        past_BTD = None
        if "T" in self.weights:
            past_BTD = weight.new_zeros(batch, CONV_KERNEL - 1, self.norm.weight.shape[0])
        memory: tuple[Tensor, ...] = ()
        if operator.remembers_scores:
            sizes = {"B": (few * self.arms, self.share), "V": (few, self.share)}
            memory = tuple(
                weight.new_zeros(batch, 0, *size)
                for letter, size in sizes.items()
                if letter not in self.taken
            )
        elif operator.token_mixing == DIAGONAL or self.follows:
            pass
        elif operator.token_mixing == LOW_RANK:
            memory = (at_least_float32(weight.new_zeros(batch, few, self.arms, self.share, self.share)),)
        elif operator.token_mixing == TOEPLITZ:
            channels = self.arms * self.heads * self.share
            if operator.sparsity == BANDED:
                memory = (weight.new_zeros(batch, CONV_KERNEL - 1, channels),)
            else:
                memory = (at_least_float32(weight.new_zeros(batch, channels, MODES)),)
        else:
            size = (self.heads, self.arms, self.share, operator.expansion)
            memory = (at_least_float32(weight.new_zeros(batch, *size)),)
        return LIVState(past_BTD, memory, 0)

    def _before(self, memory: tuple[Tensor, ...], lent: dict[str, Tensor], batch: int) -> Tensor:
        """The state of the recurrence before these tokens: the leader's, the own, or that of no tokens."""
        if self.follows:
            return lent["state"]
        return memory[0] if memory else self.init_state(batch).memory[0]

    def _nonlinear(self, x: Tensor) -> Tensor:
        if self.operator.nonlinearity == RELU:
            return F.relu(x)
        return F.silu(x) if self.operator.nonlinearity == SWISH else x

    def _spread(self, x_BLGO: Tensor, arms: int = 1) -> Tensor:
        """Features of groups [B, L, G, arms * O] as those of heads, arms beside each other: [B, L, H * arms, O].

        Features that have no arms are the same for both where `arms` is 1 and the operator has two.
        """
        times, copies = self.heads // x_BLGO.shape[2], self.arms // arms
        x_BLGAO = x_BLGO.unflatten(-1, (arms, -1))
        shape = (-1, -1, -1, times, arms * copies, -1)
        return x_BLGAO[:, :, :, None].expand(shape).flatten(2, 4)

    def _low_rank(
        self,
        features: dict[str, Tensor],
        memory: tuple[Tensor, ...],
        offset: int,
        segments_BL: Tensor | None,
        lent: dict[str, Tensor],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        c_BLHP = rotate(self._spread(features["C"], self.arms), offset)
        if "B" not in self.taken:
            features["B"] = rotate(features["B"].unflatten(-1, (self.arms, -1)).flatten(2, 3), offset)
        if not self.operator.remembers_scores:
            return self._linear(c_BLHP, features, memory, offset, segments_BL, lent)
        kept = []
        places = [letter for letter in "BV" if letter not in self.taken]
        for letter, past in zip(places, memory or [None] * len(places), strict=True):
            if past is not None:
                features[letter] = torch.cat([past, features[letter]], dim=1)
            drop = 0
            if self.operator.sparsity == BANDED:
                drop = max(0, features[letter].shape[1] - BAND + 1)
            # Cloned, since a view would keep the whole sequence alive.
            kept.append(features[letter][:, drop:].clone() if drop else features[letter])
        b_BSHP = self._spread(features["B"].unflatten(2, (-1, self.arms)).flatten(3), self.arms)
        v_BSHP = self._spread(features["V"])
        c_BHLP, b_BHSP, v_BHSP = (x.transpose(1, 2) for x in (c_BLHP, b_BSHP, v_BSHP))
        return self._attend(c_BHLP, b_BHSP, v_BHSP, segments_BL).transpose(1, 2), tuple(kept)

    def _attend(self, c_BHLP: Tensor, b_BHSP: Tensor, v_BHSP: Tensor, segments_BS: Tensor | None) -> Tensor:
        """The L last of S tokens read all that band and documents leave visible."""
        length, total = c_BHLP.shape[2], b_BHSP.shape[2]
        band = BAND if self.operator.sparsity == BANDED else None
        if segments_BS is not None and band is None and not torch.compiler.is_compiling():
            return in_documents(self._attend, c_BHLP, b_BHSP, v_BHSP, segments_BS)
        if band is not None and length >= 2 * band:
            return in_blocks(self._attend, c_BHLP, b_BHSP, v_BHSP, segments_BS, band)
        softmax = self.operator.nonlinearity == SOFTMAX
        whole = segments_BS is None and (band is None or length <= band)
        if softmax and length == total and whole:
            return F.scaled_dot_product_attention(c_BHLP, b_BHSP, v_BHSP, is_causal=True)
        _, visible = reach(length, total, band, segments_BS, c_BHLP.device)
        if softmax:
            return F.scaled_dot_product_attention(c_BHLP, b_BHSP, v_BHSP, attn_mask=visible)
        scores_BHLS = c_BHLP @ b_BHSP.transpose(-1, -2) * c_BHLP.shape[-1] ** -0.5
        share = visible.to(c_BHLP.dtype) / visible.sum(dim=-1, keepdim=True)
        return (self._nonlinear(scores_BHLS) * share) @ v_BHSP

    def _linear(
        self,
        c_BLHP: Tensor,
        features: dict[str, Tensor],
        memory: tuple[Tensor, ...],
        offset: int,
        segments_BL: Tensor | None,
        lent: dict[str, Tensor],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores without a nonlinearity: a recurrence on sums of V B^T, which the heads of a group share."""
        batch, length = c_BLHP.shape[:2]
        before = features["state"] = self._before(memory, lent, batch)
        times = self.heads // self.few
        spread = before[:, :, None].expand(-1, -1, times, -1, -1, -1).flatten(1, 3)
        b_BLHP = self._spread(features["B"].unflatten(2, (-1, self.arms)).flatten(3), self.arms)
        v_BLHP = self._spread(features["V"])
        decay_BLH = at_least_float32(c_BLHP.new_zeros(c_BLHP.shape[:3]))
        z_BLHP, after = _scan_heads(v_BLHP, decay_BLH, b_BLHP, c_BLHP * self.share**-0.5, spread, segments_BL)
        if segments_BL is None:
            seen = torch.arange(offset + 1, offset + length + 1, device=c_BLHP.device)
        else:
            seen = positions(segments_BL) + 1
        after = after.unflatten(1, (self.few, times, self.arms))[:, :, 0]
        return z_BLHP / seen[..., None, None].to(z_BLHP.dtype), () if self.follows else (after.clone(),)

    def _toeplitz(
        self,
        features: dict[str, Tensor],
        memory: tuple[Tensor, ...],
        segments_BL: Tensor | None,
        lent: dict[str, Tensor],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        c_BLHP = self._nonlinear(self._spread(features["C"], self.arms))
        if self.follows:
            features["K"] = lent["K"]
            return c_BLHP * features["K"], ()
        read_BLC = (self._spread(features["B"], self.arms) * self._spread(features["V"])).flatten(2)
        if self.operator.sparsity == BANDED:
            k_BLC, after = causal_conv(read_BLC, self.taps, memory[0] if memory else None, segments_BL)
        else:
            before = self._before(memory, lent, read_BLC.shape[0])
            k_BLC, after = long_conv(read_BLC, self.log_rate, self.residue, before, segments_BL)
        features["K"] = k_BLC.unflatten(-1, (-1, self.share))
        return c_BLHP * features["K"], (after,)

    def _semi_separable(
        self,
        features: dict[str, Tensor],
        memory: tuple[Tensor, ...],
        segments_BL: Tensor | None,
        lent: dict[str, Tensor],
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        c_BLHN = self._nonlinear(self._spread(features["C"], self.arms)) * self.operator.expansion**-0.5
        b_BLHN = self._spread(features["B"], self.arms)
        v_BLHP = self._spread(features["V"])
        if "A" in self.taken:
            features["decay"] = lent["decay"]
        else:
            features["A"] = F.softplus(at_least_float32(features["A"].flatten(2) + self.bias))
            features["decay"] = -features["A"] * at_least_float32(self.rate).exp()
        before = features["state"] = self._before(memory, lent, v_BLHP.shape[0])
        input_BLHP = v_BLHP * features["A"][..., None].to(v_BLHP.dtype)
        z_BLHP, after = _scan_heads(
            input_BLHP, features["decay"], b_BLHN, c_BLHN, before.flatten(1, 2), segments_BL
        )
        return z_BLHP, () if self.follows else (after.unflatten(1, (self.heads, self.arms)),)


def _scan_heads(
    x_BLHP: Tensor,
    decay_BLH: Tensor,
    b_BLHN: Tensor,
    c_BLHN: Tensor,
    state_BHPN: Tensor,
    segments_BL: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The recurrence of `spaces.blocks.mamba.scan` with B and C of its own for each head."""
    batch, _, heads, _ = x_BLHP.shape
    x, b, c = (part.transpose(1, 2).flatten(0, 1) for part in (x_BLHP, b_BLHN, c_BLHN))
    decay = decay_BLH.transpose(1, 2).flatten(0, 1)
    segments = None if segments_BL is None else segments_BL.repeat_interleave(heads, dim=0)
    y, state = scan(x[:, :, None], decay[..., None], b, c, state_BHPN.flatten(0, 1)[:, None], segments)
    return y[:, :, 0].unflatten(0, (batch, heads)).transpose(1, 2), state[:, 0].unflatten(0, (batch, heads))


class Backbone(Block):
    """Layers of linear input-varying operators, one after the other, which may share weights and features.

    Raises ValueError if an operator cannot be at the width.
    """

    def __init__(self, width: int, layers: Sequence[Layer]) -> None:
        super().__init__()
        for layer in layers:
            if reason := problem(layer.operator, width):
                raise ValueError(reason)
        self.leaders = [layer.leader for layer in layers]
        weights: dict[tuple[int, str], nn.Module] = {}
        self.layers = nn.ModuleList()
        for layer in layers:
            operator, each = layer.operator, shapes(layer.operator, width)
            applied = nn.ModuleDict()
            for letter, owner in zip(layer.weights, layer.owners, strict=True):
                if (owner, letter) not in weights:
                    weights[owner, letter] = (
                        Taps(width) if letter == "T" else _featurizer(operator, each[letter], width)
                    )
                applied[letter] = weights[owner, letter]
            self.layers.append(LIV(width, layer, applied))

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        before: Sequence[Any] = [None] * len(self.layers) if state is None else state
        states: list[Any] = []
        lent: list[dict[str, Tensor]] = []
        for layer, leader, own in zip(self.layers, self.leaders, before, strict=True):
            taken = lent[leader] if leader < len(lent) else {}
            x_BLD, own, lends = layer(x_BLD, own, segments_BL, taken)
            states.append(own)
            lent.append(lends)
        return x_BLD, None if state is None else tuple(states)

    def init_state(self, batch: int) -> State:
        return tuple(cast(LIV, layer).init_state(batch) for layer in self.layers)


def _featurizer(operator: Operator, shape: tuple[int, int], width: int) -> ChannelMap:
    """What makes a feature of groups x outputs of the input."""
    groups, outputs = shape
    return ChannelMap(operator.featurizer_channel_mixing, groups, width // groups, outputs)
