"""The architectures of NAS-Bench-Graph (Qin et al. 2022, arXiv 2206.09166): graph networks of four operators.

Each operator reads the features of the nodes or what one earlier operator made of them, `links`, as the benchmark
writes them: 0 is the features, 1 the first operator. What no other operator reads is concatenated as the output.

Equal digests are what the benchmark takes for one architecture: "skip" passes on what it reads, operators may be
listed in another order, and features that reach the output through nothing but skips count for nothing. Of 59,049
genomes 26,206 architectures are left, as published, and one of skips alone, which the benchmark does without.
"""

from __future__ import annotations

from spaces.cells import Cell
from spaces.errors import InvalidSpace
from spaces.fields import Choice, Real, choice
from spaces.genome import Genome
from spaces.graph import Graph
from spaces.io import IO, NodeIO, nodes
from spaces.product import Code, ProductSpace

LINKS = ("0,0,0,0", "0,0,0,1", "0,0,1,1", "0,0,1,2", "0,0,1,3", "0,1,1,1", "0,1,1,2", "0,1,2,2", "0,1,2,3")
"""One order of operators for each of the nine ways in which four can hang together."""

OPERATORS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
"""Attention with two heads, graph convolution, isomorphism network, Chebyshev filters, GraphSAGE, ARMA filters,
k-GNN, a linear layer at every node, and nothing."""

FIELDS = {"links": choice(*LINKS), **{f"op{number}": choice(*OPERATORS) for number in (1, 2, 3, 4)}}


class NASBenchGraph(ProductSpace):
    """The space of architectures; it does not say what they cost or how they are built.

    Args:
        io: the features of a node, and its classes.

    Raises:
        InvalidSpace: the input and output are not those of the classification of nodes.
    """

    def __init__(self, io: IO | None = None) -> None:
        io = nodes() if io is None else io
        if not isinstance(io, NodeIO):
            raise InvalidSpace(f"space 'nasbench_graph' reads the nodes of a graph, but it was given {io}")
        super().__init__("nasbench_graph", FIELDS, io)

    @property
    def operators(self) -> dict[str, dict[str, Choice | Real]]:
        return {name: {} for name in OPERATORS if name != "skip"}

    def at(self, io: IO) -> NASBenchGraph:
        return NASBenchGraph(io)

    def canonical(self, code: Code) -> str:
        return self._cell(code).text

    def graph(self, genome: Genome) -> Graph:
        return self._cell(self._code_of(genome)).graph()

    def _cell(self, code: Code) -> Cell:
        links, *operators = self._values(code).values()
        sources = [int(number) for number in links.split(",")]
        edges = []
        features = {0}
        for node, (source, name) in enumerate(zip(sources, operators, strict=True), start=1):
            edges.append((source, node, name))
            if source in features and name == "skip":
                features.add(node)
        outputs = {1, 2, 3, 4} - {*sources} - features
        return Cell(edges, identity="skip", outputs=outputs)
