"""The canonical graph of a tree: what its digest says, as arrays."""

from __future__ import annotations

from collections import Counter

import numpy as np

from spaces.flow.tree import Node, rendered
from spaces.graph import Graph


def graph(root: Node) -> Graph:
    """Operators in topological order, from "input" to "output".

    Clones are edges that part, a split ("group") is an operator. Equal branches are drawn once, with one edge to the
    join for each copy. The port of an edge is the place of its branch where the order matters.
    """
    operators: list[str] = ["input"]
    edges: list[tuple[int, int, int]] = []

    def add(operator: str, inputs: list[tuple[int, int]]) -> int:
        operators.append(operator)
        edges.extend((source, len(operators) - 1, port) for source, port in inputs)
        return len(operators) - 1

    def follow(node: Node, before: int) -> int:
        if node.form == "computation":
            op = node.terminals[0]
            return before if op.neutral else add(op.name, [(before, 0)])
        if node.form == "sequential":
            return follow(node.children[1], follow(node.children[0], before))
        first, last = node.terminals
        if first.kind == "fork" and first.neutral and last.neutral:
            summands: Counter[str] = Counter()
            parts: dict[str, Node] = {}
            _gather(node, 1, summands, parts)
            ends = [(follow(parts[term], before), number) for term, number in sorted(summands.items())]
            return add(last.name, [(end, 0) for end, number in ends for _ in range(number)])
        if not first.neutral:
            before = add(first.name, [(before, 0)])
        if first.kind == "pre":
            before = follow(node.children[0], before)
            return before if last.neutral else add(last.name, [(before, 0)])
        ends = [(follow(child, before), node.copies) for child in node.children]
        places = [end for end, number in ends for _ in range(number)]
        return add(last.name, [(end, 0 if last.neutral else port) for port, end in enumerate(places)])

    add("output", [(follow(root, 0), 0)])
    sources, targets, ports = np.array(edges, dtype=np.int32).reshape(-1, 3).T
    return Graph(tuple(operators), ({},) * len(operators), sources, targets, ports)


def _gather(node: Node, times: int, summands: Counter[str], parts: dict[str, Node]) -> None:
    """The different summands of a sum, and how often each is added."""
    for child in node.children:
        items = child.items
        if len(items) == 1 and not isinstance(items[0], str):
            _gather(_sum_of(child), times * node.copies, summands, parts)
        else:
            term = rendered(items)
            summands[term] += times * node.copies
            parts.setdefault(term, child)


def _sum_of(node: Node) -> Node:
    """The branching that a tree is, but for identities around it."""
    while node.form != "branching":
        node = next(child for child in node.children if child.items)
    return node
