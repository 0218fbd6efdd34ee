import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, norm

import predictors
import spaces
from predictors import Prediction
from predictors.evaluate import CLEARLY, TauEstimate, kendall, out_of_fold_tau
from predictors.features import Features
from predictors.trees import Trees

SPACE = spaces.load("hybrid", spaces.tokens(256, 64), context=128, operators=12)
RNG = np.random.default_rng(0)
GENOMES = [SPACE.sample(RNG) for _ in range(60)]


class Memory:
    """Knows what it was told, and nothing else."""

    best = 0.0

    def fit(self, items, y, context=None):
        self.known = {item.digest: value for item, value in zip(items, y, strict=True)}
        return self

    def predict(self, items, context=None):
        mean = np.array([self.known.get(item.digest, 0.0) for item in items])
        return Prediction(mean, np.zeros(len(items)))


def make():
    return Trees(SPACE)


@given(st.integers(0, 2**32), st.integers(3, 40), st.sampled_from([2, 5, 1000]))
def test_kendall_is_that_of_scipy(seed, n, values):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(values, size=(2, n)).astype(float)
    estimate = kendall(a, b)
    if len(set(a)) < 2 or len(set(b)) < 2:
        assert estimate == TauEstimate(0.0, -1.0)
        return
    reference = kendalltau(a, b, alternative="greater", method="asymptotic")
    assert estimate.tau == pytest.approx(reference.statistic)
    if estimate.low > -1:
        deviation = (estimate.tau - estimate.low) / CLEARLY
        assert deviation * norm.isf(reference.pvalue) == pytest.approx(estimate.tau, abs=1e-9)


def test_kendall_without_ties_has_the_textbook_variance():
    n = 20
    estimate = kendall(np.arange(n), np.arange(n))
    assert estimate.tau == pytest.approx(1)
    assert 1 - estimate.low == pytest.approx(1.645 * np.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))))


def test_diverged_is_worst():
    assert kendall(np.arange(4), np.array([1.0, 2.0, np.nan, np.nan])) == kendall(
        np.arange(4), np.array([1.0, 2.0, 3.0, 3.0])
    )


def test_what_can_be_learned_is_found():
    y = -np.log([SPACE.cost(genome).parameters for genome in GENOMES])
    operators = Features(SPACE)(GENOMES)[:, Features(SPACE).names.index("longest")]
    y = y - 0.3 * operators + 0.3 * RNG.standard_normal(len(y))
    estimate = out_of_fold_tau(make, GENOMES, y)
    assert estimate.tau > 0.5
    assert estimate.low > 0.3
    assert out_of_fold_tau(make, GENOMES, y) == estimate


@pytest.mark.slow
def test_noise_is_not():
    estimates = [
        out_of_fold_tau(make, GENOMES[:40], np.random.default_rng(seed).standard_normal(40))
        for seed in range(6)
    ]
    assert abs(np.mean([estimate.tau for estimate in estimates])) < 0.12
    assert sum(estimate.low > 0 for estimate in estimates) <= 1


def test_equal_networks_are_held_out_together():
    y = RNG.standard_normal(20)
    assert out_of_fold_tau(Memory, GENOMES[:10] * 2, y) == TauEstimate(0.0, -1.0)


def test_few_items():
    for number in range(3):
        assert out_of_fold_tau(Memory, GENOMES[:number], np.arange(number)) == TauEstimate(0.0, -1.0)
    assert out_of_fold_tau(make, GENOMES[:4], np.arange(4)).low < 0


def test_misuse():
    with pytest.raises(predictors.InvalidPredictor, match=r"10 items have targets of shape \(9,\)"):
        out_of_fold_tau(Memory, GENOMES[:10], np.arange(9))
    with pytest.raises(predictors.InvalidPredictor, match="folds = 1, but it must be at least 2"):
        out_of_fold_tau(Memory, GENOMES[:10], np.arange(10), folds=1)
