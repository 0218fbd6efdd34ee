"""Recurrences h[t] = A h[t-1] + B x[t], y[t] = C h[t] with a matrix for each channel: their impulse responses.

Letters in tensor names: B batch, L length, D width, S dimensions of a state, M chunks, Q tokens of a chunk and powers
of a matrix, F points of a circle, T coefficients of a polynomial.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from spaces.blocks.base import at_least_float32, without_autocast
from spaces.blocks.filters import long_filter

CHUNK = 64
LONG = 16
"""Prompts of two chunks, and of so many tokens for each dimension of a state, go by chunks: on CPUs the powers of a
matrix take as long as about that many steps."""


class Circle:
    """Points z at which a generating function, the sum of K[t] z^t over all t, tells its first `length` terms.

    They lie inside the unit circle, which is all that a stable K[t] needs. By the inverse Fourier transform, terms
    after twice the length come back among the first, but damped to eps^(2/3); rounding is undamped to as much at most.
    So no power of A is needed, and no length is special. In float64, where the device has it: in float32 the rest would
    be some 1e-5.
    """

    def __init__(self, length: int, device: torch.device) -> None:
        self.length = length
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.damp = math.log(torch.finfo(dtype).eps) / (3 * length)
        turn_F = torch.arange(length + 1, device=device, dtype=dtype) * (math.pi / length)
        self.points_F = torch.polar(torch.full_like(turn_F, math.exp(self.damp)), -turn_F)

    def values(self, terms_DT: Tensor) -> Tensor:
        """A polynomial of any degree at the points, complex [..., F]."""
        period = 2 * self.length
        damped_DT = self._damped(terms_DT, self.damp)
        folded_DT = torch.nn.functional.pad(damped_DT, (0, -damped_DT.shape[-1] % period))
        return torch.fft.rfft(folded_DT.unflatten(-1, (-1, period)).sum(dim=-2))

    def terms(self, values_DF: Tensor) -> Tensor:
        """The first terms, [..., L], of a generating function by its values at the points."""
        return self._damped(torch.fft.irfft(values_DF, 2 * self.length)[..., : self.length], -self.damp)

    def _damped(self, terms_DT: Tensor, damp: float) -> Tensor:
        t_T = torch.arange(terms_DT.shape[-1], device=terms_DT.device, dtype=terms_DT.dtype)
        return terms_DT * torch.exp(damp * t_T)


def krylov(keep_DSS: Tensor, write_DS: Tensor, length: int) -> Tensor:
    """keep^t write for t from 0 on, [D, S, L], by doubling."""
    columns_DSQ = write_DS[..., None]
    while columns_DSQ.shape[-1] < length:
        columns_DSQ = torch.cat([columns_DSQ, keep_DSS @ columns_DSQ], dim=-1)
        if columns_DSQ.shape[-1] < length:
            keep_DSS = keep_DSS @ keep_DSS
    return columns_DSQ[..., :length]


def response(keep_DSS: Tensor, write_DS: Tensor, read_DS: Tensor, length: int) -> Tensor:
    """read keep^t write for t from 0 on, [L, D], by matrix products alone."""
    return (read_DS[:, None] @ krylov(keep_DSS, write_DS, length)).squeeze(1).T


class Leap(NamedTuple):
    """What Q steps do: A^Q, [D, S, S], A^t B for t from 0 on, [D, S, Q], and C A^(t+1), [D, Q, S]."""

    keep_DSS: Tensor
    write_DSQ: Tensor
    read_DQS: Tensor


def leap(keep_DSS: Tensor, write_DS: Tensor, read_DS: Tensor) -> Leap:
    """What a chunk of steps does, for any matrix, by doubling."""
    write_DSQ, read_DQS = write_DS[..., None], read_DS[:, None] @ keep_DSS
    while write_DSQ.shape[-1] < CHUNK:
        write_DSQ = torch.cat([write_DSQ, keep_DSS @ write_DSQ], dim=-1)
        read_DQS = torch.cat([read_DQS, read_DQS @ keep_DSS], dim=1)
        keep_DSS = keep_DSS @ keep_DSS
    return Leap(keep_DSS, write_DSQ, read_DQS)


def continued(
    x_BLD: Tensor,
    h_BDS: Tensor,
    step: Callable[[Tensor, Tensor], Tensor],
    read_DS: Tensor,
    leap: Callable[[], Leap],
) -> tuple[Tensor, Tensor]:
    """What is read of tokens that continue a state, [B, L, D], and the state after them.

    step: the next state from a state and a token [B, D, 1], in O(S). leap: what a chunk of steps does. Few tokens go
    step by step. Of many those that fill no chunk do, and then all chunks at once, but for their states: each is the
    convolution with the impulse response, and what the state before it still gives.
    """
    length, outputs = x_BLD.shape[1], []
    if length < max(2 * CHUNK, LONG * h_BDS.shape[2]):
        return stepped(x_BLD, h_BDS, step, read_DS)
    with without_autocast(x_BLD.device):
        steps = leap()
        first = length % steps.write_DSQ.shape[-1]
        if first:
            y_BLD, h_BDS = stepped(x_BLD[:, :first], h_BDS, step, read_DS)
            outputs.append(y_BLD)
        y_BLD, h_BDS = _leapt(x_BLD[:, first:], h_BDS, read_DS, steps)
    return torch.cat([*outputs, y_BLD], dim=1), h_BDS


def stepped(
    x_BLD: Tensor, h_BDS: Tensor, step: Callable[[Tensor, Tensor], Tensor], read_DS: Tensor
) -> tuple[Tensor, Tensor]:
    """The same, token by token."""
    outputs = []
    for x_BD in at_least_float32(x_BLD).unbind(1):
        h_BDS = step(h_BDS, x_BD[..., None])
        outputs.append((h_BDS * read_DS).sum(dim=-1))
    return torch.stack(outputs, dim=1).to(x_BLD.dtype), h_BDS


def _leapt(x_BLD: Tensor, h_BDS: Tensor, read_DS: Tensor, steps: Leap) -> tuple[Tensor, Tensor]:
    """The same, by whole chunks."""
    tap_D1Q = read_DS.to(steps.write_DSQ.dtype)[:, None] @ steps.write_DSQ
    keep_DSS, write_DSQ, read_DQS, tap_D1Q = (part.to(h_BDS.dtype) for part in (*steps, tap_D1Q))
    x_BMQD = at_least_float32(x_BLD).unflatten(1, (-1, write_DSQ.shape[-1]))
    chunks = (x_BMQD.shape[1], len(x_BMQD))
    within_BMQD = long_filter(x_BMQD.flatten(0, 1), tap_D1Q.squeeze(1).T).view_as(x_BMQD)
    x_DQN = x_BMQD.permute(3, 2, 1, 0).flatten(2)  # N: all chunks of all sequences
    added_DSMB = (write_DSQ.flip(-1) @ x_DQN).unflatten(-1, chunks)
    h_DSB, before = h_BDS.permute(1, 2, 0), []
    for added_DSB in added_DSMB.unbind(2):
        before.append(h_DSB)
        h_DSB = torch.baddbmm(added_DSB, keep_DSS, h_DSB)
    carried_DQN = read_DQS @ torch.stack(before, dim=2).flatten(2)
    y_BMQD = within_BMQD + carried_DQN.unflatten(-1, chunks).permute(3, 2, 1, 0)
    return y_BMQD.flatten(1, 2).to(x_BLD.dtype), h_DSB.permute(2, 0, 1).contiguous()
