"""Cells: graphs whose nodes are sums of what operators make of earlier nodes; their canonical form.

Identities are spliced into the sums that they lead to, nothing comes out of nothing, what does not reach an output is
dead, and summands commute; so do outputs that are concatenated, as what reads them has its weights for each channel.
What is left are the operators, each applied to a sum of inputs and of others' outputs; they are numbered in the one
order that every cell of the same network has.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from spaces.graph import Graph

Sum = tuple[int, ...]
"""The numbers of the inputs and operators that are added, ascending, with repeats. The inputs are numbered first."""


class Drawing:
    """A graph in the making: nodes are added after those that lead to them. Node 0 is the input."""

    def __init__(self) -> None:
        self._names = ["input"]
        self._edges: list[tuple[int, int]] = []

    def add(self, name: str, sources: Iterable[int]) -> int:
        """A new node, and its number."""
        node = len(self._names)
        self._names.append(name)
        self._edges.extend((source, node) for source in sources)
        return node

    def graph(self, ends: Iterable[int]) -> Graph:
        """The graph, once the nodes `ends` lead to its output."""
        self.add("output", ends)
        sources, targets = np.array(self._edges, dtype=np.int32).reshape(-1, 2).T
        return Graph(tuple(self._names), ({},) * len(self._names), sources, targets, np.zeros_like(sources))


class Cell:
    """The canonical form of a cell.

    Args:
        edges: (source, target, operator) with source < target. The nodes below `inputs` are the inputs.
        identity, nothing: how these two operators are called; there may be no operator that gives nothing.
        inputs: how many nodes are inputs.
        outputs: the nodes that are concatenated in the end; the greatest alone unless told.

    Attributes:
        operators: the name of each operator that counts, by its number from `inputs` on, and what it is applied to.
        outputs: what is concatenated in the end, sorted; an empty sum is zero.
    """

    def __init__(
        self,
        edges: Sequence[tuple[int, int, str]],
        identity: str,
        nothing: str | None = None,
        inputs: int = 1,
        outputs: Iterable[int] | None = None,
    ) -> None:
        last = max(target for _, target, _ in edges)
        made, values = _applied(edges, identity, nothing, inputs, last)
        ends = [values[node] for node in ([last] if outputs is None else outputs)]
        order = _canonical_order(made, ends, inputs)
        self.operators, self.outputs = _renumbered(made, ends, order, inputs)

    @property
    def text(self) -> str:
        """The canonical form in writing: equal for equal networks."""
        return _written(self.operators, self.outputs)

    def graph(self) -> Graph:
        """The canonical form of a cell of one input as a graph."""
        drawing = Drawing()
        return drawing.graph(self.draw(drawing, [0]))

    def draw(self, drawing: Drawing, inputs: Sequence[int], prefix: str = "") -> list[int]:
        """Draws the cell behind the nodes that are its inputs, and gives those that hold its outputs, zeros left out.

        Sums of several are nodes "add", one for each different sum; the names of operators begin with `prefix`.
        """
        nodes = [*inputs]
        sums: dict[Sum, int] = {}

        def end(terms: Sum) -> int:
            """The node that holds a sum."""
            if len(terms) == 1:
                return nodes[terms[0]]
            if terms not in sums:
                sums[terms] = drawing.add("add", [nodes[term] for term in terms])
            return sums[terms]

        for name, terms in self.operators:
            nodes.append(drawing.add(prefix + name, [end(terms)]))
        return [end(terms) for terms in self.outputs if terms]


def _applied(
    edges: Sequence[tuple[int, int, str]], identity: str, nothing: str | None, inputs: int, last: int
) -> tuple[list[tuple[str, Sum]], list[Sum]]:
    """Every operator that is applied to something, after the inputs, and the sum at each node."""
    made: list[tuple[str, Sum]] = [("input", ())] * inputs
    values: list[Sum] = [(number,) for number in range(inputs)]
    for node in range(inputs, last + 1):
        terms: list[int] = []
        for source, target, operator in edges:
            if target == node and operator != nothing and values[source]:
                if operator == identity:
                    terms.extend(values[source])
                else:
                    made.append((operator, values[source]))
                    terms.append(len(made) - 1)
        values.append(tuple(sorted(terms)))
    return made, values


def _canonical_order(made: list[tuple[str, Sum]], outputs: list[Sum], inputs: int) -> list[int]:
    """The operators that reach an output, each after those that it is applied to.

    Where several look alike from the inputs, the order whose writing is least is taken: few do, as cells are small.
    """
    alive: set[int] = set()
    front = [number for terms in outputs for number in terms]
    while front:
        number = front.pop()
        if number >= inputs and number not in alive:
            alive.add(number)
            front.extend(made[number][1])
    looks: dict[int, tuple[int, str]] = {number: (0, str(number)) for number in range(inputs)}
    for number in sorted(alive):  # an operator is made after those that it is applied to
        name, terms = made[number]
        depth = 1 + max(looks[term][0] for term in terms)
        looks[number] = depth, f"{name}({','.join(sorted(looks[term][1] for term in terms))})"
    alike = [
        list(group) for _, group in itertools.groupby(sorted(alive, key=looks.__getitem__), looks.__getitem__)
    ]
    orders = [
        [number for group in groups for number in group]
        for groups in itertools.product(*map(itertools.permutations, alike))
    ]
    if len(orders) == 1:
        return orders[0]
    return min(orders, key=lambda order: _written(*_renumbered(made, outputs, order, inputs)))


def _renumbered(
    made: list[tuple[str, Sum]], outputs: list[Sum], order: list[int], inputs: int
) -> tuple[tuple[tuple[str, Sum], ...], tuple[Sum, ...]]:
    """The operators in an order, and the outputs, by the numbers that the order gives."""
    place = {number: k for k, number in enumerate([*range(inputs), *order])}

    def renumbered(terms: Sum) -> Sum:
        return tuple(sorted([place[term] for term in terms]))

    operators = tuple([(made[number][0], renumbered(made[number][1])) for number in order])
    return operators, tuple(sorted([renumbered(terms) for terms in outputs]))


def _written(operators: Sequence[tuple[str, Sum]], outputs: Sequence[Sum]) -> str:
    parts = [f"{name}({','.join(map(str, terms))})" for name, terms in operators]
    return " ".join([*parts, "=" + "|".join([",".join(map(str, terms)) for terms in outputs])])
