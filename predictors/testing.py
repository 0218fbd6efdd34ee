"""The conformance suite of predictors: what every predictor must do, ours or a user's.

@pytest.mark.parametrize("check", predictor_checks, ids=lambda check: check.__name__)
def test_mine(check):
    check(lambda seed: MyPredictor(space, seed), space)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from predictors.evaluate import kendall
from predictors.types import InvalidPredictor, Prediction, Predictor
from spaces import Genome, Space

Make = Callable[[int], Predictor]
"""Gives a predictor for a seed, not fitted yet."""


def draws(space: Space, number: int) -> tuple[list[Genome], np.ndarray]:
    """Random genomes and losses that can be learned: larger models do better, up to some noise."""
    rng = np.random.default_rng(0)
    genomes = [space.sample(rng) for _ in range(number)]
    sizes = np.log([space.cost(genome).flops_per_token for genome in genomes])
    return genomes, -sizes + 0.3 * sizes.std() * rng.standard_normal(number)


def assert_usable(prediction: Prediction, number: int) -> None:
    assert prediction.mean.shape == prediction.std.shape == (number,)
    assert np.isfinite(prediction.mean).all()
    assert np.isfinite(prediction.std).all()
    assert (prediction.std >= 0).all()
    assert np.shape(prediction.failure) in ((), (number,))
    assert np.all((np.asarray(prediction.failure) >= 0) & (np.asarray(prediction.failure) <= 1))


def assert_equal(a: Prediction, b: Prediction) -> None:
    for key in ("mean", "std", "failure"):
        np.testing.assert_array_equal(getattr(a, key), getattr(b, key), err_msg=key)


def check_shapes(make: Make, space: Space) -> None:
    """One finite mean and std an item, also for one item and for none; fit gives the predictor."""
    genomes, y = draws(space, 40)
    predictor = make(0)
    assert predictor.fit(genomes[:30], y[:30]) is predictor
    for number in (0, 1, 10):
        assert_usable(predictor.predict(genomes[30 : 30 + number]), number)
    assert np.isfinite(predictor.best)


def check_same_seed_same_predictions(make: Make, space: Space) -> None:
    """Predictions depend on the seed and the labels alone, not on what was fitted before."""
    genomes, y = draws(space, 40)
    first = make(3).fit(genomes[:20], y[:20])
    again = make(3).fit(genomes[10:30], y[10:30]).fit(genomes[:20], y[:20])
    assert_equal(first.predict(genomes[20:]), again.predict(genomes[20:]))
    assert first.best == again.best


def check_items_are_independent(make: Make, space: Space) -> None:
    """What else is asked for, and in which order, changes no prediction."""
    genomes, y = draws(space, 30)
    predictor = make(0).fit(genomes, y)
    every, some = predictor.predict(genomes), predictor.predict(genomes[20:9:-1])
    np.testing.assert_allclose(some.mean, every.mean[20:9:-1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(some.std, every.std[20:9:-1], rtol=1e-9, atol=1e-12)


def check_constant_targets(make: Make, space: Space) -> None:
    """Where all labels are equal, nothing is ranked before another."""
    genomes, _ = draws(space, 20)
    prediction = make(0).fit(genomes[:10], np.full(10, 2.5)).predict(genomes)
    assert_usable(prediction, 20)
    assert np.ptp(prediction.mean) < 1e-6


def check_diverged_targets(make: Make, space: Space) -> None:
    """NaN is learned as worse than any loss, and nothing breaks where all are NaN."""
    genomes, y = draws(space, 160)
    failed = y < np.quantile(y, 0.4)  # the best, had they not diverged
    targets = np.where(failed, np.nan, y)
    prediction = make(0).fit(genomes[:80], targets[:80]).predict(genomes[80:])
    assert_usable(prediction, 80)
    bad = prediction.mean[failed[80:]].mean()
    good = prediction.mean[~failed[80:]].mean()
    assert bad > good, f"genomes that would diverge are predicted at {bad}, others at {good}"
    assert_usable(make(0).fit(genomes[:5], np.full(5, np.nan)).predict(genomes), 160)


def check_few_rows(make: Make, space: Space) -> None:
    """One label or two are enough to be asked."""
    genomes, y = draws(space, 20)
    for number in (1, 2):
        assert_usable(make(0).fit(genomes[:number], y[:number]).predict(genomes), 20)


def check_duplicate_rows(make: Make, space: Space) -> None:
    """One genome may have several labels, as other seeds give them."""
    genomes, y = draws(space, 10)
    prediction = make(0).fit([*genomes, *genomes], np.concatenate([y, y + 0.1])).predict(genomes)
    assert_usable(prediction, 10)


def check_ranks_better_than_chance(make: Make, space: Space) -> None:
    """Losses that follow from size are ranked on genomes that were not seen."""
    genomes, y = draws(space, 160)
    estimate = kendall(make(0).fit(genomes[:100], y[:100]).predict(genomes[100:]).mean, y[100:])
    assert estimate.low > 0, f"Kendall's tau of {estimate.tau:.2f} on 60 genomes that were not seen"


def check_pickle(make: Make, space: Space) -> None:
    """A predictor comes back from a pickle as it was, fitted or not."""
    import cloudpickle

    genomes, y = draws(space, 30)
    predictor: Predictor = cloudpickle.loads(cloudpickle.dumps(make(0))).fit(genomes[:20], y[:20])
    copy: Predictor = cloudpickle.loads(cloudpickle.dumps(predictor))
    assert_equal(copy.predict(genomes), predictor.predict(genomes))
    assert copy.best == predictor.best


def check_refuses_misuse(make: Make, space: Space) -> None:
    """Targets of another length, no items, and predictions before any fit are refused."""
    genomes, y = draws(space, 5)
    for items, targets in ((genomes, y[:4]), (genomes, y[:, None]), ([], y[:0])):
        try:
            make(0).fit(items, targets)
        except InvalidPredictor:
            continue
        raise AssertionError(f"fitted {len(items)} items to targets of shape {targets.shape}")
    try:
        make(0).predict(genomes)
    except InvalidPredictor:
        return
    raise AssertionError("predicted before fit")


predictor_checks = (
    check_shapes,
    check_same_seed_same_predictions,
    check_items_are_independent,
    check_constant_targets,
    check_diverged_targets,
    check_few_rows,
    check_duplicate_rows,
    check_ranks_better_than_chance,
    check_pickle,
    check_refuses_misuse,
)
