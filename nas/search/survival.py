"""Which trials live on when objectives are several: whole fronts, and of the next the points that spread best."""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations, pairwise
from typing import Literal

import numpy as np

from spaces.pareto import contributions, crowding, finite, fronts

Selection = Literal["crowding", "hypervolume", "directions"]


def survivors(
    losses_NM: np.ndarray, violations: np.ndarray, number: int, by: Selection = "crowding"
) -> np.ndarray:
    """The places of the points that live on, best first, [number], or [n] where there are no more.

    Whole fronts as long as there is room, and of the next the points that spread best; within a front, by crowding.

    Args:
        violations: by how much each breaks constraints, [n]; less goes before all else.
        by: "crowding", the distance of neighbours; "hypervolume": one at a time the point that dominates least alone
            goes (Beume et al. 2007, SMS-EMOA, algorithm 2), of losses scaled to the range of the front, below 1.1;
            "directions", one at a time the point comes that is nearest to the least followed direction, see
            `along_directions`.
    """
    front = fronts(losses_NM, violations)
    kept: list[int] = []
    for k in range(front.max(initial=-1) + 1):
        places = np.flatnonzero(front == k)
        room = number - len(kept)
        if len(places) > room and by == "directions":
            all_NM = np.concatenate([losses_NM[kept], losses_NM[places]])
            kept.extend(places[along_directions(all_NM, len(kept), room, number)].tolist())
            break
        if len(places) > room and by == "hypervolume":
            places = places[_most_volume(losses_NM[places], room)]
        if len(places) > 1:
            places = places[np.argsort(-crowding(losses_NM[places]), kind="stable")]
        kept.extend(places[:room].tolist())
        if len(kept) == number:
            break
    return np.array(kept, dtype=np.intp)


def _most_volume(losses_NM: np.ndarray, number: int) -> np.ndarray:
    """The places of the points that are left when the one that dominates least alone goes, one at a time."""
    values = finite(losses_NM)
    low, width = values.min(axis=0), np.ptp(values, axis=0)
    values = (values - low) / np.where(width > 0, width, 1.0)
    left = np.arange(len(values))
    while len(left) > number:
        alone = contributions(values[left], np.full(values.shape[1], 1.1))
        left = np.delete(left, int(np.argmin(alone)))
    return left


def along_directions(losses_NM: np.ndarray, kept: int, room: int, population: int) -> np.ndarray:
    """Which points after those that are kept live on so that all directions of the objectives are followed, [room].

    The selection of NSGA-III (Deb and Jain 2014, An Evolutionary Many-Objective Optimization Algorithm Using
    Reference-Point-Based Nondominated Sorting Approach, Part I, sections IV.C to IV.E). Nothing is drawn: where several
    directions are followed least, the one comes whose nearest point is nearest, and always that point.

    Args:
        losses_NM: of the points that are kept, and of those of the next front.
        kept: how many of them live on.
        room: how many of the others will.
        population: how many directions there are, at most.

    Returns:
        Places among the others.
    """
    directions_RM = directions(losses_NM.shape[1], population)
    scaled_NM = _scaled(finite(losses_NM))
    along_NR = scaled_NM @ directions_RM.T
    squared_NR = (scaled_NM**2).sum(axis=1)[:, None] - along_NR**2
    nearest_N = squared_NR.argmin(axis=1)
    off_N = np.sqrt(np.maximum(squared_NR.min(axis=1), 0.0))
    followers_R = np.bincount(nearest_N[:kept], minlength=len(directions_RM))
    waiting = sorted(range(kept, len(losses_NM)), key=lambda place: off_N[place])
    found = []
    for _ in range(room):
        chosen = min(
            waiting, key=lambda place: followers_R[nearest_N[place]]
        )  # the first of equals is the nearest
        waiting.remove(chosen)
        followers_R[nearest_N[chosen]] += 1
        found.append(chosen - kept)
    return np.array(found, dtype=np.intp)


def _scaled(losses_NM: np.ndarray) -> np.ndarray:
    """Losses from the ideal point, in units of where the plane of the extreme points meets the axes (section IV.C)."""
    losses_NM = losses_NM - losses_NM.min(axis=0)
    number = losses_NM.shape[1]
    worst = losses_NM[fronts(losses_NM) == 0].max(axis=0)
    # The extreme point of an objective is best in all others.
    weights_MM = np.where(np.eye(number, dtype=bool), 1.0, 1e-6)
    extremes_MM = losses_NM[(losses_NM[:, None] / weights_MM).max(axis=2).argmin(axis=0)]
    try:
        with np.errstate(divide="ignore"):  # the plane may be parallel to an axis
            ends = 1 / np.linalg.solve(extremes_MM, np.ones(number))
    except np.linalg.LinAlgError:
        ends = worst
    if not (np.isfinite(ends).all() and (ends > 1e-6 * worst).all()):
        ends = worst
    scaled: np.ndarray = losses_NM / np.where(ends > 0, ends, 1.0)
    return scaled


@cache
def directions(objectives: int, most: int) -> np.ndarray:
    """At most so many directions of length 1, spread over the first orthant, [r, objectives]; its axes at least.

    Of the points whose coordinates are multiples of 1/p and sum to 1 (Das and Dennis 1998, Normal-Boundary
    Intersection), p as large as there is room. Where they all lie at the edge, there is a second layer of half the size
    around the middle (Deb and Jain 2014, section V).
    """
    parts = max(1, _parts(objectives, most))
    layers = [_simplex(objectives, parts)]
    inner = _parts(objectives, most - len(layers[0]))
    if parts < objectives and inner:
        layers.append(_simplex(objectives, inner) / 2 + 0.5 / objectives)
    points_RM = np.concatenate(layers)
    spread: np.ndarray = points_RM / np.linalg.norm(points_RM, axis=1, keepdims=True)
    return spread


def _parts(objectives: int, most: int) -> int:
    """The largest p that gives at most so many points; 0 where none does."""
    parts = 0
    while math.comb(objectives + parts, parts + 1) <= most and objectives > 1:
        parts += 1
    return parts


def _simplex(objectives: int, parts: int) -> np.ndarray:
    """All points of so many multiples of 1 / parts that sum to 1."""
    rows = []
    for bars in combinations(range(parts + objectives - 1), objectives - 1):
        edges = (-1, *bars, parts + objectives - 1)
        rows.append([after - before - 1 for before, after in pairwise(edges)])
    points: np.ndarray = np.array(rows, dtype=np.float64) / parts
    return points
