"""Methods of other libraries, on a table."""

import sys

import numpy as np
import pyglove
import pytest

import benchmarks
from nas.cluster.simulated import Conditions
from nas.compare import Contestant, simulate
from nas.peers import LIGHT, PEERS
from nas.types import InvalidInput

pytestmark = pytest.mark.usefixtures("cache")


def peer(name, table, seed):
    """A peer; skips where it is one of those whose libraries are not installed with the tests'."""
    try:
        return Contestant.parse(name).make(table, seed)
    except InvalidInput as error:
        if name in LIGHT or "which is not installed" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("table", ["nasbench201/cifar10", "fcnet/naval"])
def test_a_peer_searches_a_table(name, table):
    """It proposes genomes of the space, the same for the same seed, takes results as they end, and learns."""
    table = benchmarks.load(table)

    def run(seed, workers=1):
        trials = [*simulate(peer(name, table, seed), table, 15, workers)]
        assert [trial.id for trial in sorted(trials, key=lambda trial: trial.id)] == [*range(15)]
        return [trial.proposal.genome.text for trial in trials]

    assert run(3) == run(3) != run(4)
    assert run(3, workers=4) == run(3, workers=4)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_told_losses(name, monkeypatch):
    """Lower is better, and logarithms are told where the metric spans decades."""
    table = benchmarks.load("fcnet/naval")
    made = peer(name, table, 0)
    told = []
    report = type(made).report
    monkeypatch.setattr(
        type(made), "report", lambda self, *given: told.append(given) or report(self, *given), raising=True
    )
    trials = [*simulate(made, table, 12)]
    losses = [np.log10(table.query(trial.proposal.genome)) for trial in trials]
    np.testing.assert_allclose([loss for _, loss in told], losses)
    if name.startswith("optuna"):
        assert made._study.best_value == pytest.approx(min(losses))
    elif name.startswith("smac"):
        assert sorted(value.cost for value in made._smac.runhistory.values()) == pytest.approx(sorted(losses))
    elif name.startswith("pyglove"):
        fitness = [pyglove.evolution.get_fitness(dna) for dna, _ in told]
        np.testing.assert_allclose(fitness, np.negative(losses))


def test_a_peer_that_is_not_installed_is_said_to_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "nas.peers.optuna", raising=False)
    table = benchmarks.load("nasbench201/cifar10")
    with pytest.raises(InvalidInput, match=r"'optuna-tpe' needs optuna, which is not installed: pip install"):
        Contestant.parse("optuna-tpe").make(table, 0)


def test_a_heavy_peer_that_is_not_installed_is_said_to_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "smac", None)
    monkeypatch.setitem(sys.modules, "ConfigSpace", None)
    monkeypatch.delitem(sys.modules, "nas.peers.smac", raising=False)
    with pytest.raises(InvalidInput, match=r"not installed: pip install 'grammar-nas\[more-peers\]'"):
        Contestant.parse("smac-rf").make(benchmarks.load("nasbench201/cifar10"), 0)


def test_a_trial_that_failed_is_told():
    """Where trials die, peers go on."""
    table = benchmarks.load("nasbench201/cifar10")
    for name in PEERS:
        try:
            made = Contestant.parse(name).make(table, 0)
        except InvalidInput:
            continue
        trials = [*simulate(made, table, 15, 2, Conditions(deaths=0.6))]
        assert len(trials) == 15
        assert any(trial.status == "failed" for trial in trials)


@pytest.mark.parametrize(
    "name, message",
    [
        ("optuna-tpe+trees", "'optuna-tpe\\+trees': a peer makes no candidates"),
        ("optuna-tpe/random", "'optuna-tpe/random': a peer takes no sampler"),
    ],
)
def test_a_peer_takes_no_part_of_ours(name, message):
    with pytest.raises(InvalidInput, match=message):
        Contestant.parse(name).make(benchmarks.load("nasbench201/cifar10"), 0)


def test_parzen_estimators_of_each_field_are_not_those_of_all():
    table = benchmarks.load("nasbench201/cifar10")
    one, other = (
        [trial.proposal.genome.text for trial in simulate(peer(name, table, 0), table, 20)]
        for name in ("optuna-tpe", "optuna-tpe-multivariate")
    )
    assert one[:10] == other[:10], "which are drawn"
    assert one != other
