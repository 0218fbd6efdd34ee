"""S4: for each channel a state space model whose matrix is diagonal plus low-rank.

Letters in tensor names: B batch, L length, D width, N modes, P parts of a number (real and imaginary), S = 2 N real
dimensions of a state, F points of a circle, J sums. Numbers are kept as their parts, since ONNX has none but
real ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spaces.blocks.base import Block, State, at_least_float32, check_sizes, for_sums, linear
from spaces.blocks.documents import refuse_both
from spaces.blocks.filters import long_filter
from spaces.blocks.impulse import Circle, continued, leap, response
from spaces.blocks.state_space import Rates, conjugate, hippo, log_uniform, times

NODES, CACHED = 1 << 10, 1 << 17
"""Nodes, and complex numbers, of a Cauchy matrix that are made at once: as many as a cache holds."""


class S4State(NamedTuple):
    """The modes of each channel, real parts before imaginary ones, [B, D, S]."""

    modes_BDS: Tensor


class S4(Block):
    """S4 (Gu et al., arXiv 2111.00396): a state space model for each channel, begun as HiPPO-LegS, then a gate.

    state: real dimensions of a channel's state; half as many modes stand for pairs.

        dh/dt = A h + B x, by the bilinear rule;   y = 2 Re(C h) + D x;   out = glu(linear(gelu(y)))
        A = diag(lambda) - p p*

    A begins as the matrix of HiPPO-LegS in the basis of the eigenvectors of its normal part, B as that of HiPPO, the
    step log-uniform in [0.001, 0.1], C normal. The paper's p and q are one here, as in Goel et al., arXiv 2202.09729,
    and the real part of lambda stays negative: no A that is learned is unstable.

    Over a sequence it is one convolution. Its filter comes from the generating function, the sum of K[t] z^t, in which
    a product with a Cauchy matrix stands for the diagonal part and Woodbury's identity for the rest, so that no power
    of A is needed. The paper learns C (1 - A^L) in place of C, for one length L, to have the first L terms alone.
    Here points on a circle inside the unit circle damp what follows (see `Circle`), so that lengths may be any. With a
    state it is the recurrence, by the same identity token by token, and by chunks where many come at once.

    Raises ValueError if the state is odd.
    """

    def __init__(self, width: int, *, state: int) -> None:
        super().__init__()
        check_sizes(width=width, state=state)
        if state % 2:
            raise ValueError(f"state {state} is odd, but each mode stands for two dimensions")
        angle_N, vectors_SN = hippo(state)
        low_N = (torch.arange(state) + 0.5).sqrt().to(vectors_SN.dtype) @ vectors_SN.conj()
        low_PDN = torch.stack([low_N.real, low_N.imag])[:, None].repeat(1, width, 1)
        self.log_dt = nn.Parameter(log_uniform(1e-3, 1e-1, width))
        self.rate = Rates(torch.full((width, state // 2), 0.5), 0.5, "exp")
        self.angle = nn.Parameter(angle_N.repeat(width, 1))
        self.low = nn.Parameter(low_PDN)
        self.write = nn.Parameter(2**0.5 * low_PDN)
        self.read = nn.Parameter(torch.randn(2, width, state // 2) * 2**-0.5)
        self.skip = nn.Parameter(torch.randn(width))
        self.out = linear(width, 2 * width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        if state is None:
            y_BLD = long_filter(x_BLD, self.filter(x_BLD.shape[1]), segments_BL)
        else:
            h_BDS = S4State(*state).modes_BDS
            y_BLD, h_BDS = continued(x_BLD, h_BDS, *self._step(h_BDS.dtype), lambda: leap(*self.system()))
            state = S4State(h_BDS)
        return F.glu(self.out(F.gelu(y_BLD + self.skip * x_BLD))), state

    def filter(self, length: int) -> Tensor:
        """The first terms of the impulse response, [L, D], in float32 at least."""
        dtype = at_least_float32(self.read).dtype
        if torch.compiler.is_exporting():
            return response(*self.system(), length).to(dtype)
        z_PDN, low_PDN, write_PDN = self._scaled()
        z_DN, low_DN, write_DN, read_DN = (
            torch.complex(*part) for part in (z_PDN, low_PDN, write_PDN, for_sums(self.read))
        )
        weight_JDN = torch.stack(
            [read_DN * write_DN, read_DN * low_DN, low_DN.conj() * write_DN, low_DN.conj() * low_DN]
        )
        # v / (g - z) and its conjugate's: 2 (g Re(v) - Re(v z*)) / (g^2 - 2 Re(z) g + |z|^2).
        weight_JDN = 2 * torch.cat([weight_JDN.real, (weight_JDN * z_DN.conj()).real])
        modes = weight_JDN.transpose(0, 1), z_PDN[0], z_PDN.square().sum(dim=0)

        def spectrum(point_F: Tensor) -> Tensor:
            node_F = 2 * (1 - point_F) / (1 + point_F)
            sum_DJF = _Cauchy.apply(*modes, node_F)
            sum_DJF = node_F * sum_DJF[:, :4] - sum_DJF[:, 4:]
            direct_DF, read_DF, written_DF, low_DF = sum_DJF.unbind(1)
            return 2 / (1 + point_F) * (direct_DF - read_DF * written_DF / (1 + low_DF))

        circle = Circle(length, z_PDN.device)
        spectrum_DF = torch.cat([spectrum(point_F) for point_F in circle.points_F.split(NODES)], dim=-1)
        return circle.terms(spectrum_DF).T.to(dtype)

    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        """Matrix [D, S, S], input and output [D, S] of the recurrence, in float64 where the device has it."""
        e_PDN, left_DS, right_DS, write_DS, read_DS = self._bilinear()
        real_DNN, imaginary_DNN = e_PDN.diag_embed()
        rows = [torch.cat([real_DNN, -imaginary_DNN], dim=-1), torch.cat([imaginary_DNN, real_DNN], dim=-1)]
        inverse_DSS = torch.cat(rows, dim=-2) - left_DS[..., None] * right_DS[:, None]
        one_SS = torch.eye(write_DS.shape[1], device=write_DS.device, dtype=write_DS.dtype)
        return 2 * inverse_DSS - one_SS, write_DS, read_DS

    def _step(self, dtype: torch.dtype) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor]:
        """The next state from a state [B, D, S] and a token [B, D, 1], in O(S); and the output [D, S]."""
        e_PDN, left_DS, right_DS, write_DS, read_DS = (part.to(dtype) for part in self._bilinear())

        def step(h_BDS: Tensor, x_BD1: Tensor) -> Tensor:
            h_PBDN = h_BDS.unflatten(-1, (2, -1)).movedim(-2, 0)
            turned_BDS = times(e_PDN[:, None], h_PBDN).movedim(0, -2).flatten(-2)
            inverse_BDS = turned_BDS - left_DS * (right_DS * h_BDS).sum(dim=-1, keepdim=True)
            return 2 * inverse_BDS - h_BDS + write_DS * x_BD1

        return step, read_DS

    def _bilinear(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(1 - dt A / 2)^-1, of which A discrete is twice less one, by Woodbury; and the input and output.

        It is a product with e [P, D, N], the inverse of the diagonal part, less left right^T; all others are [D, S].
        """
        z_PDN, low_PDN, write_PDN = self._scaled()
        e_PDN = z_PDN.new_tensor([1, 0])[:, None, None] - z_PDN / 2
        e_PDN = conjugate(e_PDN) / e_PDN.square().sum(dim=0)
        left_DS, right_DS = _joined(times(e_PDN, low_PDN)), _joined(times(conjugate(e_PDN), low_PDN))
        left_DS = left_DS / (1 + (right_DS * _joined(low_PDN)).sum(dim=-1, keepdim=True))
        write_DS = _joined(times(e_PDN, write_PDN))
        write_DS = write_DS - left_DS * (right_DS * _joined(write_PDN)).sum(dim=-1, keepdim=True)
        return e_PDN, left_DS, right_DS, write_DS, 2 * _joined(conjugate(for_sums(self.read)))

    def init_state(self, batch: int) -> S4State:
        zeros_BDN = self.read.new_zeros(batch, *self.read.shape[1:])
        return S4State(at_least_float32(torch.cat([zeros_BDN, zeros_BDN], dim=-1)))

    def _scaled(self) -> tuple[Tensor, Tensor, Tensor]:
        """dt lambda, sqrt(dt) p and dt B, [P, D, N], in float64 where the device has it."""
        dt_D1 = for_sums(self.log_dt).exp()[:, None]
        z_PDN = dt_D1 * torch.stack([-for_sums(self.rate()), for_sums(self.angle)])
        return z_PDN, dt_D1.sqrt() * for_sums(self.low), dt_D1 * for_sums(self.write)


def _joined(z_PDN: Tensor) -> Tensor:
    """Real parts, then imaginary ones, [D, S]."""
    return z_PDN.transpose(0, 1).flatten(1)


class _Cauchy(torch.autograd.Function):
    """The sums over n of weight[j, n] / (g^2 - 2 real[n] g + size[n]) for each node g, complex [D, J, F].

    The fractions are made for a few channels at a time, and once more for the gradient, so that memory holds few.
    """

    @staticmethod
    def forward(ctx: Any, weight_DJN: Tensor, real_DN: Tensor, size_DN: Tensor, node_F: Tensor) -> Tensor:
        ctx.save_for_backward(weight_DJN, real_DN, size_DN, node_F)
        sums = []
        for weight_djn, real_dn, size_dn in _blocks(node_F, weight_DJN, real_DN, size_DN):
            fractions_dnf = _fractions(real_dn, size_dn, node_F)
            sums.append(weight_djn @ torch.view_as_real(fractions_dnf).flatten(-2))
        return torch.view_as_complex(torch.cat(sums).unflatten(-1, (-1, 2)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pull_DJF: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        weight_DJN, real_DN, size_DN, node_F = ctx.saved_tensors
        pulls = []
        blocks = _blocks(
            node_F, weight_DJN, real_DN, size_DN, torch.view_as_real(pull_DJF.resolve_conj()).flatten(-2)
        )
        for weight_djn, real_dn, size_dn, pull_djx in blocks:
            fractions_dnf = _fractions(real_dn, size_dn, node_F)
            weights = pull_djx @ torch.view_as_real(fractions_dnf).flatten(-2).mT
            pull_dnf = torch.view_as_complex((weight_djn.mT @ pull_djx).unflatten(-1, (-1, 2)))
            pull_dnf = pull_dnf * fractions_dnf.conj().square()
            pulls.append((weights, 2 * (pull_dnf @ node_F.conj()).real, -pull_dnf.sum(dim=-1).real))
        weights, reals, sizes = (torch.cat(part) for part in zip(*pulls, strict=True))
        return weights, reals, sizes, None


def _blocks(node_F: Tensor, *parts: Tensor) -> Any:
    """A few channels of each at a time."""
    channels = max(1, CACHED // (parts[1].shape[1] * len(node_F)))
    return zip(*(part.split(channels) for part in parts), strict=True)


def _fractions(real_DN: Tensor, size_DN: Tensor, node_F: Tensor) -> Tensor:
    return ((node_F - 2 * real_DN[..., None]) * node_F + size_DN[..., None]).reciprocal()
