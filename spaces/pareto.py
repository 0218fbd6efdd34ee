"""Pareto order: which vectors no other is at most equal to, in everything; lower is better.

Of vectors by themselves (what the rest of a network costs at least), and of arrays of losses (of trials).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from operator import le
from typing import Any, TypeVar

import numpy as np

V = TypeVar("V", bound=tuple[Any, ...])


def at_most(one: Sequence[float], two: Sequence[float]) -> bool:
    """Whether a vector is nowhere greater than another."""
    return all(map(le, one, two))


def lowest(vectors: Iterable[V], within: Callable[[V, V], bool] | None = None) -> list[V]:
    """The vectors that no other is at most equal to, each once, in ascending order.

    Args:
        within: the order, where a faster one than `at_most` is known.
    """
    distinct = sorted(set(vectors))  # what is at most equal to a vector stands before it
    if within is None and distinct and len(distinct[0]) <= 3:
        return _lowest_of_three(distinct)
    compare = within or at_most
    least: list[V] = []
    for vector in distinct:
        if not any(compare(other, vector) for other in least):
            least.append(vector)
    return least


def _lowest_of_three(vectors: list[V]) -> list[V]:
    """The same of sorted vectors of at most three numbers, in n log n steps.

    Of those before a vector whose second number is not greater, the one with the lowest third decides.
    """
    least: list[V] = []
    middles: list[float] = []  # second numbers, ascending, and the lowest third up to each, descending
    lasts: list[float] = []
    for vector in vectors:
        middle, last = (*vector[1:], 0, 0)[:2]
        place = bisect_right(middles, middle)
        if place and lasts[place - 1] <= last:
            continue
        least.append(vector)
        start = end = bisect_left(middles, middle)
        while end < len(lasts) and lasts[end] >= last:
            end += 1
        middles[start:end], lasts[start:end] = [middle], [last]
    return least


def fronts(losses_NM: np.ndarray, violations: np.ndarray | None = None) -> np.ndarray:
    """The front of each point, [n]: 0 where no other dominates it, 1 where only those of front 0 do, and so on.

    Feasibility comes first: a point that breaks constraints less dominates, whatever its losses (Deb et al. 2002, A
    Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, sections III.A and VI.A).

    Args:
        losses_NM: of n points, lower is better.
        violations: by how much each breaks constraints, [n]; default: none does.
    """
    n = len(losses_NM)
    broken = np.zeros(n) if violations is None else np.asarray(violations)
    if losses_NM.shape[1] == 1:  # a total order, but for ties
        order = np.lexsort((losses_NM[:, 0], broken))
        rows = np.column_stack([broken, losses_NM])[order]
        ranks = np.empty(n, dtype=np.intp)
        ranks[order] = np.append(0, (rows[1:] != rows[:-1]).any(axis=1).cumsum())[:n]
        return ranks
    nowhere_worse = (losses_NM[:, None] <= losses_NM[None]).all(axis=-1)
    dominates = nowhere_worse & ~nowhere_worse.T
    dominates = (broken[:, None] < broken) | ((broken[:, None] == broken) & dominates)
    found = np.full(n, -1)
    above = dominates.sum(axis=0)
    front = 0
    while (found < 0).any():
        now = (found < 0) & (above == 0)
        found[now] = front
        above = above - dominates[now].sum(axis=0)
        front += 1
    return found


def crowding(losses_NM: np.ndarray) -> np.ndarray:
    """How far the neighbours of each point of one front lie apart, summed over the objectives, [n].

    In shares of the range of the front; infinite at its ends (Deb et al. 2002, section III.B).
    """
    distance = np.zeros(len(losses_NM))
    for values in finite(losses_NM).T:
        order = np.argsort(values, kind="stable")
        width = values[order[-1]] - values[order[0]]
        distance[order[[0, -1]]] = np.inf
        if width > 0:
            distance[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / width
    return distance


def hypervolume(losses_NM: np.ndarray, reference: Sequence[float] | np.ndarray) -> float:
    """The volume that the points dominate below a reference point, exactly.

    By slices along the last objective (While et al. 2006, A Faster Algorithm for Calculating Hypervolume, section
    II.B): fast for two or three objectives, slow for many points of more than five.
    """
    reference = np.asarray(reference, dtype=np.float64)
    below = [tuple(row) for row in losses_NM[(losses_NM < reference).all(axis=1)].tolist()]
    return _volume(lowest(below), reference.tolist())


def _volume(points: list[tuple[float, ...]], reference: Sequence[float]) -> float:
    """Of points below the reference of which none dominates another."""
    if not points:
        return 0.0
    if len(reference) == 1:
        return reference[0] - points[0][0]
    total, upper = 0.0, reference[-1]
    if len(reference) == 2:  # ascending in the first objective, hence descending in the second
        for x, y in points:
            total += (reference[0] - x) * (upper - y)
            upper = y
        return total
    ends = sorted(points, key=lambda point: point[-1])
    for k, point in enumerate(ends):
        following = ends[k + 1][-1] if k + 1 < len(ends) else upper
        if following > point[-1]:
            slice_ = lowest([other[:-1] for other in ends[: k + 1]])
            total += (following - point[-1]) * _volume(slice_, reference[:-1])
    return total


def undominated(
    losses_NM: np.ndarray, reference: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes that hold all below a reference point that no point dominates, none of it twice.

    By slices along the last objective, as in `hypervolume`. Lower and upper ends, [k, m] each; lower ones may be -inf.
    """
    reference = np.asarray(reference, dtype=np.float64)
    below = [tuple(row) for row in losses_NM[(losses_NM < reference).all(axis=1)].tolist()]
    boxes = np.array(list(_boxes(lowest(below), reference.tolist())))
    return boxes[:, 0], boxes[:, 1]


def _boxes(
    points: list[tuple[float, ...]], reference: Sequence[float]
) -> Iterable[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Of points below the reference of which none dominates another."""
    if len(reference) == 1:
        yield (-math.inf,), (min((point[0] for point in points), default=reference[0]),)
        return
    edges = [-math.inf, *sorted({point[-1] for point in points}), reference[-1]]
    for low, high in pairwise(edges):
        slice_ = lowest([point[:-1] for point in points if point[-1] <= low])
        for lower, upper in _boxes(slice_, reference[:-1]):
            yield (*lower, low), (*upper, high)


def contributions(losses_NM: np.ndarray, reference: Sequence[float] | np.ndarray) -> np.ndarray:
    """The volume that each point dominates alone, [n]: by so much the hypervolume falls without it.

    Of two objectives that is a rectangle, as far as the neighbours on the front.
    """
    reference = np.asarray(reference, dtype=np.float64)
    if len(reference) == 2 and (losses_NM < reference).all():
        order = np.lexsort(losses_NM.T[::-1])
        (x, y), found = losses_NM[order].T, np.zeros(len(losses_NM))
        if (np.diff(x) > 0).all() and (np.diff(y) < 0).all():
            found[order] = np.diff(x, append=reference[0]) * -np.diff(y, prepend=reference[1])
            return found
    whole = hypervolume(losses_NM, reference)
    return np.array(
        [whole - hypervolume(np.delete(losses_NM, k, axis=0), reference) for k in range(len(losses_NM))]
    )


def finite(losses_NM: np.ndarray) -> np.ndarray:
    """The losses with infinite ones as bad as the worst that is not."""
    worst = np.where(np.isfinite(losses_NM), losses_NM, -np.inf).max(axis=0, initial=-np.inf)
    worst = np.where(np.isfinite(worst), worst, 0.0)
    return np.where(np.isfinite(losses_NM), losses_NM, worst)
