"""Weisfeiler-Lehman labels of canonical graphs, counted: what a graph kernel compares."""

from __future__ import annotations

import functools

import numpy as np

from spaces.graph import Graph, hashed, refined

ROUNDS = 2
"""Of refinement: a label knows what stands at most so many edges away."""

BUCKETS = 64
"""Counts of each round. Labels share them by their hashes, so that rows of all genomes have one length."""

COLUMNS = (ROUNDS + 1) * BUCKETS


def label_counts(graph: Graph, owner: np.ndarray, number: int) -> np.ndarray:
    """Rows of how often each label stands in each of several graphs, of length 1, [number, COLUMNS] float64.

    The dot product of two rows is the normalised Weisfeiler-Lehman subtree kernel (Shervashidze et al. 2011, eq. 2),
    which searches over cells have used with success (Ru et al. 2021, Interpretable Neural Architecture Search via
    Bayesian Optimisation with Weisfeiler-Lehman Kernels). Labels start from operators alone; what they chose is told
    by other features.

    Args:
        graph: the graphs side by side (see `spaces.graph.union`).
        owner: which of them each node is of, [nodes].
        number: of graphs.
    """
    first = np.array(list(map(_named, graph.operators)), dtype=np.uint64)
    buckets = (refined(first, graph, ROUNDS) % BUCKETS).astype(np.intp)
    places = owner * COLUMNS + np.arange(0, COLUMNS, BUCKETS)[:, None] + buckets
    counts = np.bincount(places.ravel(), minlength=number * COLUMNS).reshape(number, COLUMNS)
    rows: np.ndarray = counts / np.sqrt((counts**2).sum(axis=1, keepdims=True))
    return rows


@functools.cache
def _named(operator: str) -> np.uint64:
    return hashed(operator, {})
