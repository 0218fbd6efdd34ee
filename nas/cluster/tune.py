"""Strategies as searchers of Ray Tune, and Ray Tune's searchers as strategies.

tune.Tuner(train, tune_config=tune.TuneConfig(search_alg=StrategySearcher(space, metric="loss"), num_samples=100))
nas.search.load("tune", space=space, objectives=[...], searcher="optuna")
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from ray import tune
from ray.tune.search import Searcher

import nas.search
from nas.search.history import product_of
from nas.search.replayed import Replayed
from nas.training.function import values
from nas.types import (
    Direction,
    Ended,
    Event,
    Fidelity,
    Finished,
    InvalidInput,
    Measured,
    Measurement,
    Objective,
    Proposal,
    Proposed,
    Trial,
)
from spaces import Genome, Space
from spaces.lookup import resolve


class StrategySearcher(Searcher):
    """A strategy that proposes the configurations of Ray Tune's trials.

    A configuration has the text of a genome as "genome", and by name the settings, hyperparameters, or fields of a
    product of choices. Tune's experiments save it with their state and restore it; `save` and `restore` do so by hand.
    How long trials are trained is up to Tune's schedulers.

    Args:
        space: what is searched.
        metric: what trials report and the strategy follows; of several, a list.
        mode: "max" where more of it is better, else "min"; of several metrics, a list.
        strategy: a name of `nas.search.STRATEGIES`, or "package.module:attribute".
        seed: what everything random follows from.
        options: the strategy's own options.

    Raises:
        InvalidInput: the strategy or an option is unknown, or a value does not fit, or it decides for how long trials
            are trained.
    """

    def __init__(
        self,
        space: Space,
        metric: str | list[str] = "loss",
        mode: Direction | list[Direction] = "min",
        strategy: str = "evolution",
        seed: int = 0,
        **options: Any,
    ) -> None:
        names = [metric] if isinstance(metric, str) else [*metric]
        modes = [mode] if isinstance(mode, str) else [*mode]
        if len(names) != len(modes) or not {*modes} <= {"min", "max"}:
            raise InvalidInput(f'mode is {mode!r}, but must be "min" or "max" for each metric of {metric!r}')
        nas.search.check_in_full(strategy, "a scheduler of Tune's")
        super().__init__(metric=metric, mode=mode)  # type: ignore[arg-type]  # it takes lists too
        self._space, self._names = space, names
        aims = [Objective(*aim) for aim in zip(names, modes, strict=True)]
        self._strategy = nas.search.load(strategy, space=space, objectives=aims, seed=seed, **options)
        self._events: list[Event] = []
        self._running: dict[str, Proposal] = {}

    def _tell(self, event: Event) -> None:
        self._events.append(event)
        self._strategy.tell(event)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The configuration of a trial; None where the strategy waits for results, `FINISHED` where it has no more."""
        try:
            asked = self._strategy.ask(1)
        except Finished:
            return str(Searcher.FINISHED)
        if not asked:
            return None
        (proposal,) = asked
        self._tell(Proposed(proposal))
        self._running[trial_id] = proposal
        named = values(self._space, proposal.genome) if hasattr(self._space, "values") else {}
        return {**named, "genome": proposal.genome.text}

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Takes what a running trial reports; Tune's schedulers stop trials, not the searcher."""
        if trial_id in self._running:
            measured = Measurement(int(result["training_iteration"]), self._metrics(result))
            self._tell(Measured(self._running[trial_id].id, measured))

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Takes how a trial ended."""
        proposal = self._running.pop(trial_id, None)
        if proposal is None:
            return
        metrics = {} if error or result is None else self._metrics(result)
        if all(math.isfinite(metrics.get(name, math.nan)) for name in self._names):
            self._tell(Ended(Trial.done(proposal, metrics)))
        else:
            self._tell(Ended(Trial(proposal, "failed", error="failed in Ray Tune")))

    def _metrics(self, result: Mapping[str, Any]) -> dict[str, float]:
        return {name: float(result[name]) for name in self._names if name in result}

    def save(self, checkpoint_path: str) -> None:
        """Writes all that the strategy was told to a file."""
        Path(checkpoint_path).write_bytes(cloudpickle.dumps((self._events, self._running)))

    def restore(self, checkpoint_path: str) -> None:
        """Goes on from a file of `save`, in a searcher that was made alike and not used yet.

        Raises:
            InvalidInput: it was used.
        """
        if self._events:
            raise InvalidInput("a searcher that has proposed trials cannot be restored: make a new one")
        events, running = cloudpickle.loads(Path(checkpoint_path).read_bytes())
        for event in events:
            self._tell(event)
        self._running = running


SEARCHERS = {name: f"nas.cluster.tune:{name}" for name in ("optuna", "hyperopt", "bohb")}
"""Ray Tune's searchers by name; each needs the package that it is named after."""


def optuna(space: dict[str, Any], seed: int) -> Searcher:
    """Optuna's TPE (Akiba et al. 2019, Optuna, arXiv 1907.10902)."""
    from optuna import logging
    from ray.tune.search.optuna import OptunaSearch

    logging.set_verbosity(logging.WARNING)  # it would tell of each study that it makes

    # Or it warns of what it converts, at every beginning; so do the others.
    converted = OptunaSearch.convert_search_space(space)
    return OptunaSearch(converted, metric="loss", mode="min", seed=seed)


def hyperopt(space: dict[str, Any], seed: int) -> Searcher:
    """HyperOpt's TPE (Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization)."""
    importlib.import_module("hyperopt")  # without it Ray fails over a module that is None
    from ray.tune.search.hyperopt import HyperOptSearch

    converted = HyperOptSearch.convert_search_space(space)
    return HyperOptSearch(converted, metric="loss", mode="min", random_state_seed=seed)


def bohb(space: dict[str, Any], seed: int) -> Searcher:
    """The model of BOHB (Falkner et al. 2018, BOHB), without its schedule."""
    for needed in ("ConfigSpace", "hpbandster.optimizers.config_generators.bohb"):
        importlib.import_module(needed)
    from ray.tune.search.bohb import TuneBOHB

    converted = TuneBOHB.convert_search_space(space)
    return TuneBOHB(converted, metric="loss", mode="min", seed=seed)


@contextmanager
def _numpy_seeded(*seed: int) -> Iterator[None]:
    """NumPy's global generator follows from a seed, as BOHB draws from it, whatever its own seed is."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


class TuneStrategy(Replayed):
    """A searcher of Ray Tune, on a space that is a product of choices, each of which is categorical to it.

    Args:
        searcher: a name of `SEARCHERS`, or "package.module:attribute": a function of Tune's space and a seed that gives
            a searcher for the least "loss", the same for the same seed.

    Raises:
        InvalidInput: the space is no product, the searcher is unknown, or its package is not installed.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        searcher: str = "optuna",
    ) -> None:
        super().__init__(space, objectives, seed, fidelity)
        self._space = product_of(space, "tune")
        self._make = resolve(searcher, SEARCHERS, "searcher", InvalidInput)
        self._fields = {key: tune.choice(list(field.values)) for key, field in self._space.fields.items()}
        try:
            self.begin()
        except (AssertionError, ImportError) as error:
            raise InvalidInput(f"searcher {searcher!r} cannot be used: {error}") from None

    def begin(self) -> None:
        self._searcher = self._make(self._fields, self.seed)
        self._number = 0

    def suggest(self) -> tuple[str, Genome]:
        name = str(self._number)
        with _numpy_seeded(self.seed, self._number):
            found = self._searcher.suggest(name)
        if found is None or found == Searcher.FINISHED:
            raise Finished(f"{type(self._searcher).__name__} has no more for {self.space.name!r}")
        self._number += 1
        return name, self._space.genome(**found)

    def report(self, handle: str, loss: float | None) -> None:
        if loss is None:
            self._searcher.on_trial_complete(handle, error=True)
        else:
            # As Tune tells them, a result and then the end; BOHB learns from results of a budget alone.
            result = {"loss": loss, "training_iteration": 1, "done": True, "hyperband_info": {"budget": 1}}
            self._searcher.on_trial_result(handle, result)
            self._searcher.on_trial_complete(handle, result)
