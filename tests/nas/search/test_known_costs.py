"""What genomes cost is known before they are measured: nothing is spent on those that break a bound."""

import dataclasses

import numpy as np
import pytest

import nas.search
import spaces
from nas.types import Ended, Objective, Proposed, Trial

HYBRID = spaces.load("hybrid", io=spaces.tokens(16, 16), operators=6)
MLP = spaces.load("mlp", io=spaces.vector(features=8))

SEARCHES = {
    "random": ("random", HYBRID, {}),
    "evolution": ("evolution", HYBRID, {"population": 4, "tournament": 2}),
    "nsga2": ("nsga2", HYBRID, {"population": 4}),
    "bayesian": ("bayesian", HYBRID, {"initial": 4}),
    "bayesian on a product": ("bayesian", MLP, {"initial": 8}),
    "tree": ("tree", HYBRID, {"initial": 4}),
    "tree with a surrogate": ("tree", HYBRID, {"initial": 4, "surrogate": "trees", "leaves": 16}),
    "controller": ("controller", MLP, {}),
    "botorch": ("botorch", MLP, {"initial": 4}),
}


def sampled(space, number=60):
    rng = np.random.default_rng(7)
    return np.array([space.cost(space.sample(rng)).parameters for _ in range(number)])


def parameters_of(name, space, bound, trials=12, measured=False, **options):
    """The parameters of the genomes that are proposed."""
    objectives = (Objective("loss"), Objective("parameters", bound=bound))
    search = nas.search.load(name, space=space, objectives=objectives, **options)
    found = []
    for k in range(trials):
        (proposal,) = search.ask(1)
        search.tell(Proposed(proposal))
        cost = dataclasses.asdict(space.cost(proposal.genome))
        found.append(cost["parameters"])
        # Large ones are good, so that a search is drawn over the bound.
        metrics = {"loss": -np.log(cost["parameters"]) + k % 3, **({"parameters": 1.0} if measured else {})}
        search.tell(Ended(dataclasses.replace(Trial.done(proposal, metrics), cost=cost)))
    return np.array(found)


@pytest.mark.parametrize("search", SEARCHES)
def test_what_costs_too_much_is_not_proposed(search):
    name, space, options = SEARCHES[search]
    bound = float(np.quantile(sampled(space), 0.3))
    # The first is drawn before a trial has told what is a cost.
    assert (parameters_of(name, space, bound, **options)[1:] <= bound).all()


@pytest.mark.parametrize("search", ["random", "evolution", "bayesian", "tree"])
def test_where_nothing_keeps_the_bound_the_nearest_are_proposed(search):
    name, space, options = SEARCHES[search]
    found = parameters_of(name, space, 1.0, **options)
    assert len(found) == 12
    assert np.median(found[1:]) < np.quantile(sampled(space), 0.2)


def test_what_a_table_measures_by_itself_is_no_known_cost():
    bound = float(np.quantile(sampled(HYBRID), 0.3))
    found = parameters_of("random", HYBRID, bound, measured=True)
    assert (found > bound).sum() > 3


def test_what_fails_tells_nothing_of_costs():
    search = nas.search.load(
        "random", space=HYBRID, objectives=(Objective("loss"), Objective("parameters", bound=1.0))
    )
    (proposal,) = search.ask(1)
    search.tell(Proposed(proposal))
    search.tell(Ended(Trial(proposal, "failed", error="diverged")))
    assert search.breach(proposal.genome) == 0
