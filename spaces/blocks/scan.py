"""The diagonal linear recurrence that state space and gated recurrent blocks share.

Letters in tensor names: B batch, L length, C channels (real or complex, any number of dimensions), M chunks.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from spaces.blocks.base import at_least_float32
from spaces.blocks.chunking import chunk_size


def linear_scan(a_BLC: Tensor, b_BLC: Tensor, h_BC: Tensor) -> Tensor:
    """h[t] = a[t] h[t-1] + b[t] for all t, [B, L, C], with `h_BC` the state before the first token.

    Where a[t] = 0 the recurrence starts anew: nothing that went before, no gradient either, comes past. Nothing is
    divided by products of a, so decays may be as strong as they like. Computes in float32 at least, and keeps for
    the gradient what it was given and what it returns; the gradient is the same recurrence backwards in time.
    """
    a_BLC, b_BLC, h_BC = (at_least_float32(part) for part in (a_BLC, b_BLC, h_BC))
    if torch.is_grad_enabled() and any(part.requires_grad for part in (a_BLC, b_BLC, h_BC)):
        return _LinearScan.apply(a_BLC, b_BLC, h_BC)
    return _scan(a_BLC, b_BLC, h_BC)


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a_BLC: Tensor, b_BLC: Tensor, h_BC: Tensor) -> Tensor:
        h_BLC = _scan(a_BLC, b_BLC, h_BC)
        ctx.save_for_backward(a_BLC, h_BC, h_BLC)
        return h_BLC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pull_BLC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a_BLC, h_BC, h_BLC = ctx.saved_tensors
        a_BLC = a_BLC.conj().resolve_conj()
        # What pulls at h[t] is what pulls at y[t] and, through a[t+1], at h[t+1].
        next_BLC = torch.cat([a_BLC[:, 1:], torch.zeros_like(a_BLC[:, :1])], dim=1)
        g_BLC = _scan(next_BLC, pull_BLC, torch.zeros_like(h_BC), backwards=True)
        before_BLC = torch.cat([h_BC[:, None], h_BLC[:, :-1]], dim=1)
        return g_BLC * before_BLC.conj(), g_BLC, a_BLC[:, 0] * g_BLC[:, 0]


def _scan(a_BLC: Tensor, b_BLC: Tensor, h_BC: Tensor, backwards: bool = False) -> Tensor:
    """The recurrence from the first token to the last, or from the last to the first.

    All chunks step at once: first to know what each adds to and keeps of a state, then from the state that it
    starts with. With L tokens in chunks of Q that is about 2 Q + L / Q steps, one after the other.
    """
    length = a_BLC.shape[1]
    chunk = chunk_size("recurrence", length, a_BLC.shape[2:].numel(), a_BLC.device.type)
    order = -1 if backwards else 1
    if tail := -length % chunk:
        a_BLC, b_BLC = (F.pad(part, (0, 0) * (part.dim() - 2) + (0, tail)) for part in (a_BLC, b_BLC))
    a, b = (part.unflatten(1, (-1, chunk)).unbind(2)[::order] for part in (a_BLC, b_BLC))
    kept_BMC, added_BMC = a[0], b[0]
    for a_BMC, b_BMC in zip(a[1:], b[1:], strict=True):
        kept_BMC = kept_BMC * a_BMC
        added_BMC = torch.addcmul(b_BMC, a_BMC, added_BMC)
    starts = [h_BC]
    for kept_BC, added_BC in zip(kept_BMC.unbind(1)[::order], added_BMC.unbind(1)[::order], strict=True):
        starts.append(torch.addcmul(added_BC, kept_BC, starts[-1]))
    state_BMC = torch.stack(starts[:-1][::order], dim=1)
    states = []
    for a_BMC, b_BMC in zip(a, b, strict=True):
        state_BMC = torch.addcmul(b_BMC, a_BMC, state_BMC)
        states.append(state_BMC)
    return torch.stack(states[::order], dim=2).flatten(1, 2)[:, :length]
