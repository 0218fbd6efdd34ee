"""The gated Toeplitz unit: a gated convolution whose filter is a network's, under a decay, and a state space model.

Letters in tensor names: B batch, L length, D width, E inner width, F hidden features, N tokens of the span, S
tokens of a part.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, at_least_float32, check_sizes, linear, without_autocast
from spaces.blocks.documents import refuse_both
from spaces.blocks.filters import Parts, continued_filter, long_filter
from spaces.blocks.sizes import ENCODER_LAYERS

LEFT_OF_SPAN = 0.99**512
"""What the decay leaves of a coefficient at the end of the span: the paper takes 0.99 for 512 tokens."""


class ToeplitzState(NamedTuple):
    """Sums of the inputs before the last multiple of the span, by their place in it, and what they add to the span of
    outputs after it, both [B, N, E]; the inputs since, by parts."""

    sums_BNE: Tensor
    later_BNE: Tensor
    parts: Parts


class GatedToeplitz(Block):
    """The gated Toeplitz unit of TNN (Qin et al., arXiv 2305.04749, section 3), causal.

    expand: inner width per unit of width. hidden: features of the relative position encoder. span: tokens over which
    the encoder's coefficients are free.

        y = linear(silu(linear(x)) * T silu(linear(x)));   T[i, j] = t[i - j];   t[k] = decay^k encoder(k) for k < span

    The encoder is a linear layer of the number k, then four times LayerNorm, ReLU and a linear layer, as by default in
    the authors' code. The decay leaves as much at the end of the span as the paper's 0.99 does after 512 tokens. Ours:
    projections have no bias, and the encoder's last layer begins smaller, so that sums over tokens begin as large as
    these.

    A Toeplitz matrix of N coefficients is a state space model of N dimensions for each channel, exactly (Qin and Zhong,
    arXiv 2311.08756): by the discrete Fourier transform

        t[k] = sum over n < N of b[n] a[n]^k  for all k < N,  with a[n] = decay exp(2 pi i n / N)
        h[t] = a h[t-1] + x[t];   y[t] = b h[t]

    (The paper takes N + 1 roots of one and leaves out one of them.) Here that model is the block, so
    that any number of tokens can be read: beyond the span the encoder's coefficients come again, further decayed. So
    the state is the same after any number of tokens. It is kept in the basis in which A shifts its N numbers around and
    lets them decay, which needs no complex numbers, and it is brought up to date once in a span; within one, tokens
    are joined as in `continued_filter`.

    Raises ValueError if expand, hidden or span is below 1.
    """

    def __init__(self, width: int, *, expand: int, hidden: int, span: int) -> None:
        super().__init__()
        check_sizes(width=width, expand=expand, hidden=hidden, span=span)
        inner = expand * width
        self.span, self.decay = span, LEFT_OF_SPAN ** (1 / span)
        self.in_proj = linear(width, 2 * inner)
        sizes = ((1, hidden), *[(hidden, hidden)] * ENCODER_LAYERS, (hidden, inner))
        self.encoder = nn.ModuleList(nn.Linear(*size) for size in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in sizes[1:])
        for parameter in self.encoder[-1].parameters():
            nn.init.normal_(parameter, std=(hidden * self._decays(span, "cpu").square().sum().item()) ** -0.5)
        self.out = linear(inner, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        gate_BLE, v_BLE = F.silu(self.in_proj(x_BLD)).chunk(2, dim=-1)
        if state is None:
            mixed_BLE = long_filter(v_BLE, self.filter(v_BLE.shape[1]), segments_BL)
            return self.out(gate_BLE * mixed_BLE), None
        state, pieces = ToeplitzState(*state), []
        while v_BLE.shape[1]:
            mixed_BSE, state, v_BLE = self._continued(v_BLE, state)
            pieces.append(mixed_BSE)
        return self.out(gate_BLE * torch.cat(pieces, dim=1)), state

    def _continued(self, v_BLE: Tensor, state: ToeplitzState) -> tuple[Tensor, ToeplitzState, Tensor]:
        """Outputs of the tokens up to the end of the span, the state after them, and the tokens that are left."""
        sums_BNE, later_BNE, parts = state
        begun = sum(inputs_BSE.shape[1] for inputs_BSE, _ in parts)
        now_BSE, rest_BLE = v_BLE[:, : self.span - begun], v_BLE[:, self.span - begun :]
        ended = begun + now_BSE.shape[1]
        mixed_BSE, parts = continued_filter(now_BSE, self.filter, parts)
        mixed_BSE = mixed_BSE + later_BNE[:, begun:ended].to(v_BLE.dtype)
        if ended == self.span:
            inputs_BNE = at_least_float32(torch.cat([inputs_BSE for inputs_BSE, _ in parts], dim=1))
            left_N1 = self._decays(self.span + 1, v_BLE.device).to(inputs_BNE.dtype)[1:, None]
            sums_BNE = left_N1[-1] * sums_BNE + left_N1.flip(0) * inputs_BNE
            later_BNE, parts = self._later(sums_BNE), ()
        return mixed_BSE, ToeplitzState(sums_BNE, later_BNE, parts), rest_BLE

    def _later(self, sums_BNE: Tensor) -> Tensor:
        """What sums by places add to the outputs of the span that begins, [B, N, E]: each at all places behind it."""
        spectra = (torch.fft.rfft(part, dim=-2) for part in (sums_BNE, self._coefficients(self.span)))
        around_BNE = torch.fft.irfft(next(spectra) * next(spectra), self.span, dim=-2)
        return around_BNE * self._decays(self.span, sums_BNE.device).to(sums_BNE.dtype)[:, None]

    def filter(self, length: int) -> Tensor:
        """t[k] for the current token and those before it, [L, E], in float32 at least."""
        coefficients_NE = self._coefficients(min(length, self.span))
        again_LE = coefficients_NE.repeat(-(-length // self.span), 1)[:length]
        return again_LE * self._decays(length, again_LE.device).to(again_LE.dtype)[:, None]

    def _decays(self, length: int, device: torch.device | str) -> Tensor:
        """decay^k for the numbers k below the length, in float64 where the device has it."""
        precise = torch.float32 if torch.device(device).type == "mps" else torch.float64
        return self.decay ** torch.arange(length, device=device, dtype=precise)

    def _coefficients(self, length: int) -> Tensor:
        """encoder(k) for k < length, [L, E], in float32 at least."""
        first, *layers = self.encoder
        with without_autocast(self.out.weight.device):
            weight, bias = (at_least_float32(part) for part in first.parameters())
            like: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
            h_LF = F.linear(torch.arange(length, **like)[:, None], weight, bias)
            for norm, layer in zip(self.norms, layers, strict=True):
                gain, shift, weight, bias = (
                    at_least_float32(part) for module in (norm, layer) for part in module.parameters()
                )
                h_LF = F.linear(F.relu(F.layer_norm(h_LF, gain.shape, gain, shift)), weight, bias)
            return h_LF

    def init_state(self, batch: int) -> ToeplitzState:
        zeros_BNE = at_least_float32(self.out.weight.new_zeros(batch, self.span, self.out.in_features))
        return ToeplitzState(zeros_BNE, zeros_BNE.clone(), ())
