"""Strategies under Ray Tune, and Ray Tune's searchers as strategies."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import ray
from ray import tune
from ray.tune.search import Searcher

import nas.search
import spaces
from nas.cluster.tune import StrategySearcher
from nas.search.random_search import RandomSearch
from nas.search.testing import strategy_checks
from nas.types import Ended, InvalidInput, Objective, Proposal, Proposed, Trial

CELLS = spaces.load("nasbench201")
GRID = spaces.load("mlp")


@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
def test_conformance(check: Callable) -> None:
    pytest.importorskip("optuna")
    check(
        lambda space, objectives, seed: nas.search.load(
            "tune", space=space, objectives=objectives, seed=seed, searcher="optuna"
        ),
        CELLS,
    )


def test_optuna_has_nothing_to_warn_of(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("ray.tune.search.optuna.optuna_search")
    pytest.importorskip("optuna")
    warnings: list[str] = []
    monkeypatch.setattr(module.logger, "warning", warnings.append)
    nas.search.load("tune", space=CELLS, objectives=[Objective("loss")]).ask(2)
    assert warnings == []


def missing(space: dict, seed: int) -> None:
    raise ImportError("no such package")


def test_what_cannot_be_searched() -> None:
    with pytest.raises(InvalidInput, match="searches spaces that are products of choices, but 'hybrid' is a"):
        nas.search.load("tune", space=spaces.load("hybrid"), objectives=[Objective("loss")])
    with pytest.raises(InvalidInput, match="unknown searcher 'optunna', did you mean 'optuna'"):
        nas.search.load("tune", space=CELLS, objectives=[Objective("loss")], searcher="optunna")
    with pytest.raises(InvalidInput, match=r"searcher '.*:missing' cannot be used: no such package"):
        nas.search.load("tune", space=CELLS, objectives=[Objective("loss")], searcher=f"{__name__}:missing")


@pytest.mark.parametrize("searcher, package", [("hyperopt", "hyperopt"), ("bohb", "ConfigSpace")])
def test_a_searcher_without_its_package(searcher: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InvalidInput, match=f"searcher '{searcher}' cannot be used: .*{package}"):
        nas.search.load("tune", space=CELLS, objectives=[Objective("loss")], searcher=searcher)


class Learner(Searcher):
    """As BOHB is: learns from results of a budget, not from ends, and draws from NumPy's global generator."""

    def __init__(self, space: dict, seed: int) -> None:
        super().__init__(metric="loss", mode="min")
        self.space, self.told = space, []

    def suggest(self, trial_id: str) -> dict:
        places = np.random.randint(1 << 30, size=len(self.space)).tolist()  # noqa: NPY002
        choices = [domain.categories for domain in self.space.values()]
        return {key: each[k % len(each)] for key, each, k in zip(self.space, choices, places, strict=True)}

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        self.told.append((trial_id, result["loss"], result["hyperband_info"]["budget"]))

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        pass


def test_searchers_are_told_results_and_draw_by_the_seed() -> None:
    def searched(seed: int) -> tuple[list[str], list]:
        strategy = nas.search.load(
            "tune", space=GRID, objectives=[Objective("loss")], seed=seed, searcher=f"{__name__}:Learner"
        )
        for number in range(6):  # whoever else seeds it does not matter
            np.random.seed(number + 50)  # noqa: NPY002
            (proposal,) = strategy.ask(1)
            strategy.tell(Proposed(proposal))
            strategy.tell(Ended(Trial.done(proposal, {"loss": float(number)})))
        strategy.ask(1)
        return [proposal.genome.text for proposal in strategy.proposals], strategy._searcher.told

    texts, told = searched(0)
    assert told == [(str(number), float(number), 1) for number in range(6)]
    assert texts == searched(0)[0] != searched(1)[0]


def played(searcher: StrategySearcher, numbers: range) -> list[str]:
    """Trials that report once, and end in the order that they began."""
    texts = []
    for number in numbers:
        config = searcher.suggest(f"t{number}")
        assert isinstance(config, dict)
        genome = GRID.parse(config["genome"])
        assert {**GRID.values(genome), "genome": genome.text} == config
        texts.append(genome.text)
        result = {"loss": int(genome.digest[:6], 16), "training_iteration": 1}
        searcher.on_trial_result(f"t{number}", result)
        searcher.on_trial_complete(f"t{number}", result, error=number % 5 == 4)
    return texts


def test_a_searcher_goes_on_from_its_file(tmp_path: Path) -> None:
    whole, first, second = (StrategySearcher(GRID, population=4, tournament=2) for _ in range(3))
    expected = played(whole, range(16))
    found = played(first, range(10))
    pending = first.suggest("pending")
    first.save(str(tmp_path / "saved"))
    second.restore(str(tmp_path / "saved"))
    assert found == expected[:10]
    assert pending is not None
    assert pending["genome"] == expected[10]
    second.on_trial_complete("pending", {"loss": int(GRID.parse(expected[10]).digest[:6], 16)})
    assert played(second, range(11, 16)) == expected[11:]
    with pytest.raises(InvalidInput, match="cannot be restored: make a new one"):
        second.restore(str(tmp_path / "saved"))


def test_a_finished_strategy_ends_the_experiment() -> None:
    two = spaces.ProductSpace("two", {"x": spaces.choice(1, 2)}, spaces.vector(2))
    searcher = StrategySearcher(two, strategy="random")
    assert [searcher.suggest(str(number)) for number in range(3)][2] == "FINISHED"


class Alternating(RandomSearch):
    """One trial at a time."""

    def ask(self, n: int) -> list[Proposal]:
        return [] if len(self.ended) < len(self.proposals) else super().ask(1)


def test_a_strategy_that_waits_lets_tune_wait() -> None:
    searcher = StrategySearcher(GRID, strategy=f"{__name__}:Alternating")
    assert searcher.suggest("t0") is not None
    assert searcher.suggest("t1") is None
    searcher.on_trial_complete("t0", {"loss": 1.0})
    assert searcher.suggest("t1") is not None


def test_a_searcher_follows_several_metrics() -> None:
    searcher = StrategySearcher(GRID, ["loss", "speed"], ["min", "max"], "nsga2", population=4)
    for number in range(12):
        config = searcher.suggest(f"t{number}")
        assert isinstance(config, dict)
        result = {"loss": config["init_lr"], "speed": -config["n_units_1"], "training_iteration": 1}
        searcher.on_trial_complete(f"t{number}", result if number % 4 else {"loss": 1.0})
    ended = [event.trial for event in searcher._events if isinstance(event, Ended)]
    assert [trial.status for trial in ended[:4]] == ["failed", "done", "done", "done"]
    assert set(ended[1].metrics) == {"loss", "speed"}
    assert any(trial.proposal.parents for trial in ended)


def test_a_configuration_has_what_has_a_name() -> None:
    ranges = {"lr": spaces.real(0.001, 0.1, log=True)}
    for space in (spaces.settings(**ranges), spaces.joint(GRID, ranges)):
        config = StrategySearcher(space).suggest("t0")
        assert isinstance(config, dict)
        assert 0.001 <= config["lr"] <= 0.1
        assert f"lr={config['lr']}" in config["genome"]
        assert ("init_lr" in config) == (space.name != "settings")
    hybrid = spaces.load("hybrid", spaces.tokens(64, 32), parameters=300_000)
    config = StrategySearcher(hybrid).suggest("t0")
    assert isinstance(config, dict)
    assert set(config) == {"genome"}


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"strategy": "asha", "rungs": [1]},
            "'asha' decides for how long each trial .* a scheduler of Tune's",
        ),
        ({"strategy": "stopping"}, "'stopping' decides for how long"),
        ({"mode": "maximum"}, 'mode is \'maximum\', but must be "min" or "max"'),
        ({"metric": ["a", "b"]}, r"mode is 'min', but must be .* for each metric of \['a', 'b'\]"),
    ],
)
def test_what_a_searcher_refuses(options: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        StrategySearcher(GRID, **options)


@pytest.mark.slow
def test_an_experiment_of_ray_tune(tmp_path: Path) -> None:
    def train(config: dict) -> None:
        tune.report({"loss": config["init_lr"] + config["dropout_1"]})

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        searcher = StrategySearcher(GRID, population=6, tournament=3)
        settings = tune.TuneConfig(search_alg=searcher, num_samples=16, max_concurrent_trials=2)
        results = tune.Tuner(
            train, tune_config=settings, run_config=tune.RunConfig(storage_path=str(tmp_path))
        ).fit()
    finally:
        ray.shutdown()
    assert len(results) == 16
    assert not results.errors
    best = results.get_best_result("loss", "min")
    values = GRID.values(GRID.parse(best.config["genome"]))
    assert best.metrics["loss"] == values["init_lr"] + values["dropout_1"]
    assert values.items() <= best.config.items()


@pytest.mark.parametrize("result", [{}, {"loss": math.nan}, {"loss": math.inf}])
def test_a_trial_that_ends_without_a_number_has_failed(result: dict) -> None:
    searcher = StrategySearcher(GRID)
    searcher.suggest("t0")
    searcher.on_trial_complete("t0", result)
    event = searcher._events[-1]
    assert isinstance(event, Ended)
    assert (event.trial.status, event.trial.error) == ("failed", "failed in Ray Tune")
