"""Whether anything of the input comes through to what the head reads, the mean over all positions.

A mean over an axis along which a softmax was taken is the same for every input. So it stays through whatever
commutes with sums: the sum of an output over some axes is followed back to the axes over which the sum of the input
is enough to know.
"""

from __future__ import annotations

from spaces.flow.terminal import Axes
from spaces.flow.tree import Node


def blocked(root: Node) -> bool:
    """Whether the head reads the same whatever comes in, so that what stands before it learns nothing of the input.

    Where this cannot be told from the terminals alone (a leaky ReLU behind a softmax), the answer is False.
    """
    positions = (1, 2) if len(root.out) == 3 else range(len(root.out) - 1)
    return root.constant or _enough(root, frozenset(positions)) is None


def _enough(node: Node, axes: Axes) -> Axes | None:
    """The axes over which the sum of the input tells the sum of the output over some; None where nothing is needed."""
    if not axes:
        return axes
    if node.form == "sequential":
        between = _enough(node.children[1], axes)
        return None if between is None else _enough(node.children[0], between)
    first, last = node.terminals[0], node.terminals[-1]
    if node.form == "computation":
        return first.sums(node.shape, axes)
    inside = last.sums(node.children[0].out, axes)
    if inside is None:
        return None
    needed = [found for child in node.children if (found := _enough(child, inside)) is not None]
    return first.sums(node.shape, frozenset.intersection(*needed)) if needed else None
