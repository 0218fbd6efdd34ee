"""Liquid networks: neurons whose time constants hang on the input, by a solver (LTC) or in closed form (CfC).

They are nonlinear recurrences: each token waits for the state of the one before it, in training too, so that a
sequence takes as many steps as it has tokens, on any device. What need not wait is taken out of the loops: products
of inputs, and of the gradient all that states alone decide.

Letters in tensor names: B batch, L length, D width, N neurons, M units of the backbone, C channels of what drives a
step, K steps of all tokens.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spaces.blocks.base import Block, State, at_least_float32, check_sizes, linear, without_autocast
from spaces.blocks.chunking import UNMODELLED
from spaces.blocks.documents import each_alone, refuse_both
from spaces.blocks.products import mkl_products
from spaces.blocks.sizes import hidden_width
from spaces.blocks.state_space import log_uniform

SLOPE, HEIGHT = 0.666, 1.7159
"""LeCun's tanh: 1.7159 tanh(0.666 x), whose numbers are those of the authors' code."""


class LiquidState(NamedTuple):
    """The neurons, [B, N]."""

    h_BN: Tensor


class Liquid(Block):
    """What LTC and CfC share: linear(h), where h[t] follows from h[t-1] and a linear map of the token."""

    def __init__(self, width: int, neurons: int, driven: int) -> None:
        super().__init__()
        self.neurons = neurons
        self.drive = linear(width, driven)
        self.drive_bias = nn.Parameter(torch.zeros(driven))
        self.out = linear(neurons, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        drive_BLC = at_least_float32(self.drive(x_BLD)) + at_least_float32(self.drive_bias)
        h_BN = self.init_state(x_BLD.shape[0]).h_BN if state is None else LiquidState(*state).h_BN
        with without_autocast(x_BLD.device):
            if segments_BL is None:
                h_BLN = self.states(drive_BLC, h_BN)
            else:
                alone = lambda drive_BLC: self.states(drive_BLC, h_BN[:1].expand(len(drive_BLC), -1))  # noqa: E731
                h_BLN = each_alone(alone, drive_BLC, segments_BL)
        y_BLD = self.out(h_BLN.to(self.out.weight.dtype))
        return y_BLD, None if state is None else LiquidState(h_BLN[:, -1].clone())

    def states(self, drive_BLC: Tensor, h_BN: Tensor) -> Tensor:
        """The neurons after each token, [B, L, N]."""
        raise NotImplementedError

    def init_state(self, batch: int) -> LiquidState:
        return LiquidState(at_least_float32(self.drive_bias.new_zeros(batch, self.neurons)))


class LTC(Liquid):
    """Liquid time-constant network (Hasani et al., arXiv 2006.04439) by its fused solver, algorithm 1.

    expand: neurons per unit of width. steps: those of the solver for a token, which takes one unit of time.

        dh/dt = -(1 / tau + f) h + f A,   f = sigmoid(W x + R h + mu)
        h <- (h + dt f A) / (1 + dt (1 / tau + f)),   dt = 1 / steps;   out = linear(h)

    The step is implicit in the h that decays, so that neurons stay between 0 and A whatever comes. f is a dense layer,
    as in the paper's algorithm; the authors' code has a sigmoid for each synapse, as many as R has entries. Time
    constants begin log-uniform in [1, 100] and mu uniform in [-5, 0], which is not the paper's, so that some neurons
    remember long. Times between tokens are all one unit.
    """

    def __init__(self, width: int, *, expand: int, steps: int) -> None:
        check_sizes(width=width, expand=expand, steps=steps)
        neurons = expand * width
        super().__init__(width, neurons, neurons)
        self.steps = steps
        nn.init.uniform_(self.drive_bias, -5, 0)
        self.recurrent = nn.Parameter(torch.randn(neurons, neurons) * neurons**-0.5)
        self.log_tau = nn.Parameter(log_uniform(1, 100, neurons))
        self.goal = nn.Parameter(torch.randn(neurons))

    def states(self, drive_BLC: Tensor, h_BN: Tensor) -> Tensor:
        recurrent_NN, goal_N = at_least_float32(self.recurrent), at_least_float32(self.goal)
        dt = 1 / self.steps
        leak_N = dt * torch.exp(-at_least_float32(self.log_tau))
        # With v = h - A - A leak, a step is v / (1 + leak + dt f) - A leak.
        fall_N = goal_N * leak_N
        away_N = goal_N + fall_N
        v_BN, drive_BLN = h_BN - away_N, drive_BLC + away_N @ recurrent_NN
        if torch.compiler.is_exporting():

            def step(v_BN: Tensor, drive_BN: Tensor) -> tuple[Tensor, Tensor]:
                for _ in range(self.steps):
                    f_BN = torch.sigmoid(v_BN @ recurrent_NN + drive_BN)
                    v_BN = v_BN / (1 + leak_N + dt * f_BN) - fall_N
                return v_BN, v_BN.clone()

            return _scanned(step, v_BN, drive_BLN) + away_N
        return _ltc(drive_BLN, v_BN, recurrent_NN, 1 + leak_N, fall_N, self.steps) + away_N


class CfC(Liquid):
    """Closed-form continuous-time network (Hasani et al., arXiv 2106.13898), of as many neurons as the width.

    mult: units of the backbone per unit of width, mult * width rounded.

        z = 1.7159 tanh(0.666 (W x + R h + b));   h <- (1 - t) tanh(g(z)) + t tanh(k(z)),   t = sigmoid(f(z))
        out = linear(h)

    g, k and f are affine. One layer of backbone with LeCun's tanh, and the tanh of g and k, are as in the authors'
    code; its f, of a part that is multiplied by the time and one that is not, is one map here, as times between tokens
    are all one unit.

    Raises ValueError if no backbone is left.
    """

    def __init__(self, width: int, *, mult: float) -> None:
        check_sizes(width=width)
        units = hidden_width(width, mult)
        super().__init__(width, width, units)
        self.recurrent = nn.Parameter(torch.randn(width, units) * width**-0.5)
        self.heads = nn.Parameter(torch.randn(units, 3 * width) * units**-0.5)
        self.heads_bias = nn.Parameter(torch.zeros(3 * width))

    def states(self, drive_BLC: Tensor, h_BN: Tensor) -> Tensor:
        recurrent_NM, heads_MX = (
            SLOPE * at_least_float32(self.recurrent),
            HEIGHT * at_least_float32(self.heads),
        )
        drive_BLM, bias_X = SLOPE * drive_BLC, at_least_float32(self.heads_bias)
        if torch.compiler.is_exporting():

            def step(h_BN: Tensor, drive_BM: Tensor) -> tuple[Tensor, Tensor]:
                h_BN = _mixed(torch.tanh(drive_BM + h_BN @ recurrent_NM) @ heads_MX + bias_X)
                return h_BN, h_BN.clone()

            return _scanned(step, h_BN, drive_BLM)
        return _cfc(drive_BLM, h_BN, recurrent_NM, heads_MX, bias_X)


def _scanned(step: Any, h_BN: Tensor, drive_BLC: Tensor) -> Tensor:
    """The states after each token, [B, L, N], as one node of an exported graph."""
    # Where PyTorch's documentation imports it from (Control flow: scan). Its public while_loop would copy all outputs
    # at each token.
    from torch._higher_order_ops import scan

    return scan(step, h_BN, drive_BLC.transpose(0, 1))[1].transpose(0, 1)


# What torch.compile would make of the loops grows with the length.
@torch.compiler.disable
def _ltc(*parts: Any) -> Tensor:
    states: Tensor = _LTC.apply(*parts)
    return states


@torch.compiler.disable
def _cfc(*parts: Any) -> Tensor:
    states: Tensor = _CfC.apply(*parts)
    return states


class _LTC(torch.autograd.Function):
    """v <- v / (keep + sigmoid(v R + drive) / steps) - fall, `steps` times a token; [B, L, N]."""

    @staticmethod
    @mkl_products()
    def forward(
        ctx: Any,
        drive_BLN: Tensor,
        v_BN: Tensor,
        recurrent_NN: Tensor,
        keep_N: Tensor,
        fall_N: Tensor,
        steps: int,
    ) -> Tensor:
        values, minus_N = [v_BN], -fall_N
        for drive_BN in drive_BLN.unbind(1):
            for _ in range(steps):
                f_BN = torch.addmm(drive_BN, v_BN, recurrent_NN).sigmoid_()
                v_BN = torch.addcdiv(minus_N, v_BN, torch.add(keep_N, f_BN, alpha=1 / steps))
                values.append(v_BN)
        v_KBN = torch.stack(values)
        ctx.save_for_backward(drive_BLN, v_KBN, recurrent_NN, keep_N, fall_N)
        ctx.steps = steps
        return v_KBN[steps::steps].transpose(0, 1).contiguous()

    @staticmethod
    @once_differentiable
    @mkl_products()
    def backward(ctx: Any, pull_BLN: Tensor) -> tuple[Tensor | None, ...]:
        drive_BLN, v_KBN, recurrent_NN, keep_N, fall_N = ctx.saved_tensors
        steps, back_NN = ctx.steps, recurrent_NN.T
        pull_BN, drives = torch.zeros_like(v_KBN[0]), []
        recurrent, keep, fall = (torch.zeros_like(part) for part in (recurrent_NN, keep_N, fall_N))
        for begin in reversed(
            range(0, drive_BLN.shape[1], UNMODELLED)
        ):  # so that few of the parts are held at once
            tokens = slice(begin, begin + UNMODELLED)
            before_KBN = v_KBN[:-1][begin * steps : tokens.stop * steps]
            after_KBN = v_KBN[1:][begin * steps : tokens.stop * steps]
            drive_KBN = drive_BLN[:, tokens].transpose(0, 1).repeat_interleave(steps, dim=0)
            f_KBN = (before_KBN @ recurrent_NN).add_(drive_KBN).sigmoid_()
            by_KBN = (keep_N + f_KBN / steps).reciprocal_()
            # How the quotient moves with its divisor, and with what the sigmoid is of.
            divided_KBN = -(after_KBN + fall_N) * by_KBN
            slope_KBN = divided_KBN * f_KBN * (1 - f_KBN) / steps
            pulls, inner = [], []
            by, slope, pull = by_KBN.unbind(), slope_KBN.unbind(), pull_BLN[:, tokens].unbind(1)
            for k in reversed(range(len(by))):
                if k % steps == steps - 1:
                    pull_BN = pull_BN + pull[k // steps]
                pulls.append(pull_BN)
                inner.append(pull_BN * slope[k])
                pull_BN = torch.addmm(pull_BN * by[k], inner[-1], back_NN)
            pull_KBN, inner_KBN = torch.stack(pulls[::-1]), torch.stack(inner[::-1])
            drives.append(inner_KBN.unflatten(0, (-1, steps)).sum(dim=1).transpose(0, 1))
            recurrent.addmm_(before_KBN.flatten(0, 1).T, inner_KBN.flatten(0, 1))
            keep += (pull_KBN * divided_KBN).sum(dim=(0, 1))
            fall -= pull_KBN.sum(dim=(0, 1))
        return torch.cat(drives[::-1], dim=1), pull_BN, recurrent, keep, fall, None


class _CfC(torch.autograd.Function):
    """h <- what `_mixed` makes of tanh(drive + h R) heads + bias; [B, L, N]."""

    @staticmethod
    @mkl_products()
    def forward(
        ctx: Any, drive_BLM: Tensor, h_BN: Tensor, recurrent_NM: Tensor, heads_MX: Tensor, bias_X: Tensor
    ) -> Tensor:
        values = [h_BN]
        for drive_BM in drive_BLM.unbind(1):
            units_BM = torch.addmm(drive_BM, values[-1], recurrent_NM).tanh_()
            values.append(_mixed(torch.addmm(bias_X, units_BM, heads_MX)))
        h_LBN = torch.stack(values)
        ctx.save_for_backward(drive_BLM, h_LBN, recurrent_NM, heads_MX, bias_X)
        return h_LBN[1:].transpose(0, 1).contiguous()

    @staticmethod
    @once_differentiable
    @mkl_products()
    def backward(ctx: Any, pull_BLN: Tensor) -> tuple[Tensor, ...]:
        drive_BLM, h_LBN, recurrent_NM, heads_MX, bias_X = ctx.saved_tensors
        units_LBM = (h_LBN[:-1] @ recurrent_NM).add_(drive_BLM.transpose(0, 1)).tanh_()
        one_LBN, other_LBN, gate_LBN = (units_LBM @ heads_MX).add_(bias_X).chunk(3, dim=-1)
        one_LBN, other_LBN, gate_LBN = one_LBN.tanh(), other_LBN.tanh(), gate_LBN.sigmoid()
        slope_LBX = torch.cat(
            [
                (1 - gate_LBN) * (1 - one_LBN.square()),
                gate_LBN * (1 - other_LBN.square()),
                (other_LBN - one_LBN) * gate_LBN * (1 - gate_LBN),
            ],
            dim=-1,
        )
        bend_LBM = 1 - units_LBM.square()
        heads_XM, recurrent_MN, pull_BN = heads_MX.T, recurrent_NM.T, torch.zeros_like(h_LBN[0])
        mixed, inner = [], []
        for pull_now_BN, slope_BX, bend_BM in zip(
            reversed(pull_BLN.unbind(1)),
            reversed(slope_LBX.unbind()),
            reversed(bend_LBM.unbind()),
            strict=True,
        ):
            mixed.append((pull_BN + pull_now_BN).repeat(1, 3).mul_(slope_BX))
            inner.append((mixed[-1] @ heads_XM).mul_(bend_BM))
            pull_BN = inner[-1] @ recurrent_MN
        mixed_LBX, inner_LBM = torch.stack(mixed[::-1]), torch.stack(inner[::-1])
        return (
            inner_LBM.transpose(0, 1),
            pull_BN,
            h_LBN[:-1].flatten(0, 1).T @ inner_LBM.flatten(0, 1),
            units_LBM.flatten(0, 1).T @ mixed_LBX.flatten(0, 1),
            mixed_LBX.sum(dim=(0, 1)),
        )


def _mixed(heads_BX: Tensor) -> Tensor:
    """From the tanh of the first third to that of the second, by the sigmoid of the last."""
    one_BN, other_BN, gate_BN = heads_BX.chunk(3, dim=-1)
    return torch.lerp(one_BN.tanh(), other_BN.tanh(), gate_BN.sigmoid())
