"""Feed-forward layers: each token by itself.

Letters in tensor names: B batch, L length, D width, F hidden units.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from spaces.blocks.base import Block, State, linear
from spaces.blocks.sizes import hidden_width


class SwiGLU(Block):
    """out(silu(gate) * up), with (gate, up) = linear(x) (Shazeer, arXiv 2002.05202, equation 6).

    mult: hidden units per unit of width.
    """

    def __init__(self, width: int, *, mult: float) -> None:
        super().__init__()
        hidden = hidden_width(width, mult)
        self.gate_up = linear(width, 2 * hidden)
        self.out = linear(hidden, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        gate_BLF, up_BLF = self.gate_up(x_BLD).chunk(2, dim=-1)
        return self.out(F.silu(gate_BLF) * up_BLF), state


GATES: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "relu": F.relu, "gelu": F.gelu}


class GLU(Block):
    """out(activation(gate) * up), with (gate, up) = linear(x): the others of Shazeer's family (arXiv 2002.05202).

    mult: hidden units per unit of width. activation: "sigmoid" (GLU), "relu" (ReGLU) or "gelu" (GEGLU, exact). Raises
    ValueError for any other.
    """

    def __init__(self, width: int, *, mult: float, activation: Literal["sigmoid", "relu", "gelu"]) -> None:
        super().__init__()
        if activation not in GATES:
            raise ValueError(f"unknown activation {activation!r}: use 'sigmoid', 'relu' or 'gelu'")
        hidden = hidden_width(width, mult)
        self.activation = activation
        self.gate_up = linear(width, 2 * hidden)
        self.out = linear(hidden, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        gate_BLF, up_BLF = self.gate_up(x_BLD).chunk(2, dim=-1)
        return self.out(GATES[self.activation](gate_BLF) * up_BLF), state


class MLP(Block):
    """out(activation(linear(x))).

    mult: hidden units per unit of width. activation: "gelu" (exact, arXiv 1606.08415) or "relu2", the squared
    ReLU (Primer, arXiv 2109.08668). Raises ValueError for any other.
    """

    def __init__(self, width: int, *, mult: float, activation: Literal["gelu", "relu2"]) -> None:
        super().__init__()
        if activation not in ("gelu", "relu2"):
            raise ValueError(f"unknown activation {activation!r}: use 'gelu' or 'relu2'")
        hidden = hidden_width(width, mult)
        self.activation = activation
        self.up = linear(width, hidden)
        self.out = linear(hidden, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        h_BLF = self.up(x_BLD)
        h_BLF = F.gelu(h_BLF) if self.activation == "gelu" else F.relu(h_BLF).square()
        return self.out(h_BLF), state
