"""SMAC (Lindauer et al. 2022, arXiv 2109.09831), with the settings that it has by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, OrdinalHyperparameter
from smac import HyperparameterOptimizationFacade, Scenario
from smac.runhistory import StatusType, TrialInfo, TrialValue

from benchmarks import Table
from nas.peers.base import Peer


class RandomForest(Peer):
    """Bayesian optimisation with a random forest, after a Sobol design; ordered fields are ordinal."""

    def __init__(self, table: Table, seed: int) -> None:
        super().__init__(table, seed)
        space = ConfigurationSpace(seed=seed)
        for key, field in self.space.fields.items():
            places = [*range(len(field.values))]
            kind = OrdinalHyperparameter if field.ordered else CategoricalHyperparameter
            space.add(kind(key, places))
        # It insists on a folder, whatever is saved.
        self._folder = tempfile.TemporaryDirectory()
        scenario = Scenario(space, deterministic=True, seed=seed, output_directory=Path(self._folder.name))
        self._smac = HyperparameterOptimizationFacade(scenario, _never, logging_level=False, overwrite=True)

    def suggest(self) -> tuple[Any, Mapping[str, Any]]:
        info = self._smac.ask()
        return info, {key: field.values[int(info.config[key])] for key, field in self.space.fields.items()}

    def report(self, trial: TrialInfo, loss: float | None) -> None:
        value = TrialValue(loss) if loss is not None else TrialValue(float("inf"), status=StatusType.CRASHED)
        self._smac.tell(trial, value, save=False)


def _never(config: Any, seed: int = 0) -> float:
    """What SMAC would call, were it not asked and told."""
    raise NotImplementedError
