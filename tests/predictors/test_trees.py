import numpy as np
import pytest

import spaces
from predictors import InvalidPredictor
from predictors.evaluate import kendall
from predictors.targets import normal_ranks
from predictors.trees import Trees

SPACE = spaces.load("hybrid", spaces.tokens(256, 64), context=128, operators=12)
RNG = np.random.default_rng(1)
GENOMES = [SPACE.sample(RNG) for _ in range(80)]
SIZES = np.log([SPACE.cost(genome).parameters for genome in GENOMES])


def test_normal_ranks():
    assert normal_ranks(np.array([3.0, 1.0, 2.0])) == pytest.approx([0.9674, -0.9674, 0.0], abs=1e-4)
    assert normal_ranks(np.array([5.0, 5.0])).tolist() == [0.0, 0.0]
    assert normal_ranks(np.array([1.0, 7.0, 7.0, 7.0])) == pytest.approx(
        [-1.1503, 0.3186, 0.3186, 0.3186], abs=1e-4
    )


def test_only_ranks_matter():
    a = Trees(SPACE).fit(GENOMES[:40], SIZES[:40]).predict(GENOMES[40:])
    b = Trees(SPACE).fit(GENOMES[:40], np.exp(2 * SIZES[:40])).predict(GENOMES[40:])
    np.testing.assert_array_equal(a.mean, b.mean)


def test_the_best_is_on_the_scale_of_the_predictions():
    predictor = Trees(SPACE).fit(GENOMES, SIZES)
    assert predictor.best == pytest.approx(normal_ranks(SIZES).min())
    assert predictor.best <= predictor.predict(GENOMES).mean.min() + 0.5


def test_diverged_genomes_are_worst_and_known_for_it():
    y = np.where(SIZES.argsort().argsort() < 40, SIZES, np.nan)
    y[np.flatnonzero(np.isnan(y))[0]] = np.inf
    fitted = Trees(SPACE).fit(GENOMES[:60], y[:60])
    prediction = fitted.predict(GENOMES[60:])
    failed = np.isnan(y[60:])
    assert prediction.failure[failed].mean() > 0.7
    assert prediction.failure[~failed].mean() < 0.3
    assert kendall(prediction.mean, y[60:]).low > 0
    assert not Trees(SPACE).fit(GENOMES, SIZES).predict(GENOMES).failure.any()


def test_context_is_a_column_like_others():
    """The same genomes at two fidelities, where the longer training is always better."""
    steps = np.repeat([100.0, 1000.0], 40)
    y = SIZES[:40].std() * np.where(steps > 500, -3, 0) + np.tile(SIZES[:40], 2)
    predictor = Trees(SPACE).fit(GENOMES[:40] * 2, y, {"steps": steps})
    short = predictor.predict(GENOMES[40:], {"steps": np.full(40, 100.0)}).mean
    long = predictor.predict(GENOMES[40:], {"steps": np.full(40, 1000.0)}).mean
    assert (long < short).mean() > 0.9


def test_context_must_be_that_of_the_fit():
    predictor = Trees(SPACE).fit(GENOMES[:10], SIZES[:10], {"steps": np.arange(10)})
    with pytest.raises(InvalidPredictor) as caught:
        predictor.predict(GENOMES)
    assert str(caught.value) == "context has the columns [], but was fitted with ['steps']"
    with pytest.raises(InvalidPredictor, match=r"context 'steps' has shape \(3,\), but items are 80"):
        predictor.predict(GENOMES, {"steps": np.arange(3)})
