"""A Gaussian process over genomes: a graph kernel, and a length scale for each choice, cost and kind of feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from predictors.features import ALONG, LABEL, WHOLE, Features
from predictors.targets import fitted_at, spread, telling
from predictors.types import Context, InvalidPredictor, Prediction, checked_losses
from spaces import Genome, Space
from spaces.cost import COST_NAMES

ESTIMATED = 192
"""Labels that the length scales are estimated from, at most."""

ITERATIONS = 40
"""Of the search for the length scales."""

NUGGET = 1e-5
"""Added to the variance of noise, which keeps covariances positive definite."""


class GaussianProcess:
    """A Gaussian process with a Matérn kernel (ν = 5/2) on the distances of genomes.

    Two genomes are as far apart as the groups of their features say: r² = Σ d²_g / ℓ²_g. There is a group for each
    choice of each operator, each cost, each kind of path feature (see `Features`), and one for the distance that the
    Weisfeiler-Lehman kernel spans (see `label_counts`). Length scales, variance and noise are the most probable ones
    under log-normal priors, those of length scales growing with √groups (Hvarfner et al. 2024, Vanilla Bayesian
    Optimization Performs Great in High Dimensions), found from one start by the gradient of the marginal likelihood.
    They are estimated anew at set numbers of labels; in between, new labels are conditioned on. The mean is a
    constant, by generalised least squares.

    Losses are put on a scale by `spread`; the `std` of predictions is that of the function, without noise. Losses that
    are not finite are as bad as the worst, and a regression of which they are, with the same kernel, says how probable
    that is.

    Args:
        space: what the genomes are from, see `Features`.
        seed: nothing here is random.

    Raises:
        InvalidPredictor: the space does not say what stands in its graphs.
    """

    best: float

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.features = Features(space, labels=True)
        names = [_group(name) for name in self.features.names]
        self._are_labels = np.array([name == LABEL for name in names])
        self._group_of = np.unique(names, return_inverse=True)[1]
        self._columns: tuple[str, ...] | None = None
        self._estimate: tuple[list[Genome], np.ndarray, np.ndarray] | None = None

    def fit(
        self, items: Sequence[Genome], y: np.ndarray | Sequence[float], context: Context | None = None
    ) -> Self:
        y = checked_losses(items, y)
        columns = tuple(sorted(context or {}))
        if columns != self._columns:
            self._columns, self._estimate = columns, None
        first = fitted_at(len(items))
        known = self._estimate
        if known is None or known[0] != list(items[:first]) or not np.array_equal(known[1], y[:first], True):
            some = telling(y[:first], ESTIMATED)
            x_ND = self._inputs(items, context, some)
            self._prepare(x_ND)
            theta = self._most_probable(x_ND, spread(y[some]))
            self._estimate = known = (list(items[:first]), y[:first].copy(), theta)
        self._condition(self._inputs(items, context, telling(y)), y[telling(y)], known[2])
        return self

    def predict(self, items: Sequence[Genome], context: Context | None = None) -> Prediction:
        from scipy.linalg import solve_triangular

        if self._columns is None:
            raise InvalidPredictor("nothing was fitted yet: call fit before predict")
        if tuple(sorted(context or {})) != self._columns:
            raise InvalidPredictor(
                f"context has the columns {sorted(context or {})}, but was fitted with {list(self._columns)}"
            )
        if not len(items):
            return Prediction(np.empty(0), np.empty(0), np.empty(0))
        x_MD = self._scaled(self._inputs(items, context, np.arange(len(items))))
        k_MN = self._variance * _matern(_distances(x_MD, self._x_ND))
        v_NM = solve_triangular(self._root, k_MN.T, lower=True, check_finite=False)
        variance = np.maximum(self._variance - np.einsum("nm,nm->m", v_NM, v_NM), 1e-8)
        failure = self._failed_mean + k_MN @ self._failed_weights
        return Prediction(self._mean + k_MN @ self._weights, np.sqrt(variance), np.clip(failure, 0.0, 1.0))

    def covariance(self, items: Sequence[Genome], others: Sequence[Genome]) -> np.ndarray:
        """Of what is predicted for items with what is predicted for others, without context, [n, m]."""
        from scipy.linalg import cho_solve

        x_ND, x_MD = (
            self._scaled(self._inputs(some, None, np.arange(len(some)))) for some in (items, others)
        )
        known_LM = self._variance * _matern(_distances(self._x_ND, x_MD))
        explained = _matern(_distances(x_ND, self._x_ND)) @ cho_solve((self._root, True), known_LM)
        covariance: np.ndarray = self._variance * (_matern(_distances(x_ND, x_MD)) - explained)
        return covariance

    def _inputs(self, items: Sequence[Genome], context: Context | None, rows: np.ndarray) -> np.ndarray:
        """Features, label counts and context of some items, [n, d]."""
        given = dict(context or {})
        for name, column in given.items():
            if np.shape(column) != (len(items),):
                raise InvalidPredictor(
                    f"context {name!r} has shape {np.shape(column)}, but items are {len(items)}"
                )
        some = [items[i] for i in rows.tolist()]
        columns = [np.asarray(given[name], dtype=np.float64)[rows] for name in sorted(given)]
        return np.column_stack([self.features(some), *columns])

    def _prepare(self, x_ND: np.ndarray) -> None:
        """Centres and scales columns as they scatter; those that do not keep their unit, so that what is new is far."""
        self._centre = x_ND.mean(axis=0)
        scatter = x_ND.std(axis=0)
        self._unit = np.where(scatter > 1e-9, scatter, 1.0)
        self._unit[np.flatnonzero(self._are_labels)] = (
            1.0  # of length 1 already: their distance is that of the kernel
        )
        context = np.arange(x_ND.shape[1] - len(self._group_of)) + self._group_of.max() + 1
        self._groups = np.concatenate([self._group_of, context])

    def _most_probable(self, x_ND: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Logarithms of the length scales, the variance and the noise, [groups + 2]."""
        from scipy.optimize import minimize

        x_ND = (x_ND - self._centre) / self._unit
        groups = range(self._groups.max() + 1)
        apart = np.stack([_distances(part, part) for part in (x_ND[:, self._groups == g] for g in groups)])
        live = (
            apart.reshape(len(apart), -1).max(axis=1) > 1e-12
        )  # others leave their length scale at its prior
        number = int(live.sum())
        centre = np.array([np.sqrt(2) + np.log(max(1, number)) / 2] * number + [0.0, np.log(1e-2)])
        width = np.array([np.sqrt(3)] * number + [1.0, 1.5])
        bounds = [(-3.0, 8.0)] * number + [(-3.0, 2.0), (np.log(1e-4), 0.0)]
        found = minimize(
            _negative_log_posterior,
            centre,
            args=(apart[live], z, centre, width),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": ITERATIONS},
        )
        theta = np.full(len(apart) + 2, np.sqrt(2) + np.log(max(1, number)) / 2)
        theta[[*np.flatnonzero(live), -2, -1]] = found.x if np.isfinite(found.fun) else centre
        return theta

    def _scaled(self, x_ND: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = (x_ND - self._centre) * self._scale
        return scaled

    def _condition(self, x_ND: np.ndarray, y: np.ndarray, theta: np.ndarray) -> None:
        """Takes labels as known; `left_out` is what each would be predicted to be from all others, [n]."""
        from scipy.linalg import cho_solve

        self.z = spread(y)
        self.best = float(self.z.min())
        self._scale = np.exp(-theta[:-2])[self._groups] / self._unit
        self._variance = float(np.exp(theta[-2]))
        self._x_ND = self._scaled(x_ND)
        noise = (np.exp(theta[-1]) + NUGGET) * np.eye(len(y))
        self._root = np.linalg.cholesky(self._variance * _matern(_distances(self._x_ND, self._x_ND)) + noise)
        inverse = cho_solve((self._root, True), np.eye(len(y)))
        self._mean, self._weights = _regress(inverse, self.z)
        self._failed_mean, self._failed_weights = _regress(inverse, (~np.isfinite(y)).astype(np.float64))
        # Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, eq. 5.12.
        self.left_out = self.z - self._weights / np.diag(inverse)


def _group(name: str) -> str:
    """What shares a length scale with a column of `Features`."""
    if name in COST_NAMES:
        return name
    if name.startswith(f"{LABEL}."):
        return LABEL
    if name in WHOLE:
        return "whole"
    operator, _, rest = name.partition(".")
    return rest if rest in ALONG else f"{operator}.{rest.partition('.')[0].partition('=')[0]}"


def _distances(a_ND: np.ndarray, b_MD: np.ndarray) -> np.ndarray:
    """Squared distances, [n, m]."""
    squares = (a_ND**2).sum(axis=1)[:, None] + (b_MD**2).sum(axis=1)[None] - 2 * a_ND @ b_MD.T
    return np.maximum(squares, 0.0)


def _matern(squared: np.ndarray) -> np.ndarray:
    r = np.sqrt(5 * squared)
    kernel: np.ndarray = (1 + r + r * r / 3) * np.exp(-r)
    return kernel


def _regress(inverse: np.ndarray, z: np.ndarray) -> tuple[float, np.ndarray]:
    """The constant mean by generalised least squares, and the weights of the kernel beyond it."""
    across = inverse.sum(axis=0)
    mean = float(across @ z / across.sum())
    return mean, inverse @ (z - mean)


def _negative_log_posterior(
    theta: np.ndarray, apart: np.ndarray, z: np.ndarray, centre: np.ndarray, width: np.ndarray
) -> tuple[float, np.ndarray]:
    """Of length scales, variance and noise, and its gradient (Rasmussen and Williams 2006, eq. 5.8 and 5.9).

    Args:
        apart: squared distances by group, [groups, n, n].
    """
    from scipy.linalg import cho_solve

    weights, variance, noise = np.exp(-2 * theta[:-2]), np.exp(theta[-2]), np.exp(theta[-1])
    r = np.sqrt(5 * np.tensordot(weights, apart, 1))
    decay = np.exp(-r)
    kernel = (1 + r + r * r / 3) * decay
    eye = np.eye(len(z))
    root = np.linalg.cholesky(variance * kernel + (noise + NUGGET) * eye)
    inverse = cho_solve((root, True), eye)
    mean, solved = _regress(inverse, z)
    outer = (inverse - np.outer(solved, solved)) / 2
    beyond: Any = (theta - centre) / width
    value = (z - mean) @ solved / 2 + np.log(np.diag(root)).sum() + beyond @ beyond / 2
    slope = outer * (-5 / 6 * variance) * (1 + r) * decay  # by the squared distance
    by_scale = -2 * weights * np.tensordot(apart, slope, 2)
    gradient = np.append(by_scale, [variance * (outer * kernel).sum(), noise * np.trace(outer)])
    return float(value), gradient + beyond / width
