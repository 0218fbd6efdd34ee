"""Optuna's samplers (Akiba et al. 2019, arXiv 1907.10902), with their own settings but for what their classes say."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import optuna

from benchmarks import Table
from nas.peers.base import Peer


class _Sampled(Peer):
    """A study of one sampler, in memory."""

    ordinal: ClassVar[bool] = False
    """Whether ordered fields are numbers to it, the places of their values, not categories."""

    def __init__(self, table: Table, seed: int) -> None:
        super().__init__(table, seed)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(sampler=self.sampler(seed))

    @staticmethod
    @abstractmethod
    def sampler(seed: int) -> optuna.samplers.BaseSampler:
        """The sampler that is compared."""

    def suggest(self) -> tuple[Any, Mapping[str, Any]]:
        trial = self._study.ask()
        values = {}
        for key, field in self.space.fields.items():
            if self.ordinal and field.ordered:
                place = trial.suggest_int(key, 0, len(field.values) - 1)
            else:
                place = trial.suggest_categorical(key, range(len(field.values)))
            values[key] = field.values[place]
        return trial, values

    def report(self, trial: Any, loss: float | None) -> None:
        if loss is None:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, loss)


class TPE(_Sampled):
    """Tree-structured Parzen estimators, one of each field, as Optuna had them by default until 5.0."""

    @staticmethod
    def sampler(seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(seed=seed, multivariate=False)


class MultivariateTPE(_Sampled):
    """One Parzen estimator of all fields together, ordered ones as numbers."""

    ordinal = True

    @staticmethod
    def sampler(seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(seed=seed, multivariate=True)


class GaussianProcess(_Sampled):
    """Gaussian process with expected improvement, ordered fields as numbers."""

    ordinal = True

    @staticmethod
    def sampler(seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.GPSampler(seed=seed)


class NSGA2(_Sampled):
    """The genetic algorithm NSGA-II, of one objective."""

    @staticmethod
    def sampler(seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.NSGAIISampler(seed=seed)
