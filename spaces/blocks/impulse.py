"""Recurrences h[t] = A h[t-1] + B x[t], y[t] = C h[t] with a matrix for each channel: their impulse responses.

Letters in tensor names: B batch, L length, D width, S dimensions of a state, Q powers of a matrix, F points
of a circle, T coefficients of a polynomial.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from spaces.blocks.base import at_least_float32


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


def stepped(
    x_BLD: Tensor, h_BDS: Tensor, step: Callable[[Tensor, Tensor], Tensor], read_DS: Tensor
) -> tuple[Tensor, Tensor]:
    """What is read of tokens that continue a state, [B, L, D], and the state after them.

    step: the next state from a state and a token [B, D, 1], in O(S): on CPUs, products of many tokens with powers of a
    matrix take as long as about a thousand such steps.
    """
    outputs = []
    for x_BD in at_least_float32(x_BLD).unbind(1):
        h_BDS = step(h_BDS, x_BD[..., None])
        outputs.append((h_BDS * read_DS).sum(dim=-1))
    return torch.stack(outputs, dim=1).to(x_BLD.dtype), h_BDS
