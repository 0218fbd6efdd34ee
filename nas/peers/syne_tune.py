"""Syne Tune's searchers (Salinas et al. 2022, Syne Tune: A Library for Large Scale Hyperparameter Tuning, AutoML)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice, randint
from syne_tune.optimizer.baselines import BORE, CQR

from benchmarks import Table
from nas.peers.base import Peer


class _Scheduled(Peer):
    """A scheduler of one objective; ordered fields are integers to it, the places of their values."""

    scheduler: ClassVar[Any]

    def __init__(self, table: Table, seed: int) -> None:
        super().__init__(table, seed)
        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        space = {
            key: randint(0, len(field.values) - 1) if field.ordered else choice([*range(len(field.values))])
            for key, field in self.space.fields.items()
        }
        self._random = np.random.RandomState(seed).get_state()
        with self._own_numbers():
            self._scheduler = self.scheduler(space, metric="loss", do_minimize=True, random_seed=seed)

    @contextmanager
    def _own_numbers(self) -> Iterator[None]:
        """Numpy's global state as a run of this seed has it: some of the searchers' draws come from there."""
        others = np.random.get_state()  # noqa: NPY002
        np.random.set_state(self._random)  # noqa: NPY002
        try:
            yield
        finally:
            self._random = np.random.get_state()  # noqa: NPY002
            np.random.set_state(others)  # noqa: NPY002

    def suggest(self) -> tuple[Any, Mapping[str, Any]]:
        with self._own_numbers():
            config = self._scheduler.suggest().config
        trial = Trial(self._asked, config, datetime.fromtimestamp(0))
        self._scheduler.on_trial_add(trial)
        return trial, {key: field.values[int(config[key])] for key, field in self.space.fields.items()}

    def report(self, trial: Trial, loss: float | None) -> None:
        if loss is None:
            self._scheduler.on_trial_error(trial)
        else:
            with self._own_numbers():
                self._scheduler.on_trial_complete(trial, {"loss": loss})


class DensityRatio(_Scheduled):
    """BORE: a classifier of good and bad (Tiao et al. 2021, arXiv 2102.09009)."""

    scheduler = BORE


class ConformalQuantiles(_Scheduled):
    """CQR: conformal quantile regression (Salinas et al. 2023, arXiv 2305.03623)."""

    scheduler = CQR
