"""How blocks are put together: residuals, parallel branches, sequences. All are blocks themselves.

Letters in tensor names: B batch, L length, D width. A state is the tuple of the children's states.
"""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from spaces.blocks.base import Block, State, rms_norm

FIRST_SCALE = 0.1


class _Parent(Block):
    """A block made of others."""

    def __init__(self, children: Iterable[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(children)

    def init_state(self, batch: int) -> State:
        return tuple(cast(Block, block).init_state(batch) for block in self.blocks)


class Parallel(_Parent):
    """x + sum of branch(norm(x)) over the branches, one RMSNorm for all (as in PaLM, arXiv 2204.02311)."""

    def __init__(self, width: int, branches: Iterable[Block]) -> None:
        super().__init__(branches)
        self.norm = rms_norm(width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        normed_BLD = self.norm(x_BLD)
        states = []
        for branch, before in zip(self.blocks, state or [None] * len(self.blocks), strict=True):
            y_BLD, after = branch(normed_BLD, before, segments_BL)
            x_BLD = x_BLD + y_BLD
            states.append(after)
        return x_BLD, None if state is None else tuple(states)


class Residual(Parallel):
    """x + body(norm(x)): the pre-norm residual layer (arXiv 2002.04745), `Parallel` with one branch."""

    def __init__(self, width: int, body: Block) -> None:
        super().__init__(width, [body])


class _Scaled(Block):
    """The body times learned numbers, to stand in a residual branch."""

    def __init__(self, body: Block, scale: Tensor) -> None:
        super().__init__()
        self.body = body
        self.scale = nn.Parameter(scale)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        y_BLD, state = self.body(x_BLD, state, segments_BL)
        return self.scale * y_BLD, state

    def init_state(self, batch: int) -> State:
        return self.body.init_state(batch)


class LayerScale(_Scaled):
    """The body times a learned number for each channel, to stand in a residual branch (LayerScale, arXiv 2103.17239).

    The numbers begin at 0.1, the paper's for up to 18 layers: networks begin near the identity.
    """

    def __init__(self, width: int, body: Block) -> None:
        super().__init__(body, torch.full((width,), FIRST_SCALE))


class ReZero(_Scaled):
    """The body times one learned number that begins at 0, to stand in a residual branch (ReZero, arXiv 2003.04887).

    Networks begin as the identity. The paper has no norm before the body; here the branch has its own.
    """

    def __init__(self, body: Block) -> None:
        super().__init__(body, torch.zeros(()))


class DeepNorm(Block):
    """layer_norm(alpha x + body(x)): the post-norm residual layer of DeepNet (arXiv 2203.00555, section 3).

    alpha: how much of the input is kept; for decoders of N pairs of attention and feed-forward the paper has
    (2 N)^(1/4), and 1 is the layer of the first Transformers. The paper begins with smaller weights too, 0.71 / alpha
    times the usual in values, output projections and feed-forwards: here what the body gives is scaled so at the start,
    by a number for each channel that is learned.

    For networks that have it everywhere, so that alpha follows from their depth, as those are that the hybrid space
    derives by `deep_net`: N is half of their layers, whatever these are. Between pre-norm layers in patterns that
    repeat, networks of 36 layers did not learn a batch in the steps in which others did.

    Raises ValueError unless alpha is above 0.
    """

    def __init__(self, width: int, body: Block, *, alpha: float) -> None:
        super().__init__()
        if not alpha > 0:
            raise ValueError(f"alpha {alpha} must be above 0")
        self.body, self.alpha = body, alpha
        self.gain = nn.Parameter(torch.full((width,), 2**-0.5 / alpha))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        y_BLD, state = self.body(x_BLD, state, segments_BL)
        return self.norm(self.alpha * x_BLD + self.gain * y_BLD), state

    def init_state(self, batch: int) -> State:
        return self.body.init_state(batch)


class Stack(_Parent):
    """The layers one after the other."""

    def __init__(self, layers: Iterable[Block]) -> None:
        super().__init__(layers)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        states = []
        for layer, before in zip(self.blocks, state or [None] * len(self.blocks), strict=True):
            x_BLD, after = layer(x_BLD, before, segments_BL)
            states.append(after)
        return x_BLD, None if state is None else tuple(states)
