"""Cells: graphs whose nodes are sums of what operators make of earlier nodes; their canonical form.

Identities are spliced into the sums that they lead to, nothing comes out of nothing, what does not reach the output is
dead, and summands commute. What is left are the operators, each applied to a sum of others' outputs; they are numbered
in the one order that every cell of the same network has.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from spaces.graph import Graph

Sum = tuple[int, ...]
"""The numbers of the operators whose outputs are added, ascending, with repeats; 0 is the input of the cell."""


class Cell:
    """The canonical form of a cell.

    Args:
        edges: (source, target, operator) with source < target; node 0 is the input, the greatest the output.
        identity, nothing: how these two operators are called.

    Attributes:
        operators: the name of each operator that counts, by its number from 1 on, and what it is applied to.
        output: what is added up in the end; empty where the cell gives zero.
    """

    def __init__(self, edges: Sequence[tuple[int, int, str]], identity: str, nothing: str) -> None:
        made, output = _applied(edges, identity, nothing)
        order = _canonical_order(made, output)
        place = {0: 0, **{number: k for k, number in enumerate(order, start=1)}}
        self.operators = tuple((made[i][0], _renumbered(made[i][1], place)) for i in order)
        self.output = _renumbered(output, place)

    @property
    def text(self) -> str:
        """The canonical form in writing: equal for equal networks."""
        return _written(self.operators, self.output)

    def graph(self) -> Graph:
        """The same as a graph: sums of several are nodes "add", one for each different sum."""
        names = ["input"]
        edges: list[tuple[int, int]] = []
        node_of = {0: 0}
        sums: dict[Sum, int] = {}

        def end(terms: Sum) -> int:
            """The node that holds a sum."""
            if len(terms) == 1:
                return node_of[terms[0]]
            if terms not in sums:
                names.append("add")
                sums[terms] = len(names) - 1
                edges.extend((node_of[term], sums[terms]) for term in terms)
            return sums[terms]

        for number, (name, terms) in enumerate(self.operators, start=1):
            source = end(terms)
            names.append(name)
            node_of[number] = len(names) - 1
            edges.append((source, node_of[number]))
        if self.output:
            source = end(self.output)
            edges.append((source, len(names)))
        names.append("output")
        sources, targets = np.array(edges, dtype=np.int32).reshape(-1, 2).T
        return Graph(tuple(names), ({},) * len(names), sources, targets, np.zeros_like(sources))


def _applied(
    edges: Sequence[tuple[int, int, str]], identity: str, nothing: str
) -> tuple[list[tuple[str, Sum]], Sum]:
    """Every operator that is applied to something, after the input in place 0, and the sum at the output."""
    made: list[tuple[str, Sum]] = [("input", ())]
    values: dict[int, Sum] = {0: (0,)}
    last = max(target for _, target, _ in edges)
    for node in range(1, last + 1):
        terms: list[int] = []
        for source, target, operator in edges:
            if target == node and operator != nothing and values[source]:
                if operator == identity:
                    terms.extend(values[source])
                else:
                    made.append((operator, values[source]))
                    terms.append(len(made) - 1)
        values[node] = tuple(sorted(terms))
    return made, values[last]


def _canonical_order(made: list[tuple[str, Sum]], output: Sum) -> list[int]:
    """The operators that reach the output, each after those that it is applied to.

    Where several look alike from the input, the order whose writing is least is taken: few do, as cells are small.
    """
    alive: set[int] = set()
    front = [*output]
    while front:
        number = front.pop()
        if number and number not in alive:
            alive.add(number)
            front.extend(made[number][1])
    looks: dict[int, tuple[int, str]] = {0: (0, "")}
    for number in sorted(alive):  # an operator is made after those that it is applied to
        name, terms = made[number]
        depth = 1 + max(looks[term][0] for term in terms)
        looks[number] = depth, f"{name}({','.join(sorted(looks[term][1] for term in terms))})"
    alike = [
        list(group) for _, group in itertools.groupby(sorted(alive, key=looks.__getitem__), looks.__getitem__)
    ]

    def writing(order: list[int]) -> str:
        place = {0: 0, **{number: k for k, number in enumerate(order, start=1)}}
        operators = [(made[i][0], _renumbered(made[i][1], place)) for i in order]
        return _written(operators, _renumbered(output, place))

    orders = [
        [number for group in groups for number in group]
        for groups in itertools.product(*map(itertools.permutations, alike))
    ]
    return orders[0] if len(orders) == 1 else min(orders, key=writing)


def _renumbered(terms: Sum, place: dict[int, int]) -> Sum:
    return tuple(sorted([place[term] for term in terms]))


def _written(operators: Sequence[tuple[str, Sum]], output: Sum) -> str:
    parts = [f"{name}({','.join(map(str, terms))})" for name, terms in operators]
    return " ".join([*parts, f"={','.join(map(str, output))}"])
