"""Weisfeiler-Lehman labels of canonical graphs, counted: what a graph kernel compares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spaces import Genome, Space
from spaces.graph import Graph, weisfeiler_lehman

ROUNDS = 2
"""Of refinement: a label knows what stands at most so many edges away."""

BUCKETS = 64
"""Counts of each round. Labels share them by their hashes, so that rows of all genomes have one length."""

REMEMBERED = 16_384
"""Structures kept; beyond that, all are forgotten."""


class LabelCounts:
    """Rows of how often each label stands in the graph of a genome, of length 1.

    The dot product of two rows is the normalised Weisfeiler-Lehman subtree kernel (Shervashidze et al. 2011, eq. 2),
    which searches over cells have used with success (Ru et al. 2021, Interpretable Neural Architecture Search via
    Bayesian Optimisation with Weisfeiler-Lehman Kernels). Labels start from operators alone; what they chose is told
    by other features.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._rows: dict[object, np.ndarray] = {}

    def __call__(self, genomes: Sequence[Genome]) -> np.ndarray:
        """[n, (ROUNDS + 1) * BUCKETS] float64."""
        rows = np.empty((len(genomes), (ROUNDS + 1) * BUCKETS))
        for place, genome in enumerate(genomes):
            graph = self.space.graph(genome)
            key = (graph.operators, graph.sources.tobytes(), graph.targets.tobytes(), graph.ports.tobytes())
            row = self._rows.get(key)
            if row is None:
                if len(self._rows) >= REMEMBERED:
                    self._rows.clear()
                row = self._rows[key] = _row(graph)
            rows[place] = row
        return rows


def _row(graph: Graph) -> np.ndarray:
    bare = Graph(graph.operators, ({},) * len(graph.operators), graph.sources, graph.targets, graph.ports)
    labels = weisfeiler_lehman(bare, ROUNDS) % BUCKETS
    counts = np.concatenate([np.bincount(row.astype(np.intp), minlength=BUCKETS) for row in labels])
    unit: np.ndarray = counts / np.linalg.norm(counts)
    return unit
