import numpy as np
import pytest

import nas.search
import spaces
from nas.search.testing import strategy_checks
from nas.types import InvalidInput, Objective, Trial
from tests.nas.search import sequential

GRAPHS = spaces.load("nasbench_graph")
GRID = spaces.load("mlp")


def controller(space=GRID, seed=0, objectives=(Objective("loss"),), **options):
    return nas.search.load("controller", space=space, objectives=objectives, seed=seed, **options)


@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
def test_conformance(check):
    check(lambda space, objectives, seed: controller(space, seed, objectives, initial=5), GRAPHS)


def loss(values):
    """Only two fields matter."""
    return float(np.log2(values["init_lr"] / 0.001) ** 2 + 10 * (values["activation_fn_1"] == "tanh"))


def run(strategy, trials):
    def outcome(proposal):
        return Trial.done(proposal, {"loss": loss(GRID.values(proposal.genome))})

    sequential.run(strategy, trials, outcome)


def test_the_policy_learns_what_helps():
    rates = []
    for seed in range(10):
        one = controller(seed=seed)
        run(one, 150)
        rates.append(
            [one.policy("init_lr")[GRID.fields["init_lr"].index["0.001"]], *one.policy("activation_fn_1")]
        )
        assert GRID.values(one._best.proposal.genome)["init_lr"] == 0.001
    place = GRID.fields["activation_fn_1"].index["tanh"]
    mean = np.mean(rates, axis=0)
    assert mean[1 + place] < 0.2
    assert mean[0] > 0.5


def test_changes_are_small_and_of_the_best():
    one = controller()
    run(one, 25)
    small = 0
    for proposal in one.proposals[10:]:
        (parent,) = proposal.parents
        before, after = (GRID.values(p.genome) for p in (one.proposals[parent], proposal))
        small += sum(before[key] != after[key] for key in before) == 1
        earlier = [trial.metrics["loss"] for trial in one.ended[: proposal.id]]
        assert loss(before) == min(earlier)
    assert small >= 12


def test_other_spaces_are_refused():
    with pytest.raises(InvalidInput, match="products of choices, but 'hybrid' is a GrammarSpace"):
        controller(spaces.load("hybrid"))
