"""Trees of flow grammars as boxes: steps below one another, branches side by side, repeats folded."""

from __future__ import annotations

from nas.report.boxes import Box, column, folds, frame, operator, row
from spaces.flow.grammar import FlowGrammar
from spaces.flow.terminal import Shape
from spaces.flow.tree import Node


def flow(node: Node, grammar: FlowGrammar) -> Box:
    """A tree from the top down, each operator with the shape that comes out of it."""
    steps = node.steps
    boxes, place = [], 0
    for period, times in folds([step.text for step in steps]):
        here = [box for step in steps[place : place + period] for box in _boxes(step, grammar)]
        boxes += [frame(f"×{times}", column(here))] if times > 1 else here
        place += period * times
    return column(boxes)


def _boxes(node: Node, grammar: FlowGrammar) -> list[Box]:
    """The boxes of one step, one below the other; an identity is none, and what is built as one module is one."""
    if node.form == "computation":
        [terminal] = node.terminals
        return [] if terminal.neutral else [operator(terminal.name, [_written(node.out)])]
    if fused := grammar.fused(node):
        return [operator(fused.name, [_written(node.out)])]
    first, last = node.terminals
    before = [] if first.neutral else [operator(first.name)]
    after = operator(last.name, [_written(node.out)])
    inner = [flow(child, grammar) for child in node.children]
    if node.form == "routing":
        return [*before, *inner, *([] if last.neutral else [after])]
    if len(inner) == 1:
        inner = [frame(f"×{first.ways} side by side", inner[0])]
    return [*before, row(inner), after]


def _written(shape: Shape) -> str:
    return " × ".join(map(str, shape))
