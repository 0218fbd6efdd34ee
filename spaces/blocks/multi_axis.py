"""Scans over the axes of an image.

Letters in tensor names: B batch, L length, D width.
"""

from typing import Literal

from torch import Tensor

from spaces.blocks.base import Whole, check_sizes
from spaces.blocks.selective_ssm import Mamba

ORDERS = ("rows", "rows_back", "columns", "columns_back")


class MambaND(Whole):
    """A layer of Mamba-ND (Li et al., arXiv 2402.05892, section 4): Mamba over an image, in one of four orders.

    columns: tokens in a row of the image. order: "rows", one row after the other, "columns", one column after the
    other, or either from the end. The paper's networks take these orders by turns, one a layer, with a norm before each
    and a residual around it. state, expand: of `Mamba`.

    Raises ValueError if the order is unknown or a size below 1.
    """

    def __init__(
        self,
        width: int,
        *,
        state: int,
        expand: int,
        order: Literal["rows", "rows_back", "columns", "columns_back"],
        columns: int,
    ) -> None:
        super().__init__()
        check_sizes(columns=columns)
        if order not in ORDERS:
            raise ValueError(f"unknown order {order!r}: use {', '.join(map(repr, ORDERS))}")
        self.columns, self.order = columns, order
        self.scan = Mamba(width, state=state, expand=expand, init="decaying")

    def mixed(self, x_BLD: Tensor) -> Tensor:
        y_BLD, _ = self.scan(self._turned(x_BLD, self.columns))
        return self._turned(y_BLD, x_BLD.shape[1] // self.columns, back=True)

    def _turned(self, x_BLD: Tensor, columns: int, back: bool = False) -> Tensor:
        """Tokens in the order of the scan, and back, by the columns of the image that they are now."""
        if self.order.endswith("back") and back:
            x_BLD = x_BLD.flip(1)
        if self.order.startswith("columns"):
            x_BLD = x_BLD.unflatten(1, (-1, columns)).transpose(1, 2).flatten(1, 2)
        return x_BLD.flip(1) if self.order.endswith("back") and not back else x_BLD
