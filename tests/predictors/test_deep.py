import numpy as np
import pytest

import nas.search
import spaces
from nas.search.testing import check_ask_is_pure
from predictors import InvalidPredictor
from predictors.deep import DeepEnsemble

GRID = spaces.load("mlp")
GENOMES = GRID.sample_uniform(np.random.default_rng(0), 200)
VALUES = [GRID.values(genome) for genome in GENOMES]
LOSSES = np.array([np.log(v["init_lr"] / 0.005) ** 2 - np.log(v["n_units_1"]) for v in VALUES])


def test_smooth_losses_are_predicted_better_than_by_a_straight_line():
    model = DeepEnsemble(GRID).fit(GENOMES[:100], LOSSES[:100])
    x = np.column_stack([model.features(GENOMES), np.ones(len(GENOMES))])
    line = x[100:] @ np.linalg.lstsq(x[:100], LOSSES[:100], rcond=None)[0]

    def unexplained(predicted):
        return 1 - np.corrcoef(predicted, LOSSES[100:])[0, 1] ** 2

    assert unexplained(model.predict(GENOMES[100:]).mean) < unexplained(line) / 2


def test_networks_disagree_where_nothing_was_measured():
    wide = np.array([v["n_units_1"] >= 256 for v in VALUES])
    narrow = [genome for genome, far in zip(GENOMES, wide, strict=True) if not far]
    model = DeepEnsemble(GRID).fit(narrow, LOSSES[~wide])
    std = model.predict(GENOMES).std
    assert std[wide].mean() > 1.3 * std[~wide].mean()


def test_what_fails_is_known_on_genomes_that_were_not_seen():
    failed = np.array([v["init_lr"] > 0.01 for v in VALUES])
    model = DeepEnsemble(GRID).fit(GENOMES[:100], np.where(failed, np.nan, LOSSES)[:100])
    failure = model.predict(GENOMES[100:]).failure
    assert failure[failed[100:]].mean() > 0.8
    assert failure[~failed[100:]].mean() < 0.2


def test_genomes_alone_are_what_it_takes():
    steps = {"steps": np.ones(10)}
    with pytest.raises(
        InvalidPredictor, match="context has the columns \\['steps'\\], but 'deep' takes none"
    ):
        DeepEnsemble(GRID).fit(GENOMES[:10], LOSSES[:10], steps)
    with pytest.raises(InvalidPredictor, match="'deep' takes none"):
        DeepEnsemble(GRID).fit(GENOMES[:10], LOSSES[:10]).predict(GENOMES[:10], steps)


@pytest.mark.parametrize("acquisition", ["improvement", "thompson"])
def test_it_is_a_surrogate(acquisition):
    def make(space, objectives, seed):
        return nas.search.load(
            "bayesian",
            space=space,
            objectives=objectives,
            seed=seed,
            surrogate="deep",
            acquisition=acquisition,
            initial=9,
        )

    check_ask_is_pure(make, GRID)
