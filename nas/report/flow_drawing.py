"""Trees of flow grammars as boxes: steps below one another, branches side by side, repeats folded."""

from __future__ import annotations

from collections.abc import Sequence

from nas.report.boxes import Box, column, frame, operator, row
from spaces.flow.grammar import Shape
from spaces.flow.tree import Node


def flow(node: Node) -> Box:
    """A tree from the top down, each operator with the shape that comes out of it."""
    steps = node.steps
    texts = [step.text for step in steps]
    boxes, place = [], 0
    while place < len(steps):
        period, times = _repeats(texts, place)
        if times > 1:
            inner = [box for step in steps[place : place + period] for box in _boxes(step)]
            boxes.append(frame(f"×{times}", column(inner)))
        else:
            boxes += _boxes(steps[place])
        place += period * times
    return column(boxes)


def _repeats(texts: Sequence[str], place: int) -> tuple[int, int]:
    """How many steps from a place on come again and again, and how often: the fewest that cover the most."""
    best = (1, 1)
    for period in range(1, (len(texts) - place) // 2 + 1):
        pattern, times = texts[place : place + period], 1
        while texts[place + times * period : place + (times + 1) * period] == pattern:
            times += 1
        if times > 1 and period * times > best[0] * best[1]:
            best = (period, times)
    return best


def _boxes(node: Node) -> list[Box]:
    """The boxes of one step, one below the other; an identity is none."""
    if node.form == "computation":
        [terminal] = node.terminals
        return [] if terminal.neutral else [operator(terminal.name, [_written(node.out)])]
    first, last = node.terminals
    before = [] if first.neutral else [operator(first.name)]
    after = operator(last.name, [_written(node.out)])
    inner = [flow(child) for child in node.children]
    if node.form == "routing":
        return [*before, *inner, *([] if last.neutral else [after])]
    if len(inner) == 1:
        inner = [frame(f"×{first.ways} side by side", inner[0])]
    return [*before, row(inner), after]


def _written(shape: Shape) -> str:
    return " × ".join(map(str, shape))
