"""Layers that run several times with the same weights: one after the other, or in streams side by side.

Letters in tensor names: B batch, L length, D width, P streams or passes, K templates.
"""

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from spaces.blocks.base import Block, State, linear, rms_norm, total_aux_loss
from spaces.blocks.topology import Parallel

SMOOTHING = 0.1


class Shared(Block):
    """A layer, `passes` times one after the other, each time with a state of its own and weights of a few templates.

    With one template all passes have the same weights, as in ALBERT (arXiv 1909.11942), and with `norms` each has
    residuals' norms of its own, as in WideNet (arXiv 2107.11817). With several, layers of one kind, the weights of pass
    p, norms too, are the sum over k of mix[p, k] times those of template k, a bank as of Shapeshifter networks (neural
    parameter allocation search, arXiv 2006.10598, whose coefficients are for each matrix): so the number of parameters
    is chosen apart from the depth. Passes begin as the templates in turn. What is no parameter, as the directions of
    hashed experts, is that of the first template. The sums are made anew in each call: that is nothing beside the
    products for many tokens, and about as much as they for one.

    In training, `aux_loss` is the mean over the passes of the layer's auxiliary losses.

    Raises ValueError if passes is below 1, or there are more templates than passes.
    """

    def __init__(self, templates: Iterable[Block], *, passes: int, norms: bool = False) -> None:
        super().__init__()
        self.templates, self.passes = nn.ModuleList(templates), passes
        if passes < 1:
            raise ValueError(f"passes {passes} is below 1")
        if (number := len(self.templates)) > passes:
            raise ValueError(f"there are {number} templates for {passes} passes")
        # Indexed, not cut out of a longer one: a parameter that is a part of its storage is refused by safetensors.
        turns_PK = torch.eye(number)[torch.arange(passes) % number]
        self.mix = nn.Parameter(turns_PK) if number > 1 else None
        # The layer's own norms are those of the first pass.
        found = self.templates[0].named_modules() if norms and number == 1 else ()
        own = [
            (f"{name}.norm.weight".lstrip("."), part) for name, part in found if isinstance(part, Parallel)
        ]
        self.gains = [name for name, _ in own]
        self.norms = nn.ModuleList(
            nn.ParameterList(torch.ones_like(part.norm.weight) for _, part in own)
            for _ in range(passes - 1 if own else 0)
        )

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        states, losses = [], []
        layer = self.templates[0]
        for number, before in enumerate(state or [None] * self.passes):
            x_BLD, after = functional_call(layer, self.weights(number), (x_BLD, before, segments_BL))
            states.append(after)
            losses.append(total_aux_loss(layer))
        present = [loss for loss in losses if loss is not None]
        self.aux_loss = torch.stack(present).mean() if present else None
        for block in layer.modules():  # whose losses, of the last pass, are in that mean
            if isinstance(block, Block):
                block.aux_loss = None
        return x_BLD, None if state is None else tuple(states)

    def weights(self, number: int) -> dict[str, Tensor]:
        """The parameters of a pass by name, of which those that are left out are the first template's."""
        if self.mix is None:
            if not number or not self.gains:
                return {}
            later = cast(nn.ParameterList, self.norms[number - 1])
            return dict(zip(self.gains, later, strict=True))
        banks = [dict(template.named_parameters()) for template in self.templates]
        shares = self.mix[number].unbind()
        return {
            name: torch.stack([share * bank[name] for share, bank in zip(shares, banks, strict=True)]).sum(
                dim=0
            )
            for name in banks[0]
        }

    def init_state(self, batch: int) -> State:
        return tuple(cast(Block, self.templates[0]).init_state(batch) for _ in range(self.passes))


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
