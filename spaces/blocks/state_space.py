"""State space models whose matrices do not depend on the input: S4D, one model a channel, and S5, one for all.

Letters in tensor names: B batch, L length, D width, N modes, P parts of a number (2: real and imaginary, 1: real),
T points in time, M chunks, Q positions in a chunk. Numbers are kept as their parts, since ONNX has none but real
ones.
"""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, at_least_float32, check_sizes, linear
from spaces.blocks.chunking import chunk_size
from spaces.blocks.documents import refuse_both, starts
from spaces.blocks.filters import long_filter
from spaces.blocks.scan import linear_scan


class ModesState(NamedTuple):
    """The state of each mode: [B, P, D, N] of S4D, [B, N] of S5, complex."""

    modes: Tensor


def log_uniform(low: float, high: float, *shape: int) -> Tensor:
    """Logarithms of numbers whose logarithms are uniform."""
    return torch.empty(shape).uniform_(math.log(low), math.log(high))


class Rates(nn.Module):
    """Positive rates of decay, by weights w: "exp", exp(w), or "stable", 1 / (w^2 + b).

    The latter is the reparametrisation of StableSSM (Wang and Li, arXiv 2311.14495) that is best in that the gradient
    of a model, which goes with the rate's derivative over its square, is bounded by the weight: here it is 2 w. The
    paper leaves b open; half the inverse of the greatest rate at the start, which is told as the meta device has no
    values, lets rates at most double.

    Raises ValueError if the kind is unknown.
    """

    def __init__(self, rate: Tensor, greatest: float, kind: Literal["exp", "stable"]) -> None:
        super().__init__()
        if kind not in ("exp", "stable"):
            raise ValueError(f"unknown rate {kind!r}: use 'exp' or 'stable'")
        self.least = 0.5 / greatest if kind == "stable" else None
        self.weight = nn.Parameter(rate.log() if self.least is None else (1 / rate - self.least).sqrt())

    def forward(self) -> Tensor:
        """The rates, in float32 at least."""
        weight = at_least_float32(self.weight)
        return weight.exp() if self.least is None else 1 / (weight.square() + self.least)


def powers(z_P: Tensor, t_T: Tensor) -> Tensor:
    """exp(z t) for each number z = [P, ...] and each t, [P, ..., T]."""
    real = (z_P[0, ..., None] * t_T).exp()
    if len(z_P) == 1:
        return real[None]
    # An angle of many turns would lose its digits when multiplied.
    angle = torch.remainder(z_P[1], 2 * math.pi)[..., None] * t_T
    return torch.stack([real * angle.cos(), real * angle.sin()])


def times(a_P: Tensor, b_P: Tensor) -> Tensor:
    """The products of numbers, [P, ...]."""
    if len(a_P) == 1:
        return a_P * b_P
    return torch.stack([a_P[0] * b_P[0] - a_P[1] * b_P[1], a_P[0] * b_P[1] + a_P[1] * b_P[0]])


def conjugate(a_P: Tensor) -> Tensor:
    """The numbers with their imaginary part turned over; the real part of a b is the sum of conjugate(a) * b."""
    return torch.cat([a_P[:1], -a_P[1:]])


def held(z_P: Tensor, a_P: Tensor) -> Tensor:
    """(exp(z) - 1) / a: what a mode takes in of an input that is held for a step (zero-order hold)."""
    one_P = torch.cat([torch.ones_like(z_P[:1]), torch.zeros_like(z_P[1:])])
    grown_P = powers(z_P, z_P.new_ones(1)).squeeze(-1) - one_P
    return times(grown_P, conjugate(a_P)) / a_P.square().sum(dim=0)


class S4D(Block):
    """S4D (Gu et al., arXiv 2206.11893): a diagonal state space model for each channel, then a gated linear map.

    state: real dimensions of a channel's state. init: where A begins; of mode n, "lin": -1/2 + i pi n, "inv": -1/2 +
    i (N/pi) (N / (2n + 1) - 1), "legs": the eigenvalues of the normal part of HiPPO-LegS, with state / 2 modes that
    stand for pairs; "real": -(n + 1), with `state` modes. With "legs" it is DSS (Gupta et al., arXiv 2203.14343, its
    variant with exponential real parts), but for the 2 below.
    rate: how real parts hang on their weights, see `Rates`.

        h[t] = exp(dt A) h[t-1] + B' x[t];   y[t] = 2 Re(C h[t]) + D x[t];   out = glu(linear(gelu(y)))

    with B' = (exp(dt A) - 1) / A, zero-order hold of B = 1, and without the 2 for real modes. Over a sequence it is
    one convolution, whose filter is the product of two small Vandermonde matrices; with a state, a recurrence over
    chunks. dt begins log-uniform in [0.001, 0.1], C normal; the real part of A stays negative.

    Raises ValueError if init or rate is unknown, or the state odd where modes stand for pairs.
    """

    def __init__(
        self,
        width: int,
        *,
        state: int,
        init: Literal["lin", "inv", "legs", "real"],
        rate: Literal["exp", "stable"] = "exp",
    ) -> None:
        super().__init__()
        check_sizes(width=width, state=state)
        if init not in ("lin", "inv", "legs", "real"):
            raise ValueError(f"unknown init {init!r}: use 'lin', 'inv', 'legs' or 'real'")
        self.parts = 1 if init == "real" else 2
        modes, rest = divmod(state, self.parts)
        if rest:
            raise ValueError(
                f"state {state} is odd, but each mode of init {init!r} stands for two dimensions"
            )
        n_N = torch.arange(modes, dtype=torch.float32)
        if init == "real":
            rate_N, angle_N = n_N + 1, None
        else:
            rate_N = torch.full((modes,), 0.5)
            if init == "legs":
                angle_N, _ = hippo(state)
            else:
                angle_N = math.pi * n_N if init == "lin" else state / math.pi * (state / (2 * n_N + 1) - 1)
        self.log_dt = nn.Parameter(log_uniform(1e-3, 1e-1, width))
        self.rate = Rates(rate_N.repeat(width, 1), modes if init == "real" else 0.5, rate)
        self.angle = None if angle_N is None else nn.Parameter(angle_N.repeat(width, 1))
        self.read = nn.Parameter(torch.randn(self.parts, width, modes) * self.parts**-0.5)
        self.skip = nn.Parameter(torch.randn(width))
        self.out = linear(width, 2 * width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        z_PDN, gain_PDN = self.modes()
        if state is None:
            y_BLD = long_filter(x_BLD, _filter(z_PDN, gain_PDN, x_BLD.shape[1]), segments_BL)
        else:
            h_PBDN = ModesState(*state).modes.transpose(0, 1)
            pieces = []
            piece = chunk_size("filter", *x_BLD.shape[1:], x_BLD.device.type)
            for x_BQD in x_BLD.split(piece, dim=1):
                y_BQD, h_PBDN = _continued(x_BQD, z_PDN, gain_PDN, h_PBDN)
                pieces.append(y_BQD)
            y_BLD, state = torch.cat(pieces, dim=1), ModesState(h_PBDN.transpose(0, 1).contiguous())
        return F.glu(self.out(F.gelu(y_BLD + self.skip * x_BLD))), state

    def modes(self) -> tuple[Tensor, Tensor]:
        """dt A and what is read of each mode for a unit of input, C B', both [P, D, N]."""
        rate_DN = self.rate()
        parts = [-rate_DN] if self.angle is None else [-rate_DN, at_least_float32(self.angle)]
        a_PDN = torch.stack(parts)
        z_PDN = a_PDN * at_least_float32(self.log_dt).exp()[:, None]
        return z_PDN, len(parts) * times(at_least_float32(self.read), held(z_PDN, a_PDN))

    def init_state(self, batch: int) -> ModesState:
        return ModesState(at_least_float32(self.read.new_zeros(batch, *self.read.shape)))


def _filter(z_PDN: Tensor, gain_PDN: Tensor, length: int) -> Tensor:
    """The sum over modes of the real part of gain exp(z t) for t from 0 on, [L, D].

    exp(z t) is the product of a power for the chunk that t lies in and one for the place in the chunk.
    """
    chunk = chunk_size("filter", length, z_PDN.shape[1], z_PDN.device.type)
    starts_M = torch.arange(0, length, chunk, device=z_PDN.device, dtype=z_PDN.dtype)
    places_Q = torch.arange(chunk, device=z_PDN.device, dtype=z_PDN.dtype)
    begun_PDNM = conjugate(times(gain_PDN[..., None], powers(z_PDN, starts_M)))
    begun_DMX = begun_PDNM.permute(1, 3, 0, 2).flatten(2)
    going_DXQ = powers(z_PDN, places_Q).transpose(0, 1).flatten(1, 2)
    return (begun_DMX @ going_DXQ).flatten(1)[:, :length].T


def _continued(x_BQD: Tensor, z_PDN: Tensor, gain_PDN: Tensor, h_PBDN: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and the next state of a few tokens that continue a state."""
    length = x_BQD.shape[1]
    t_Q = torch.arange(length + 1, device=x_BQD.device, dtype=z_PDN.dtype)
    power_PDNT = powers(z_PDN, t_Q)
    read_PDNQ = conjugate(times(gain_PDN[..., None], power_PDNT[..., 1:]))
    y_BQD = long_filter(x_BQD, _filter(z_PDN, gain_PDN, length))
    y_BQD = y_BQD + torch.einsum("pbdn,pdnq->bqd", h_PBDN, read_PDNQ).to(x_BQD.dtype)
    added_PBDN = torch.einsum("bqd,pdnq->pbdn", x_BQD.to(z_PDN.dtype), power_PDNT[..., :-1].flip(-1))
    return y_BQD, times(power_PDNT[..., -1][:, None], h_PBDN) + added_PBDN


class S5(Block):
    """S5 (Smith et al., arXiv 2208.04933): one diagonal state space model for all channels, then a gate.

    state: real dimensions of the state; half as many modes stand for pairs. rate: how real parts hang on their weights,
    see `Rates`.

        h[t] = exp(dt A) h[t-1] + (exp(dt A) - 1) / A * B x[t];   y[t] = 2 Re(C h[t]) + D x[t]
        out = gelu(y) * sigmoid(linear(gelu(y)))

    A begins with the eigenvalues of the normal part of HiPPO-LegS (one block of the paper's J), B and C normal in the
    basis of its eigenvectors, dt of each mode log-uniform in [0.001, 0.1]; the real part of A stays negative. The
    recurrence is a parallel scan.

    Raises ValueError if the state is odd or rate unknown.
    """

    def __init__(self, width: int, *, state: int, rate: Literal["exp", "stable"] = "exp") -> None:
        super().__init__()
        check_sizes(width=width, state=state)
        if state % 2:
            raise ValueError(f"state {state} is odd, but each mode stands for two dimensions")
        angle_N, vectors_SN = hippo(state)
        b_DN = torch.randn(width, state) * width**-0.5 + 0j
        c_DN = torch.randn(width, state) * state**-0.5 + 0j
        self.log_dt = nn.Parameter(log_uniform(1e-3, 1e-1, state // 2))
        self.rate = Rates(torch.full((state // 2,), 0.5), 0.5, rate)
        self.angle = nn.Parameter(angle_N)
        self.write = nn.Parameter(torch.view_as_real(b_DN @ vectors_SN.conj()).flatten(1))
        self.read = nn.Parameter(torch.view_as_real((c_DN @ vectors_SN).conj().resolve_conj()).flatten(1))
        self.skip = nn.Parameter(torch.randn(width))
        self.gate = linear(width, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        h_BN = self.init_state(x_BLD.shape[0]).modes if state is None else ModesState(*state).modes
        a_PN = torch.stack([-self.rate(), at_least_float32(self.angle)])
        z_PN = a_PN * at_least_float32(self.log_dt).exp()
        written_BLNP = at_least_float32(x_BLD @ self.write).unflatten(-1, (-1, 2))
        added_PBLN = times(held(z_PN, a_PN)[:, None, None], written_BLNP.movedim(-1, 0))
        # ONNX has no complex numbers; a convolution begins with nothing, and knows of no documents.
        if torch.compiler.is_exporting() and state is None and segments_BL is None:
            h_BLNP = _convolved(z_PN, added_PBLN)
        else:
            keep_BLN = torch.complex(*powers(z_PN, z_PN.new_ones(1)).squeeze(-1)).expand(*x_BLD.shape[:2], -1)
            if segments_BL is not None:
                keep_BLN = keep_BLN.masked_fill(starts(segments_BL)[..., None], 0)
            h_BLN = linear_scan(keep_BLN, torch.complex(*added_PBLN), h_BN)
            h_BN = h_BLN[:, -1].clone()
            h_BLNP = torch.view_as_real(h_BLN)
        # The real part of C h, with the imaginary parts of C turned over.
        y_BLD = 2 * h_BLNP.flatten(2).to(x_BLD.dtype) @ self.read.T
        y_BLD = F.gelu(y_BLD + self.skip * x_BLD)
        return y_BLD * self.gate(y_BLD).sigmoid(), None if state is None else ModesState(h_BN)

    def init_state(self, batch: int) -> ModesState:
        zeros_BN = at_least_float32(self.log_dt.new_zeros(batch, len(self.log_dt)))
        return ModesState(torch.complex(zeros_BN, zeros_BN))


def _convolved(z_PN: Tensor, added_PBLN: Tensor) -> Tensor:
    """The recurrence as a convolution with exp(z t), of real numbers alone; [B, L, N, P]."""
    t_L = torch.arange(added_PBLN.shape[2], device=z_PN.device, dtype=z_PN.dtype)
    real_LN, imaginary_LN = powers(z_PN, t_L).transpose(1, 2)
    real_BLN, imaginary_BLN = added_PBLN
    return torch.stack(
        [
            long_filter(real_BLN, real_LN) - long_filter(imaginary_BLN, imaginary_LN),
            long_filter(imaginary_BLN, real_LN) + long_filter(real_BLN, imaginary_LN),
        ],
        dim=-1,
    )


def hippo(state: int) -> tuple[Tensor, Tensor]:
    """Imaginary parts of the eigenvalues above 0 of the normal part of HiPPO-LegS, and their eigenvectors [S, N].

    The matrix is -1/2 on the diagonal and otherwise skew: its eigenvalues have real part -1/2 and come in pairs.
    """
    root_S = (torch.arange(state, dtype=torch.float64) + 0.5).sqrt()
    skew_SS = (root_S[:, None] * root_S).triu(1)
    angles_S, vectors_SS = torch.linalg.eigh(-1j * (skew_SS - skew_SS.T))
    half = state // 2
    return angles_S[half:].float(), vectors_SS[:, half:].to(torch.complex64)
