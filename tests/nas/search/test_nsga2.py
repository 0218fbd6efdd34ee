import itertools
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nas.search.nsga2
import spaces
from nas.search.survival import survivors
from nas.search.testing import run, strategy_checks
from nas.types import (
    Ended,
    Fidelity,
    InvalidInput,
    Objective,
    Proposal,
    Proposed,
    Trial,
    standing,
)
from spaces.pareto import hypervolume

HYBRID = spaces.load("hybrid", spaces.tokens(256, 64), parameters=500_000)
GRID = spaces.load("mlp")
STAR = spaces.load("star", spaces.tokens(256, 64))
AIMS = (Objective("error"), Objective("size"))
OPTIONS = {
    "nsga2": {"population": 8},
    "nsga2-generations": {"population": 8, "offspring": 8, "selection": "hypervolume"},
    "nsga2-named": {"population": 4, "named": ["transformer++", "mamba-2"]},
    "nsga2-directions": {"population": 8, "selection": "directions"},
    "star": {"population": 8},
}


def strategy(name="nsga2", space=GRID, objectives=AIMS, seed=0, **options):
    return nas.search.load(name, space=space, objectives=objectives, seed=seed, **options)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
def test_conformance(check, name):
    def make(space, objectives, seed):
        return strategy(name.partition("-")[0], space, objectives, seed, **OPTIONS[name])

    check(make, HYBRID)


def tell(searcher, metrics, status="done"):
    (proposal,) = searcher.ask(1)
    searcher.tell(Proposed(proposal))
    searcher.tell(Ended(Trial(proposal, status, metrics)))
    return proposal


def grid_metrics(genome):
    """A front of many points: wide layers are large, and narrow ones err."""
    values = GRID.values(genome)
    size = float(values["n_units_1"] + values["n_units_2"])
    off = abs(np.log(values["init_lr"] / 0.005)) + values["dropout_1"] + values["dropout_2"]
    return {"error": 100 / size + off, "size": size}


def searched(trials, seed=0, name="nsga2", **options):
    searcher = strategy(name, seed=seed, **options)
    for _ in range(trials):
        (proposal,) = searcher.ask(1)
        searcher.tell(Proposed(proposal))
        searcher.tell(Ended(Trial.done(proposal, grid_metrics(proposal.genome))))
    return searcher


def volume(searcher):
    losses = np.array([[trial.metrics["error"], trial.metrics["size"]] for trial in searcher.ended])
    return hypervolume(losses / [10, 1024], [1, 1])


@pytest.mark.parametrize(
    "options", [{}, {"selection": "hypervolume"}, {"selection": "directions"}, {"name": "star"}], ids=str
)
def test_the_front_grows_beyond_that_of_random_search(options):
    seeds = range(4)
    found = [volume(searched(150, seed, **options)) for seed in seeds]
    drawn = [
        volume(searched(150, seed, population=150)) for seed in seeds
    ]  # nothing but the first population
    assert np.mean(found) > np.mean(drawn) + 0.005


def test_the_front_lives_and_is_spread():
    searcher = searched(150)
    living = np.array([[trial.metrics["error"], trial.metrics["size"]] for trial in searcher.living])
    assert len(living) == 20
    assert len({tuple(row) for row in living}) >= 5
    for one, two in itertools.combinations(living, 2):
        assert not (one < two).all()
        assert not (two < one).all()


def test_who_lives_is_the_best_of_old_and_new():
    searcher = strategy(population=3)
    for error, size in ((1.0, 1.0), (3.0, 3.0), (4.0, 4.0), (0.5, 2.0)):
        tell(searcher, {"error": error, "size": size})
    assert [trial.id for trial in searcher.living] == [0, 3, 1]


def test_constraints_of_other_units_count_alike():
    objectives = [Objective("error"), Objective("parameters", bound=1e6), Objective("seconds", bound=0.01)]
    searcher = strategy(population=2, objectives=objectives)
    for parameters, seconds in ((1.02e6, 0.01), (1e6, 0.05), (1.01e6, 0.0102)):
        tell(searcher, {"error": 1.0, "parameters": parameters, "seconds": seconds})
    assert [trial.id for trial in searcher.living] == [0, 2]  # not a thousand parameters before seconds
    least = Objective("accuracy", "max", bound=-0.5)
    assert least.violation({"accuracy": -0.75}) == 0.5
    assert Objective("change", bound=0.0).violation({"change": 3.0}) == 3.0


def test_an_elite_lives_on_beside_the_newest():
    searcher = strategy("star", population=3, elitism=1)
    for error in (1.0, 2.0, 3.0, 5.0, 4.0):
        tell(searcher, {"error": error, "size": error})
    assert [trial.id for trial in searcher.living] == [0, 4, 3]


def lived(searcher):
    """The slow twin of `living`: the population is chosen of all that lived and all that came, each time."""
    living, new = [], []
    for trial in searcher.ended:
        if trial.status != "done":
            continue
        new.append(trial)
        if len(new) == (searcher.offspring if living else searcher.population):
            living, new = best_of(searcher, [*living, *new]), []
    return living or best_of(searcher, new)


def best_of(searcher, trials):
    if not trials:
        return []
    losses = np.array([[aim.loss(trial.metrics) for aim in searcher.aims] for trial in trials])
    violations = np.array([standing(searcher.objectives, trial)[0] for trial in trials])
    places = survivors(losses, violations, searcher.population, searcher.selection)
    return [trials[place] for place in places]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(2, 6),
    st.integers(1, 4),
    st.sampled_from(["crowding", "hypervolume", "directions"]),
    st.integers(0, 1000),
)
def test_who_lives_equals_the_choice_among_all_of_them(aims, population, offspring, selection, seed):
    rng = np.random.default_rng(seed)
    objectives = [*(Objective(f"loss_{k}") for k in range(aims)), Objective("latency", bound=2.0)]
    options = {"population": population, "offspring": offspring, "tournament": 2, "selection": selection}
    searcher = strategy(objectives=objectives, **options)
    for trial in made_up(rng, 60, aims):
        searcher.tell(Proposed(trial.proposal))
        searcher.tell(Ended(trial))
        if rng.random() < 0.3:
            assert [one.id for one in searcher.living] == [one.id for one in lived(searcher)]


def made_up(rng, number, aims=1):
    """Trials of random networks, many of the same few losses; some fail or break a constraint."""
    for k in range(number):
        proposal = Proposal(k, GRID.sample(rng), Fidelity(1), 0, (), "random")
        values = rng.choice([0.0, 1.0, 2.0, 3.0], aims, p=[0.1, 0.35, 0.35, 0.2])
        metrics = {f"loss_{place}": float(value) for place, value in enumerate(values)}
        metrics["latency"] = float(rng.integers(4))
        yield Trial(proposal, "failed" if rng.random() < 0.1 else "done", metrics)


def test_few_of_many_trials_make_a_choice_necessary(monkeypatch):
    chosen = Mock(wraps=survivors)
    monkeypatch.setattr(nas.search.nsga2, "survivors", chosen)
    searcher, rng = strategy(objectives=AIMS[:1]), np.random.default_rng(0)
    for k in range(1000):
        proposal = Proposal(k, GRID.sample(rng), Fidelity(1), 0, (), "random")
        searcher.tell(Proposed(proposal))
        searcher.tell(Ended(Trial.done(proposal, {"error": rng.random()})))
    assert [trial.id for trial in searcher.living] == [trial.id for trial in lived(searcher)]
    assert chosen.call_count < 300


def test_constraints_come_before_everything_and_failures_never_live():
    searcher = strategy(population=2, objectives=(*AIMS, Objective("latency", bound=10.0)))
    for metrics in (
        {"error": 1.0, "size": 1.0, "latency": 12.0},
        {"error": 9.0, "size": 9.0, "latency": 3.0},
        {"error": 5.0, "size": 5.0, "latency": 11.0},
    ):
        tell(searcher, metrics)
    tell(searcher, {"error": 0.0, "size": 0.0, "latency": 0.0}, "failed")
    assert [trial.id for trial in searcher.living] == [1, 2]


def test_all_children_of_star_are_crossed():
    searcher = strategy("star", space=STAR, objectives=(Objective("loss"),))
    events = run(searcher, 40, 4, np.random.default_rng(0))
    origins = [event.proposal.origin for event in events if isinstance(event, Proposed)][20:]
    assert sum(origin.startswith("crossover") for origin in origins) >= 18


@pytest.mark.parametrize(
    "options, message",
    [
        ({"objectives": (Objective("a", bound=1.0),)}, "follows at least one objective without a bound"),
        ({"population": 4, "tournament": 5}, "strategy.tournament = 5, but a population of 4"),
        ({"population": 4, "elitism": 5}, "strategy.elitism = 5, but a population of 4"),
        ({"population": 4, "elitism": 1}, "do not make up a population of 4"),
        (
            {"selection": "crowd"},
            '\'strategy.selection\' must be "crowding" or "hypervolume" or "directions"',
        ),
    ],
)
def test_errors(options, message):
    with pytest.raises(InvalidInput) as error:
        strategy(**options)
    assert message in str(error.value)


def test_random_search_draws_whatever_the_objectives_are():
    searcher = strategy("random")
    drawn = [tell(searcher, {"error": 1.0, "size": 1.0}).genome.digest for _ in range(5)]
    assert len(set(drawn)) == 5
