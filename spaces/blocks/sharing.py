"""Layers that run several times with the same weights: one after the other, or in streams side by side.

Letters in tensor names: B batch, L length, D width, P streams.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, linear, rms_norm, total_aux_loss

SMOOTHING = 0.1


class Shared(Block):
    """The layer, `passes` times one after the other with the same weights, each time with a state of its own.

    Sharing over depth, as in ALBERT (arXiv 1909.11942) and WideNet (arXiv 2107.11817), for a number of parameters
    that is chosen apart from the depth, as in neural parameter allocation search (arXiv 2006.10598). All of the layer
    is shared, its norms too, of which WideNet has one a pass.

    In training, `aux_loss` is the mean over the passes of the layer's auxiliary losses.

    Raises ValueError if passes is below 1.
    """

    def __init__(self, layer: Block, *, passes: int) -> None:
        super().__init__()
        if passes < 1:
            raise ValueError(f"passes {passes} is below 1")
        self.layer, self.passes = layer, passes

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        states, losses = [], []
        for before in state or [None] * self.passes:
            x_BLD, after = self.layer(x_BLD, before, segments_BL)
            states.append(after)
            losses.append(total_aux_loss(self.layer))
        present = [loss for loss in losses if loss is not None]
        self.aux_loss = torch.stack(present).mean() if present else None
        for block in self.layer.modules():  # whose losses, of the last pass, are in that mean
            if isinstance(block, Block):
                block.aux_loss = None
        return x_BLD, None if state is None else tuple(states)

    def init_state(self, batch: int) -> State:
        return tuple(self.layer.init_state(batch) for _ in range(self.passes))


class ParallelStreams(Block):
    """ParScale (Chen et al., arXiv 2505.10475, section 3): streams of the same layer, and a weighted sum of them.

        x_p = scale_p * x + shift_p;   y_p = layer(x_p);   w = softmax(linear(silu(linear(norm(y_1), ..., norm(y_P)))))
        y = sum_p ((1 - 0.1) w_p + 0.1 / P) y_p

    The paper tells the streams apart by learned prefixes of each attention's keys and values, and finds that it matters
    little how it is done; a scale and a shift for each stream hold for any layer, any document and any state.

    Raises ValueError if streams is below 1.
    """

    def __init__(self, width: int, layer: Block, *, streams: int) -> None:
        super().__init__()
        if streams < 1:
            raise ValueError(f"streams {streams} is below 1")
        self.layer, self.streams = layer, streams
        self.scale = nn.Parameter(1 + 0.1 * torch.randn(streams, width))
        self.shift = nn.Parameter(0.1 * torch.randn(streams, width))
        self.norm = rms_norm(width)
        self.hidden = linear(streams * width, width)
        self.score = linear(width, streams)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        x_BPLD = x_BLD[:, None] * self.scale[:, None] + self.shift[:, None]
        segments = None if segments_BL is None else segments_BL.repeat_interleave(self.streams, dim=0)
        y, state = self.layer(x_BPLD.flatten(0, 1), state, segments)
        y_BLPD = y.unflatten(0, (-1, self.streams)).transpose(1, 2)
        score_BLP = self.score(F.silu(self.hidden(self.norm(y_BLPD).flatten(2))))
        weight_BLP = (1 - SMOOTHING) * score_BLP.softmax(dim=-1) + SMOOTHING / self.streams
        return (weight_BLP[..., None] * y_BLPD).sum(dim=2), state

    def init_state(self, batch: int) -> State:
        return self.layer.init_state(batch * self.streams)
