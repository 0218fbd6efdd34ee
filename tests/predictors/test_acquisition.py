import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from predictors import Prediction, expected_improvement, log_expected_improvement


def test_monte_carlo():
    rng = np.random.default_rng(0)
    mean, std = np.array([-1.0, 0.0, 0.5, 2.0]), np.array([0.2, 1.0, 0.1, 1.5])
    drawn = mean + std * rng.standard_normal((400_000, 4))
    expected = np.maximum(0.3 - drawn, 0).mean(axis=0)
    np.testing.assert_allclose(
        expected_improvement(Prediction(mean, std), 0.3), expected, rtol=0.02, atol=1e-4
    )


def test_no_uncertainty():
    prediction = Prediction(np.array([-2.0, 0.0, 3.0]), np.zeros(3))
    assert expected_improvement(prediction, 0.5).tolist() == [2.5, 0.5, 0.0]


def test_far_tail_keeps_its_order():
    """Where the closed form cancels to nothing, what is nearer is still worth more; the tail is about φ(u) / u²."""
    mean = np.arange(1.0, 37.0)
    improvement = expected_improvement(Prediction(mean, np.ones(36)), 0.0)
    assert (np.diff(improvement) < 0).all()
    assert improvement[-1] > 0
    density = np.exp(-0.5 * mean**2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(improvement[15:], (density / mean**2)[15:], rtol=0.02)


@given(st.floats(-1e6, 1e6), st.one_of(st.just(0.0), st.floats(1e-9, 1e6)), st.floats(-1e6, 1e6))
def test_always_a_number(mean, std, best):
    (improvement,) = expected_improvement(Prediction(np.array([mean]), np.array([std])), best)
    assert np.isfinite(improvement)
    assert improvement >= 0
    assert improvement >= (best - mean) * (1 - 1e-9)


def test_the_logarithm_tells_apart_what_underflows():
    mean = np.logspace(0, 8, 200)
    logarithm = log_expected_improvement(Prediction(mean, np.ones(200)), 0.0)
    assert np.isfinite(logarithm).all()
    assert (np.diff(logarithm) < 0).all()
    near = mean < 5
    np.testing.assert_allclose(
        logarithm[near], np.log(expected_improvement(Prediction(mean, np.ones(200)), 0.0)[near])
    )
    assert log_expected_improvement(Prediction(np.array([1.0]), np.zeros(1)), 0.0) == -np.inf
