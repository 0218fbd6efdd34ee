"""The canonical graph of a genome: arrays for hot paths, Weisfeiler-Lehman labels, a networkx view for people.

Nodes are operators in topological order, from "input" to "output"; edges carry features. Nested sequences and
repeats are spliced, identities vanish, and commuting branches stand in the order of their canonical form, so
that genomes with one digest have one graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from spaces.derivation import Node

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
    edges: list[tuple[int, int, int]] = []

    def add(operator: str, chosen: Mapping[str, Any], inputs: list[tuple[int, int]]) -> int:
        operators.append(operator)
        choices.append(chosen)
        place = len(operators) - 1
        edges.extend((source, place, port) for source, port in inputs)
        return place

    def follow(node: Node, before: int) -> int:
        form = node.production.form
        below = [(child, port) for port, group in enumerate(node.children) for child in group]
        if form == "identity":
            return before
        if form == "operator":
            ends = [(follow(child, before), port) for child, port in below]
            return add(node.production.name + node.table.at.shape, node.choices(), ends or [(before, 0)])
        if form == "residual":
            branches = sorted((child for child, _ in below), key=lambda child: " ".join(child.canonical))
            return add("add", {}, [(before, 0), *[(follow(child, before), 0) for child in branches]])
        start, edge, end = len(operators), len(edges), before
        for child, _ in below:
            end = follow(child, end)
        return repeat(start, edge, end, node.repeat - 1)

    def repeat(start: int, edge: int, end: int, times: int) -> int:
        """Copies what was added since, each copy behind the one before it; all of it starts at one operator."""
        names, chosen, joined = operators[start:], choices[start:], edges[edge:]
        operators.extend(names * times)
        choices.extend(chosen * times)
        size = len(names)
        for copy in range(1, times + 1):
            shift = copy * size
            edges.extend(
                (source + shift if source >= start else end + shift - size, target + shift, port)
                for source, target, port in joined
            )
        return end + size * times

    add("output", {}, [(follow(root, 0), 0)])
    sources, targets, ports = np.array(edges, dtype=np.int32).reshape(-1, 3).T
    return Graph(tuple(operators), tuple(choices), sources, targets, ports)


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
