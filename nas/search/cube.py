"""A Gaussian process on the unit cube and what its points promise, by BoTorch, which this file alone imports.

Balandat et al. 2020, BoTorch: A Framework for Efficient Monte-Carlo Bayesian Optimization, arXiv 1910.06403.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction, LogExpectedImprovement, qLogNoisyExpectedImprovement
from botorch.exceptions import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.mlls import ExactMarginalLogLikelihood

RESTARTS, RAW, STEPS = 8, 256, 100
"""The acquisition is climbed from so many points, the most promising of so many, in at most so many steps."""

FIT = 100
"""Steps in which the length scales are fitted: hundreds of them would take seconds, for what no label tells."""

DRAWS = 64
"""Of what is not known yet, where trials run."""


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """All of torch's randomness follows from a seed, and is as before afterwards; numerical warnings are not shown."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        yield


class CubeModel:
    """Losses over the cube, under BoTorch's priors: length scales that grow with the dimensions (Hvarfner et al. 2024).

    Args:
        x_ND: points that were measured.
        y_N: their losses.
    """

    def __init__(self, x_ND: np.ndarray, y_N: np.ndarray) -> None:
        self._x_ND = torch.from_numpy(x_ND)
        merit_N1 = -torch.from_numpy(y_N)[:, None]
        self._best = merit_N1.max()
        with _seeded(0):
            self._model = SingleTaskGP(self._x_ND, merit_N1)
            try:
                fit_gpytorch_mll(
                    ExactMarginalLogLikelihood(self._model.likelihood, self._model),
                    optimizer_kwargs={"options": {"maxiter": FIT}},
                )
            except ModelFittingError:  # what the priors say still ranks
                self._model = SingleTaskGP(self._x_ND, merit_N1).eval()
        self._gain: AcquisitionFunction = LogExpectedImprovement(self._model, best_f=self._best)

    @property
    def scales_D(self) -> np.ndarray:
        """The length scale of each dimension."""
        return self._model.covar_module.lengthscale.detach().numpy().ravel()

    def expect(self, running_RD: np.ndarray, seed: int) -> None:
        """What is promised from now on counts on trials that run; the mean over draws of how they may end."""
        if not len(running_RD):
            self._gain = LogExpectedImprovement(self._model, best_f=self._best)
            return
        with _seeded(seed):
            self._gain = qLogNoisyExpectedImprovement(
                self._model,
                X_baseline=self._x_ND,
                X_pending=torch.from_numpy(running_RD),
                sampler=SobolQMCNormalSampler(torch.Size([DRAWS]), seed=seed % 2**31),
                prune_baseline=True,
            )

    def optima(self, bounds_2D: np.ndarray, seed: int) -> np.ndarray:
        """Points of a box where the acquisition has local optima, the best first, [n, D]."""
        with _seeded(seed):
            points_n1D, gains_n = optimize_acqf(
                self._gain,
                torch.from_numpy(bounds_2D),
                q=1,
                num_restarts=RESTARTS,
                raw_samples=RAW,
                options={"maxiter": STEPS},
                return_best_only=False,
            )
        assert gains_n is not None  # unless told not to return them
        return points_n1D[gains_n.argsort(descending=True, stable=True), 0].numpy()

    def promise(self, x_MD: np.ndarray) -> np.ndarray:
        """The log of the improvement expected at points, more is better, [M]."""
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._gain(torch.from_numpy(x_MD)[:, None]).numpy()
