import dataclasses
import math

import numpy as np
import pytest

import nas.search
import predictors
import spaces
from nas.search.screening import Screening
from nas.search.testing import strategy_checks
from nas.types import Fidelity, InvalidInput, Objective, Trial
from spaces.pareto import hypervolume
from tests.nas.search.sequential import run

SPACE = spaces.load("hybrid", spaces.tokens(256, 64), parameters=500_000)
OBJECTIVES = (Objective("loss"),)


def screening(**options):
    return Screening(lambda: predictors.load("trees", space=SPACE), **options)


def evolution(seed=0, screen=None, **options):
    return nas.search.load(
        "evolution", space=SPACE, objectives=OBJECTIVES, seed=seed, screening=screen, population=10, **options
    )


def learnable(proposal):
    """The loss is the distance of the FLOPs from a target, on a log scale, and for some a failure."""
    cost = SPACE.cost(proposal.genome)
    if "swiglu" in proposal.genome.text:
        return Trial(proposal, "failed", error="diverged")
    return Trial.done(proposal, {"loss": abs(math.log(cost.flops_per_token / 400_000))})


def noise(proposal):
    return Trial.done(proposal, {"loss": int(proposal.genome.digest[:8], 16) / 2**32})


@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
def test_conformance(check):
    def make(space, objectives, seed):
        return nas.search.load(
            "evolution", space=space, objectives=objectives, seed=seed, population=8,
            screening=screening(least=28, candidates=4),
        )  # fmt: skip

    check(make, SPACE)


@pytest.mark.slow
def test_a_learnable_loss_is_found_sooner_and_failures_are_avoided():
    """Sums over five seeds, so that one lucky run decides nothing."""
    last = {True: [], False: []}
    failed = {True: 0, False: 0}
    for seed in range(5):
        for screened in (True, False):
            screen = screening(least=15) if screened else None
            ended = run(evolution(seed, screen), 40, learnable)[15:]
            last[screened] += [trial.metrics["loss"] for trial in ended if trial.status == "done"]
            failed[screened] += sum(trial.status == "failed" for trial in ended)
    assert np.mean(last[True]) < 0.8 * np.mean(last[False])
    assert failed[True] < failed[False]


def test_proposals_tell_how_they_were_chosen():
    strategy = evolution(0, screening(least=15, candidates=8, explore=0.3))
    proposals = [trial.proposal for trial in run(strategy, 45, learnable)]
    assert all(not proposal.notes for proposal in proposals[:15])
    notes = [proposal.notes for proposal in proposals[15:]]
    fits = [15, 19, 23, 27, 32, 38]  # each a fifth more than the one before, and four at least
    assert [note["labels"] for note in notes] == [max(n for n in fits if n <= k) for k in range(15, 45)]
    assert all(-1 <= note["tau_low"] <= note["tau"] <= 1 for note in notes)
    trusted = [note["candidates"] for note in notes if note["tau_low"] > 0]
    assert len(trusted) > 15
    assert set(trusted) == {1, 8}  # the part that explores, and the part that is screened
    assert 0 < trusted.count(1) < 0.6 * len(trusted)


@pytest.mark.slow
def test_on_noise_the_predictor_is_set_aside():
    counts = []
    for seed in range(4):
        proposals = [trial.proposal for trial in run(evolution(seed, screening(least=15)), 40, noise)]
        counts += [proposal.notes["candidates"] == 1 for proposal in proposals[15:]]
    assert np.mean(counts) > 0.8  # each fit is trusted by chance once in twenty


def test_costs_alone_are_ranked_as_they_are():
    aims = [Objective("parameters"), Objective("flops_per_token")]

    def costed(proposal):
        return Trial(proposal, "done", cost=dataclasses.asdict(SPACE.cost(proposal.genome)))

    strategy = nas.search.load(
        "nsga2", space=SPACE, objectives=aims, population=5, screening=screening(least=6, explore=0.0)
    )
    notes = [trial.proposal.notes for trial in run(strategy, 12, costed)]
    assert {(note["candidates"], note["tau"]) for note in notes[6:]} == {(16, 1.0)}


def test_the_fit_depends_on_the_trials_and_not_on_when_it_was_asked_for():
    trials = run(evolution(), 35, learnable)
    at_once, step_by_step = screening(), screening()
    for n in range(36):
        seen = step_by_step.fitted(trials[:n], OBJECTIVES, SPACE)
    fitted = at_once.fitted(trials, OBJECTIVES, SPACE)
    assert (fitted.labels, fitted.tau) == (seen.labels, seen.tau) == (33, fitted.tau)
    genomes = [trial.proposal.genome for trial in trials]
    assert np.array_equal(fitted.promise(genomes), seen.promise(genomes))
    assert at_once.fitted(trials[:19], OBJECTIVES, SPACE) is None


@pytest.mark.parametrize(
    "name, options", [("bayesian", {}), ("tree", {"surrogate": "trees"}), ("pyglove", {})]
)
def test_a_strategy_with_a_model_of_its_own_cannot_be_screened(name, options):
    with pytest.raises(
        InvalidInput, match=f"strategy {name!r} makes no candidates that a predictor could rank"
    ):
        nas.search.load(name, space=SPACE, objectives=OBJECTIVES, screening=screening(), **options)


@pytest.mark.parametrize(
    "name, options",
    [
        ("random", {}),
        pytest.param("tree", {"initial": 8}, marks=pytest.mark.slow),
        ("nsga2", {"population": 8}),
        pytest.param(
            "asha", {"fidelity": Fidelity(9), "rungs": (3,), "sampler": "random"}, marks=pytest.mark.slow
        ),
    ],
)
def test_every_strategy_that_draws_is_screened(name, options):
    """Of the networks proposed once the predictor is trusted, those screened are better than those that explore."""
    screen = screening(least=15, explore=0.5)
    strategy = nas.search.load(name, space=SPACE, objectives=OBJECTIVES, screening=screen, **options)
    ended = [trial for trial in run(strategy, 70, learnable)[20:] if trial.status == "done"]
    chosen, explored = (
        [t.metrics["loss"] for t in ended if t.proposal.notes.get("candidates") == number]
        for number in (16, 1)
    )
    assert min(len(chosen), len(explored)) >= 6
    assert np.mean(chosen) < np.mean(explored)


@pytest.mark.slow
def test_a_front_is_found_sooner_when_candidates_are_screened():
    """Networks that compute as much as a target at few parameters: volumes of the fronts, over three seeds."""
    aims = (Objective("loss"), Objective("parameters"))
    volumes = {True: 0.0, False: 0.0}
    for seed in range(3):
        for screened in (True, False):
            strategy = nas.search.load(
                "nsga2", space=SPACE, objectives=aims, seed=seed, population=10,
                screening=screening(least=15) if screened else None,
            )  # fmt: skip
            ended = run(strategy, 60, with_costs)
            losses = np.array(
                [[t.metrics["loss"] / 3, t.cost["parameters"] / 5e5] for t in ended if t.status == "done"]
            )
            volumes[screened] += hypervolume(losses, [1, 1])
            notes = [trial.proposal.notes for trial in ended[15:]]
            assert all(notes) is screened
    assert volumes[True] > volumes[False]


def with_costs(proposal):
    """What `learnable` says, and what a campaign tells of the cost."""
    cost = {"parameters": float(SPACE.cost(proposal.genome).parameters)}
    return dataclasses.replace(learnable(proposal), cost=cost)
