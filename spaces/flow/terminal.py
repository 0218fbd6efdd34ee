"""The operators of a flow grammar: what each makes of a shape, what it costs, and what is known of its sums."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]
"""The sizes of a tensor, without the batch."""
Scope = Hashable
"""What the innermost pre that opens a scope has opened; None outside of them all."""

Axes = frozenset[int]
"""Axes of a shape, from 0."""

Sums = Callable[[Shape, Axes], Axes | None]
"""From the shape of an input (a join: of any branch) and axes of the output: the axes over which the sum of the input
is enough to know that of the output; none where all of the input is needed; None where that is always the same."""


def same(shape: Shape) -> Shape:
    """Gives every shape as it came."""
    return shape


def same_axes(shape: Shape, axes: Axes) -> Axes:
    """The sum over some axes is told by that of the input over the same."""
    return axes


def no_axes(shape: Shape, axes: Axes) -> Axes:
    """No sum tells it; all of the input is needed."""
    return frozenset()


def equal(shapes: tuple[Shape, ...]) -> Shape | None:
    """Gives the shape that all branches have."""
    return shapes[0] if shapes.count(shapes[0]) == len(shapes) else None


def equal_partner(first: Shape, out: Shape | None) -> Shape | None:
    """The shape that a second branch must have where both must be equal."""
    return first if out is None or out == first else None


@dataclass(frozen=True, slots=True, eq=False)
class Terminal:
    """An operator of a grammar; made by the methods of `FlowGrammar`. A join of any number of branches has 1 way."""

    name: str
    kind: str
    gives: Callable[..., Shape | None]
    module: Callable[[Any, Shape], nn.Module]
    cost: Callable[[Any, Shape], tuple[int, int]] | None = None
    neutral: bool = False
    view: bool = False
    ways: int = 1
    opens: Callable[[Shape], Scope] | None = None
    wants: Callable[[Shape, Shape | None], Any] = equal_partner
    constant: Callable[[Shape], bool] | None = None
    scoped: bool = False
    sums: Sums = no_axes
