import dataclasses

import numpy as np
import pytest

import nas.search
import spaces
from nas.search.hypervolume import FrontSurrogate
from nas.types import Ended, Fidelity, InvalidInput, Objective, Proposal, Proposed, Trial
from predictors import Prediction
from spaces.pareto import hypervolume

GRID = spaces.load("mlp")
AIMS = (Objective("loss"), Objective("good", "max"))


class Sure:
    """Predicts values that hang on the genome alone, with no covariances: what was measured is what it predicts."""

    best = 0.0

    made = 0

    def __init__(self):
        Sure.made += 1
        self.fitted, self.salt = 0, Sure.made

    def fit(self, items, y, context=None):
        self.fitted += 1
        return self

    def predict(self, items, context=None):
        draws = [np.random.default_rng(int(item.digest[:8], 16) + self.salt).random(2) for item in items]
        mean, std = np.array(draws).T
        return Prediction(mean, std / 2, np.full(len(items), 0.25))


def trials(number, seed=0):
    rng = np.random.default_rng(seed)
    genomes = {genome.digest: genome for genome in (GRID.sample(rng) for _ in range(number))}.values()
    return [
        Trial.done(
            Proposal(k, genome, Fidelity(1), 0), {"loss": float(rng.random()), "good": float(rng.random())}
        )
        for k, genome in enumerate(genomes)
    ]


@pytest.mark.parametrize("number", [1, 12])
def test_what_is_promised_is_the_mean_volume_that_is_added(number):
    surrogate = FrontSurrogate(Sure, GRID, AIMS)
    ended = trials(number)
    assert surrogate.learn(ended, [], np.random.default_rng(0))
    new = [GRID.unrank(rank) for rank in (5, 50, 500, 5000)]
    promised = np.exp(surrogate.promise(new))

    one, two = (
        model.predict([trial.proposal.genome for trial in ended]).mean for model in surrogate._predictors
    )
    known = np.column_stack([one, two])
    low, width = surrogate._low, surrogate._width
    known = (known - low) / width
    before = hypervolume(known, [1.1, 1.1])
    rng = np.random.default_rng(0)
    for place, genome in enumerate(new):
        found = [model.predict([genome]) for model in surrogate._predictors]
        draws = np.column_stack([each.mean + each.std * rng.standard_normal(4000) for each in found])
        added = [hypervolume(np.vstack([known, row]), [1.1, 1.1]) - before for row in (draws - low) / width]
        expected = 0.75 * np.mean(added)
        assert promised[place] == pytest.approx(expected, abs=5 * np.std(added) / 4000**0.5 + 1e-9)


def test_what_a_genome_costs_is_known():
    """All who cost more than the reference promise nothing, however uncertain the rest is."""
    aims = (Objective("loss"), Objective("parameters"))
    surrogate = FrontSurrogate(Sure, GRID, aims)
    ended = [
        dataclasses.replace(trial, cost={"parameters": float(GRID.cost(trial.proposal.genome).parameters)})
        for trial in trials(60)
    ]
    ended = sorted(ended, key=lambda trial: trial.cost["parameters"])[:12]
    surrogate.learn(ended, [], np.random.default_rng(0))
    genomes = [GRID.unrank(rank) for rank in range(0, GRID.size, 499)]
    promised = surrogate.promise(genomes)
    costs = np.log1p([GRID.cost(genome).parameters for genome in genomes])
    dear = (costs - surrogate._low[1]) / surrogate._width[1] >= 1.1
    assert np.isneginf(promised[dear]).all()
    assert np.isfinite(promised[~dear]).mean() > 0.9  # some of the sure are sure to be worse
    assert 10 < dear.sum() < len(dear) - 10
    assert list(surrogate.labels) == [0]


def test_networks_that_run_are_not_promised_again():
    """Of a front, the neighbour of one that runs adds less than it did."""
    found = []
    for running in (False, True):
        searcher = nas.search.load("bayesian", space=GRID, objectives=AIMS, seed=0)
        for trial in trials(14):
            searcher.tell(Proposed(trial.proposal))
            searcher.tell(Ended(trial))
        asked = searcher.ask(4 if running else 1)
        found.append([proposal.genome.digest for proposal in asked])
    assert found[0] == found[1][:1]
    assert len(set(found[1])) == 4


def test_other_acquisitions_are_of_one_objective():
    with pytest.raises(
        InvalidInput, match=r"strategy\.acquisition = 'bound' is of one objective, but objectives has 2"
    ):
        nas.search.load("bayesian", space=GRID, objectives=AIMS, acquisition="bound")
