"""Populations of a design space, and the distribution of their errors.

Design spaces are compared by what a random network of each costs and reaches, not by the best found (Radosavovic et al.
2019, arXiv 1905.13214, "On Network Design Spaces for Visual Recognition"; 2020, arXiv 2003.13678, "Designing Network
Design Spaces", section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from spaces.cost import COST_NAMES
from spaces.errors import InvalidSpace, suggest
from spaces.genome import Genome
from spaces.protocol import Space

MOST_OUTSIDE = 10_000
"""How many draws in a row may be outside the bounds, or drawn before."""


def population(
    space: Space,
    number: int,
    rng: np.random.Generator,
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> list[Genome]:
    """Different networks drawn from a space, each of whose costs lies within bounds.

    Args:
        bounds: least and most of costs by name, as {"flops_per_token": (360e6, 400e6)}.

    Raises:
        InvalidSpace: a cost is unknown, bounds are the wrong way round, or 10,000 draws in a row were of no use.
    """
    bounds = bounds or {}
    for name, (low, high) in bounds.items():
        if name not in COST_NAMES:
            raise InvalidSpace(f"no cost {name!r} to bound{suggest(name, COST_NAMES)}")
        if not low <= high:
            raise InvalidSpace(
                f"bounds of {name}: from {low:g} to {high:g}, but the first must not be the greater"
            )
    found: dict[str, Genome] = {}
    outside = 0
    while len(found) < number:
        genome = space.sample(rng)
        cost = space.cost(genome) if bounds else None
        within = all(low <= getattr(cost, name) <= high for name, (low, high) in bounds.items())
        if within and genome.digest not in found:
            found[genome.digest] = genome
            outside = 0
            continue
        outside += 1
        if outside == MOST_OUTSIDE:
            told = ", ".join(f"{name} from {low:g} to {high:g}" for name, (low, high) in bounds.items())
            raise InvalidSpace(
                f"space {space.name!r}: {MOST_OUTSIDE:,} draws in a row gave no new network"
                + (f" with {told}" if told else "")
                + f"; {len(found)} of {number} were found"
            )
    return list(found.values())


def error_edf(errors: ArrayLike, weights: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The empirical distribution function of errors: the errors ascending, [n], and the share at most each, [n].

    Networks that failed have an error of NaN or infinity, and stand at the end. Weights are normalised; those of
    `even_weights` make populations comparable whose networks differ in cost (arXiv 1905.13214, equation 2).

    Raises:
        ValueError: there are no errors, or weights that are negative, all zero, or not one for each error.
    """
    values = np.asarray(errors, dtype=float).ravel()
    if not len(values):
        raise ValueError("there are no errors to show the distribution of")
    shares = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float).ravel()
    if shares.shape != values.shape or not (shares >= 0).all() or not shares.sum() > 0:
        raise ValueError(
            f"weights must be one number of at least 0 for each of {len(values)} errors, and not all zero"
        )
    values = np.where(np.isnan(values), np.inf, values)
    order = np.argsort(values, kind="stable")
    return values[order], np.cumsum(shares[order]) / shares.sum()


def even_weights(costs: ArrayLike, bins: int = 10) -> np.ndarray:
    """Weights under which the costs of a population are spread evenly over bins of equal width, [n].

    All networks of a bin weigh the same, and all bins that are not empty weigh the same together (arXiv 1905.13214,
    section 3.3).

    Raises:
        ValueError: there are no costs, one is not finite, or no bins.
    """
    values = np.asarray(costs, dtype=float).ravel()
    if not len(values) or not np.isfinite(values).all() or bins < 1:
        raise ValueError("even weights need finite costs and at least one bin")
    span = np.ptp(values) or 1.0
    places = np.minimum((values - values.min()) / span * bins, bins - 1).astype(int)
    counts = np.bincount(places, minlength=bins)
    return 1 / counts[places] / np.count_nonzero(counts)
