import numpy as np
import pytest

import spaces
from spaces import InvalidSpace
from spaces.populations import error_edf, even_weights, population


def test_a_population_is_within_its_bounds():
    space = spaces.load("regnet", spaces.image(3, 32, 32), stem_stride=1)
    bounds = {"flops_per_token": (100e6, 400e6), "parameters": (0, 2e6)}
    genomes = population(space, 50, np.random.default_rng(0), bounds)
    assert len({genome.digest for genome in genomes}) == 50
    for genome in genomes:
        assert 100e6 <= space.cost(genome).flops_per_token <= 400e6
        assert space.cost(genome).parameters <= 2e6
    assert genomes == population(space, 50, np.random.default_rng(0), bounds)


def test_a_population_without_bounds_needs_no_costs():
    assert len(population(spaces.load("nasbench_graph"), 20, np.random.default_rng(0))) == 20


@pytest.mark.parametrize(
    "bounds, message",
    [
        ({"flops_per_tokens": (0, 1)}, "no cost 'flops_per_tokens' to bound, did you mean 'flops_per_token'"),
        ({"parameters": (2, 1)}, "bounds of parameters: from 2 to 1, but the first must not be the greater"),
        (
            {"parameters": (0, 10)},
            "space 'regnet': 10,000 draws in a row gave no new network with parameters from 0 to 10; 0 of 3 were found",
        ),
    ],
)
def test_impossible_bounds(bounds, message):
    space = spaces.load("regnet", depth=8, width=16)
    with pytest.raises(InvalidSpace, match=message):
        population(space, 3, np.random.default_rng(0), bounds)


def test_a_space_that_is_too_small():
    space = spaces.ProductSpace("two", {"x": spaces.choice(1, 2)}, spaces.vector(1))
    with pytest.raises(InvalidSpace, match="gave no new network; 2 of 3 were found"):
        population(space, 3, np.random.default_rng(0))


def test_distribution_of_errors():
    errors, shares = error_edf([3.0, 1.0, np.nan, 2.0])
    assert errors.tolist() == [1.0, 2.0, 3.0, np.inf]
    assert shares.tolist() == [0.25, 0.5, 0.75, 1.0]
    errors, shares = error_edf([3.0, 1.0], weights=[1, 3])
    assert shares.tolist() == [0.75, 1.0]
    rng = np.random.default_rng(0)
    draws = rng.random(2000)
    errors, shares = error_edf(draws)
    for level in (0.1, 0.5, 0.9):
        assert shares[np.searchsorted(errors, level) - 1] == (draws < level).mean()


@pytest.mark.parametrize("errors, weights", [([], None), ([1.0], [0]), ([1.0], [-1]), ([1.0], [1, 2])])
def test_impossible_weights(errors, weights):
    with pytest.raises(ValueError, match=r"errors"):
        error_edf(errors, weights)


def test_even_weights_spread_costs_evenly():
    costs = np.array([0, 1, 2, 3, 50, 100])
    weights = even_weights(costs, bins=4)
    assert weights.sum() == pytest.approx(1)
    assert weights[:4].sum() == pytest.approx(1 / 3)
    assert weights[4] == weights[5] == pytest.approx(1 / 3)
    assert even_weights([5, 5]).tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="finite costs"):
        even_weights([np.inf])
