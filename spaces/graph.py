"""The canonical graph of a genome: arrays for hot paths, Weisfeiler-Lehman labels, a networkx view for people.

Nodes are operators in topological order, from "input" to "output"; edges carry features. Nested sequences and
repeats are spliced, identities vanish, and commuting branches stand in the order of their canonical form, so
that genomes with one digest have one graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from spaces.derivation import Node, written

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True, slots=True)
class Graph:
    """Operators and the edges between them.

    Attributes:
        operators: the name of the operator of each node.
        choices: its choices and numbers, for each node.
        sources, targets: the nodes that each edge joins, [edges] int32.
        ports: the field of children of the target that the edge comes from, counted from 0, [edges] int32.
    """

    operators: tuple[str, ...]
    choices: tuple[Mapping[str, Any], ...]
    sources: np.ndarray
    targets: np.ndarray
    ports: np.ndarray


def graph(root: Node) -> Graph:
    """The canonical graph of a derivation tree."""
    operators: list[str] = ["input"]
    choices: list[Mapping[str, Any]] = [{}]
    sources: list[int] = []
    targets: list[int] = []
    ports: list[int] = []

    def add(operator: str, chosen: Mapping[str, Any], ends: Sequence[int], into: Sequence[int]) -> int:
        place = len(operators)
        operators.append(operator)
        choices.append(chosen)
        sources.extend(ends)
        targets.extend([place] * len(ends))
        ports.extend(into)
        return place

    def follow(node: Node, before: int) -> int:
        table = node.table
        form = table.production.form
        if form == "operator":
            chosen = node.choices() if table.production.reals else table.chosen(node.index)
            below = [
                (follow(child, before), port) for port, group in enumerate(node.children) for child in group
            ]
            ends, into = zip(*below, strict=True) if below else ((before,), (0,))
            return add(table.operator, chosen, ends, into)
        if form == "identity":
            return before
        children = [child for group in node.children for child in group]
        if form == "residual":
            if len(children) > 1:
                children.sort(key=written)
            branches = [before, *[follow(child, before) for child in children]]
            return add("add", {}, branches, [0] * len(branches))
        start, edge, end = len(operators), len(sources), before
        for child in children:
            end = follow(child, end)
        return repeat(start, edge, end, node.repeat - 1) if node.repeat > 1 else end

    def repeat(start: int, edge: int, end: int, times: int) -> int:
        """Copies what was added since, each copy behind the one before it; all of it starts at one operator."""
        size = len(operators) - start
        operators.extend(operators[start:] * times)
        choices.extend(choices[start:] * times)
        joined, into = sources[edge:], targets[edge:]
        ports.extend(ports[edge:] * times)
        for copy in range(1, times + 1):
            shift = copy * size
            first = end + shift - size
            sources.extend([source + shift if source >= start else first for source in joined])
            targets.extend([target + shift for target in into])
        return end + size * times

    add("output", {}, (follow(root, 0),), (0,))
    edges = np.array((sources, targets, ports), dtype=np.int32)
    return Graph(tuple(operators), tuple(choices), *edges)


def weisfeiler_lehman(graph: Graph, rounds: int = 3) -> np.ndarray:
    """Labels of every node after each round of refinement, [rounds + 1, nodes] uint64.

    Round 0 hashes the operator and its choices; each further round hashes a node's label with the sorted labels
    that lead into it and out of it. Equal labels mean, up to hash collisions, equal neighbourhoods of that
    radius, in this graph or another (Shervashidze et al. 2011, Weisfeiler-Lehman Graph Kernels).
    """
    before: list[list[tuple[int, int]]] = [[] for _ in graph.operators]
    after: list[list[tuple[int, int]]] = [[] for _ in graph.operators]
    edges = (graph.sources.tolist(), graph.targets.tolist(), graph.ports.tolist())
    for source, target, port in zip(*edges, strict=True):
        before[target].append((port, source))
        after[source].append((port, target))
    label = [
        _hash(operator, sorted(chosen.items()))
        for operator, chosen in zip(graph.operators, graph.choices, strict=True)
    ]
    history = [label]
    for _ in range(rounds):
        label = [
            _hash(
                label[i],
                sorted((port, label[j]) for port, j in before[i]),
                sorted((port, label[j]) for port, j in after[i]),
            )
            for i in range(len(label))
        ]
        history.append(label)
    return np.array(history, dtype=np.uint64)


def _hash(*parts: object) -> int:
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def to_networkx(graph: Graph) -> networkx.MultiDiGraph:
    """The graph with `operator` and its choices as node attributes and `port` on edges; parallel edges are kept."""
    import networkx

    view = networkx.MultiDiGraph()
    for place, (operator, chosen) in enumerate(zip(graph.operators, graph.choices, strict=True)):
        view.add_node(place, operator=operator, **chosen)
    edges = (graph.sources.tolist(), graph.targets.tolist(), graph.ports.tolist())
    view.add_edges_from((source, target, {"port": port}) for source, target, port in zip(*edges, strict=True))
    return view
