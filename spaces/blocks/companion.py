"""The companion state space model of SpaceTime, which can forecast by inputs of its own.

Letters in tensor names: B batch, L length, D width, S dimensions of a state, H steps ahead, F points of a circle.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, at_least_float32, check_sizes, for_sums, linear
from spaces.blocks.documents import refuse_both
from spaces.blocks.filters import long_filter
from spaces.blocks.impulse import CHUNK, Circle, Leap, continued, response

FORECAST_COEFFICIENT = 0.01


class CompanionState(NamedTuple):
    """The state of each channel, [B, D, S]."""

    h_BDS: Tensor


class CompanionSSM(Block):
    """SpaceTime's layer (Zhang et al., arXiv 2303.09489): a model with a companion matrix a channel, then a gate.

    state: dimensions of a channel's state.

        h[t] = A h[t-1] + b x[t];   y[t] = c h[t] + D x[t];   out = glu(linear(gelu(y)))
        A = a shift by one, with the column a / |a|_1 as its last

    A companion matrix can be that of any autoregressive process; with a column of norm 1 its powers are bounded. Over
    a sequence it is one convolution, whose filter comes from four polynomials at the points of a `Circle`, in O(S + L)
    but for logarithms; the paper takes the unit circle and a power of A. With a state it is the recurrence, token by
    token, and by chunks where many come at once. The gate is that of S4D, in the place of the paper's feed-forward; its
    fixed filters for trends are left out. Entries begin normal, so small that outputs are of the order of the inputs; b
    and c of a variance of 1, as in the authors' code, would make them as large as the state.

    The closed loop: k h[t] is what the state says of the next input, and `forecast` goes on by it. The authors' code
    divides b and k by their norms there (an earlier one the rows of A + b k); here it goes on as the block would
    itself, so that a forecast may grow without bound. In training, `aux_loss` is 0.01 times the mean squared error of
    k h[t] at all tokens but the first of each document, as targets of which the inputs do not learn; a call with a
    state has none. k begins at zero.
    """

    def __init__(self, width: int, *, state: int) -> None:
        super().__init__()
        check_sizes(width=width, state=state)
        self.column, self.write, self.read = (
            nn.Parameter(torch.randn(width, state) * state**-0.5) for _ in range(3)
        )
        self.predict = nn.Parameter(torch.zeros(width, state))
        self.skip = nn.Parameter(torch.randn(width))
        self.out = linear(width, 2 * width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        self.aux_loss = None
        if state is None:
            predicts = self.training and x_BLD.shape[1] > 1
            reads = (self.read, self.predict) if predicts else (self.read,)
            filters = self.filters(x_BLD.shape[1], *reads)
            y_BLD = long_filter(x_BLD, filters[0], segments_BL)
            if predicts:
                next_BLD = long_filter(x_BLD, filters[1], segments_BL)[:, :-1]
                self.aux_loss = FORECAST_COEFFICIENT * _missed(next_BLD, x_BLD[:, 1:], segments_BL)
        else:
            h_BDS = CompanionState(*state).h_BDS
            step, read_DS = self._step(h_BDS.dtype), self.read.to(h_BDS.dtype)
            y_BLD, h_BDS = continued(x_BLD, h_BDS, step, read_DS, self._leap)
            state = CompanionState(h_BDS)
        return self._gated(y_BLD, x_BLD), state

    def forecast(self, state: State, steps: int) -> tuple[Tensor, CompanionState]:
        """Outputs of the next steps, [B, H, D], with what is predicted of each input in its place, and the last state.

        The same as predicting, calling the block on that and so on, but that all steps go through the gate at once.

        Raises ValueError if steps is below 1.
        """
        check_sizes(steps=steps)
        h_BDS = CompanionState(*state).h_BDS
        step = self._step(h_BDS.dtype)
        read_DS, predict_DS = (part.to(h_BDS.dtype) for part in (self.read, self.predict))
        inputs, outputs = [], []
        for _ in range(steps):
            inputs.append((h_BDS * predict_DS).sum(dim=-1))
            h_BDS = step(h_BDS, inputs[-1][..., None])
            outputs.append((h_BDS * read_DS).sum(dim=-1))
        x_BHD, y_BHD = (torch.stack(part, dim=1).to(self.skip.dtype) for part in (inputs, outputs))
        return self._gated(y_BHD, x_BHD), CompanionState(h_BDS)

    def filters(self, length: int, *reads: Tensor) -> list[Tensor]:
        """The first terms of the impulse response of each way to read the state [D, S], [L, D], in float32 at least."""
        dtype = at_least_float32(self.read).dtype
        if torch.compiler.is_exporting():
            system = self.system()
            return [response(*system, for_sums(read_DS), length).to(dtype) for read_DS in reads]
        circle = Circle(length, self.read.device)
        column_DS, write_DS = self._column(), for_sums(self.write)
        # With R = (1 - z shift)^-1: c R b + z (c R a) (e R b) / (1 - z (e R a)), where e reads the last dimension, and
        # c R b is the polynomial whose coefficients are the correlations of c and b.
        written_DF, bend_DF = circle.values(write_DS.flip(-1)), circle.values(column_DS.flip(-1))
        passed_DF = circle.points_F * written_DF / (1 - circle.points_F * bend_DF)
        return [
            circle.terms(
                circle.values(_correlated(read_DS, write_DS))
                + circle.values(_correlated(read_DS, column_DS)) * passed_DF
            ).T.to(dtype)
            for read_DS in map(for_sums, reads)
        ]

    def system(self) -> tuple[Tensor, Tensor]:
        """Matrix [D, S, S] and input [D, S], in float64 where the device has it."""
        column_DS = self._column()
        width, state = column_DS.shape
        shift_SS = torch.eye(state, device=column_DS.device, dtype=column_DS.dtype)[:, 1:].expand(
            width, -1, -1
        )
        keep_DSS = torch.cat([shift_SS, column_DS[..., None]], dim=-1)
        return keep_DSS, for_sums(self.write)

    def init_state(self, batch: int) -> CompanionState:
        return CompanionState(at_least_float32(self.read.new_zeros(batch, *self.read.shape)))

    def _step(self, dtype: torch.dtype) -> Callable[[Tensor, Tensor], Tensor]:
        """The next state from a state [B, D, S] and a token [B, D, 1]."""
        column_DS, write_DS = self._column().to(dtype), self.write.to(dtype)

        def step(h_BDS: Tensor, x_BD1: Tensor) -> Tensor:
            return F.pad(h_BDS[..., :-1], (1, 0)) + column_DS * h_BDS[..., -1:] + write_DS * x_BD1

        return step

    def _leap(self) -> Leap:
        """What a chunk of steps does, read off where A^t takes the column and what is written, in O(S) a step.

        The last dimension becomes the column with the next step, the others wait their turn: for a chunk of S steps at
        least, A^Q is made of A^t a alone, and what is read after t steps of c and of c A^t a, one dimension later each.
        """
        column_DS, write_DS, read_DS = self._column(), for_sums(self.write), for_sums(self.read)
        vectors_2DS, powers = torch.stack([write_DS, column_DS]), []
        for _ in range(max(CHUNK, column_DS.shape[1])):
            powers.append(vectors_2DS)
            vectors_2DS = F.pad(vectors_2DS[..., :-1], (1, 0)) + column_DS * vectors_2DS[..., -1:]
        write_DSQ, column_DSQ = torch.stack(powers, dim=-1)
        later_DT = torch.cat([read_DS[:, 1:], (read_DS[:, None] @ column_DSQ).squeeze(1)], dim=1)
        state = column_DS.shape[1]
        return Leap(column_DSQ[..., -state:], write_DSQ, later_DT.unfold(1, state, 1))

    def _column(self) -> Tensor:
        """The last column of the matrix, [D, S]."""
        column_DS = for_sums(self.column)
        return column_DS / column_DS.abs().sum(dim=-1, keepdim=True).clamp(min=1e-12)

    def _gated(self, y_BLD: Tensor, x_BLD: Tensor) -> Tensor:
        return F.glu(self.out(F.gelu(y_BLD + self.skip * x_BLD)))


def _correlated(a_DS: Tensor, b_DS: Tensor) -> Tensor:
    """The sums over i of a[i + k] b[i] for k from 0 on, [D, S]."""
    size = 2 * a_DS.shape[-1]
    spectrum_DF = torch.fft.rfft(a_DS, size) * torch.fft.rfft(b_DS, size).conj()
    return torch.fft.irfft(spectrum_DF, size)[..., : a_DS.shape[-1]]


def _missed(next_BLD: Tensor, x_BLD: Tensor, segments_BL: Tensor | None) -> Tensor:
    """Mean squared error of predictions of tokens from the second on, but for those that begin a document."""
    error_BL = (at_least_float32(next_BLD) - at_least_float32(x_BLD.detach())).square().mean(dim=-1)
    if segments_BL is None:
        return error_BL.mean()
    inside_BL = segments_BL[:, 1:] == segments_BL[:, :-1]
    return error_BL.masked_fill(~inside_BL, 0).sum() / inside_BL.sum().clamp(min=1)
