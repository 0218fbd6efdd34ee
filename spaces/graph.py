"""The canonical graph of a genome: arrays for hot paths, Weisfeiler-Lehman labels, a networkx view for people.

Nodes are operators in topological order, from "input" to "output"; edges carry features. Nested sequences and
repeats are spliced, identities vanish, and commuting branches stand in the order of their canonical form, so
that genomes with one digest have one graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
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


def union(graphs: Sequence[Graph]) -> Graph:
    """Several graphs side by side, their nodes numbered on: what is done to all at once is done fast."""
    shift = np.cumsum([0, *(len(graph.operators) for graph in graphs)], dtype=np.int32)
    shifts = np.repeat(shift[:-1], [len(graph.sources) for graph in graphs])
    edges = [(graph.sources, graph.targets, graph.ports) for graph in graphs]
    sources, targets, ports = np.concatenate([np.zeros((3, 0), np.int32), *edges], axis=1, dtype=np.int32)
    return Graph(
        tuple(chain.from_iterable([graph.operators for graph in graphs])),
        tuple(chain.from_iterable([graph.choices for graph in graphs])),
        sources + shifts,
        targets + shifts,
        ports,
    )


def weisfeiler_lehman(graph: Graph, rounds: int = 3) -> np.ndarray:
    """Labels of every node after each round of refinement, [rounds + 1, nodes] uint64.

    Round 0 hashes the operator and its choices; for the others see `refined`.
    """
    named = zip(graph.operators, graph.choices, strict=True)
    return refined(np.array([hashed(operator, chosen) for operator, chosen in named]), graph, rounds)


def refined(labels: np.ndarray, graph: Graph, rounds: int) -> np.ndarray:
    """First labels of nodes, and those after each round of refinement, [rounds + 1, nodes] uint64.

    Each round hashes a node's label with the labels that lead into it and out of it and their ports. Equal labels
    mean, up to hash collisions, equal neighbourhoods of that radius, in this graph or another (Shervashidze et al.
    2011, Weisfeiler-Lehman Graph Kernels). Neighbours have no order, so their hashes are added (modulo 2^64).
    """
    history = [labels]
    ports = graph.ports.astype(np.uint64)
    for _ in range(rounds):
        label = history[-1]
        into, out = np.zeros_like(label), np.zeros_like(label)
        np.add.at(into, graph.targets, _mixed(_mixed(label[graph.sources]) + ports))
        np.add.at(out, graph.sources, _mixed(_mixed(label[graph.targets]) + ports))
        history.append(_mixed(_mixed(_mixed(label) + into) + out))
    return np.array(history)


def hashed(operator: str, chosen: Mapping[str, Any]) -> np.uint64:
    """The first label of an operator with its choices."""
    parts = repr((operator, sorted(chosen.items()))).encode()
    return np.uint64(int.from_bytes(blake2b(parts, digest_size=8).digest(), "little"))


def _mixed(x: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit numbers that changes half of the bits where one is changed.

    A step of SplitMix64 (Steele et al. 2014, Fast Splittable Pseudorandom Number Generators, figure 17).
    """
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def to_networkx(graph: Graph) -> networkx.MultiDiGraph:
    """The graph with `operator` and its choices as node attributes and `port` on edges; parallel edges are kept."""
    import networkx

    view = networkx.MultiDiGraph()
    for place, (operator, chosen) in enumerate(zip(graph.operators, graph.choices, strict=True)):
        view.add_node(place, operator=operator, **chosen)
    edges = (graph.sources.tolist(), graph.targets.tolist(), graph.ports.tolist())
    view.add_edges_from((source, target, {"port": port}) for source, target, port in zip(*edges, strict=True))
    return view
