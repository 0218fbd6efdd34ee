"""BoTorch on the cube of a space."""

import sys

import numpy as np
import pytest

import nas.search
import spaces
from nas.search.testing import check_replay, run, strategy_checks
from nas.types import Ended, Finished, InvalidInput, Objective, Proposed, Trial
from tests.nas.search import sequential

pytest.importorskip("botorch")

GRID = spaces.load("mlp")
HYBRID = spaces.load("hybrid", spaces.tokens(256, 64), parameters=500_000)
OBJECTIVES = (Objective("loss"),)


def botorch(space=GRID, seed=0, **options):
    return nas.search.load("botorch", space=space, objectives=OBJECTIVES, seed=seed, **options)


def loss(genome):
    values = GRID.values(genome)
    off = [
        np.log(values["init_lr"] / 0.005),
        np.log(values["n_units_1"] / 256),
        np.log(values["n_units_2"] / 64),
        np.log(values["batch_size"] / 16),
        3 * values["dropout_1"] - 0.9,
        3 * values["dropout_2"],
    ]
    return float(np.square(off).sum())


def bowl(proposal):
    """Learning rates of 0.1 diverge, and for the rest there is one best."""
    if GRID.values(proposal.genome)["init_lr"] == 0.1:
        return Trial(proposal, "failed", error="diverged")
    return Trial.done(proposal, {"loss": loss(proposal.genome)})


@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
def test_conformance_before_the_model(check):
    check(lambda space, objectives, seed: botorch(space, seed, initial=60), GRID)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
def test_conformance(check):
    check(lambda space, objectives, seed: botorch(space, seed, initial=30), spaces.load("nasbench201"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("space, region", [(GRID, False), (GRID, True), (HYBRID, True)])
def test_replay(space, region):
    """Proposals of the model, and of regions that follow one another, from any place of the log on."""
    check_replay(lambda space, objectives, seed: botorch(space, seed, initial=4, region=region), space)


def best(trials):
    return min(trial.metrics["loss"] for trial in trials if trial.status == "done")


@pytest.mark.slow
@pytest.mark.parametrize("region", [False, True])
def test_a_smooth_loss_is_minimised(region):
    """Better than nine in ten random searches of as many trials."""
    drawn = [
        best(
            sequential.run(nas.search.load("random", space=GRID, objectives=OBJECTIVES, seed=seed), 30, bowl)
        )
        for seed in range(30)
    ]
    trials = sequential.run(botorch(initial=8, region=region), 30, bowl)
    assert {trial.proposal.origin for trial in trials[8:20]} == {"botorch"}
    assert best(trials) < np.quantile(drawn, 0.1)


def joint():
    return spaces.joint(HYBRID, {"lr": spaces.real(1e-4, 1e-2, log=True)})


@pytest.mark.parametrize(
    "make",
    [
        lambda: HYBRID,
        pytest.param(lambda: spaces.load("einspace"), marks=pytest.mark.slow),
        pytest.param(joint, marks=pytest.mark.slow),
    ],
    ids=["hybrid", "einspace", "joint"],
)
def test_it_searches_grammars(make):
    space = make()
    strategy = botorch(space, initial=5)
    assert strategy.region is not None
    run(strategy, 5, 1, np.random.default_rng(0))
    (proposal,) = strategy.ask(1)
    assert proposal.origin == "botorch"
    space.check(proposal.genome)
    assert botorch().region is None  # nine dimensions


@pytest.mark.slow
def test_trials_that_run_keep_others_away():
    strategy = botorch(initial=8)
    sequential.run(strategy, 8, bowl)
    alone, *others = strategy.ask(3)
    assert strategy.ask(1) == [alone]
    assert {proposal.origin for proposal in (alone, *others)} == {"botorch"}
    codes = np.array([GRID._code_of(proposal.genome) for proposal in (alone, *others)])
    assert (codes[:, None] != codes).sum(axis=-1)[np.triu_indices(3, 1)].mean() > 1.5


def test_a_small_space_is_searched_to_its_end():
    """Networks proposed before are passed over, also where the acquisition has its optima in their boxes."""
    space = spaces.ProductSpace("six", {"a": spaces.choice(1, 2, 3), "b": spaces.choice(1, 2)}, GRID.io)
    strategy = botorch(space, initial=3)
    sequential.run(
        strategy, 6, lambda proposal: Trial.done(proposal, {"loss": float(space.rank(proposal.genome))})
    )
    assert [trial.proposal.origin for trial in strategy.ended] == ["spread"] * 3 + ["botorch"] * 3
    with pytest.raises(Finished):
        strategy.ask(1)


def test_torch_goes_on_as_if_nothing_had_been():
    import torch

    strategy = botorch(initial=4)
    sequential.run(strategy, 4, bowl)
    before = torch.random.get_rng_state()
    first = strategy.ask(1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    assert botorch_again(strategy).ask(1) == first


def botorch_again(strategy):
    """A strategy that is told all that another was."""
    again = botorch(initial=strategy.initial)
    for trial in strategy.ended:
        again.tell(Proposed(trial.proposal))
        again.tell(Ended(trial))
    return again


def test_a_fit_that_fails_leaves_the_priors(monkeypatch):
    from botorch.exceptions import ModelFittingError

    def fail(*args, **options):
        raise ModelFittingError("made to fail")

    strategy = botorch(initial=4)
    sequential.run(strategy, 4, bowl)
    monkeypatch.setattr("nas.search.cube.fit_gpytorch_mll", fail)
    assert strategy.ask(1)[0].origin == "botorch"


def test_errors(monkeypatch):
    with pytest.raises(
        InvalidInput, match=r"'botorch' searches spaces whose genomes are points of a cube.* 'nasbench_nlp'"
    ):
        botorch(spaces.load("nasbench_nlp"))
    with pytest.raises(InvalidInput, match=r"'strategy\.region' must be"):
        botorch(region="small")
    with pytest.raises(InvalidInput, match="exactly one objective without a bound"):
        nas.search.load("botorch", space=GRID, objectives=(Objective("a"), Objective("b")))
    monkeypatch.delitem(sys.modules, "nas.search.cube", raising=False)
    monkeypatch.setitem(sys.modules, "botorch", None)  # as if it were not installed
    for name in [name for name in sys.modules if name.startswith("botorch.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InvalidInput) as error:
        botorch()
    assert str(error.value) == (
        "strategy 'botorch' needs botorch, which is not installed: pip install 'grammar-nas[botorch]'"
    )


@pytest.mark.slow
def test_after_a_restart_trials_are_spread_again():
    strategy = botorch(initial=3, region=True)
    sequential.run(strategy, 3, lambda proposal: Trial.done(proposal, {"loss": float(proposal.id)}))
    while strategy.region.since == 0:
        sequential.run(strategy, 1, lambda proposal: Trial.done(proposal, {"loss": float(proposal.id)}))
    since = strategy.region.since
    sequential.run(strategy, 4, lambda proposal: Trial.done(proposal, {"loss": float(proposal.id)}))
    assert [trial.proposal.origin for trial in strategy.ended[since:]] == ["spread"] * 3 + ["botorch"]
