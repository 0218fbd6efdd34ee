import numpy as np
import pytest
from scipy.optimize import check_grad

import spaces
from predictors import InvalidPredictor
from predictors.evaluate import kendall
from predictors.features import Features
from predictors.gaussian import NUGGET, GaussianProcess, _negative_log_posterior
from predictors.labels import COLUMNS
from predictors.stacked import Stacked
from predictors.targets import EVERY, MOST, fitted_at, normal_ranks, spread, telling

CELLS = spaces.load("nasbench201")
GRID = spaces.load("mlp")
RNG = np.random.default_rng(0)
GENOMES = CELLS.sample_uniform(RNG, 120)
SIZES = np.log([CELLS.cost(genome).flops_per_token for genome in GENOMES])


def test_the_gradient_is_that_of_the_posterior():
    x_GND = RNG.standard_normal((3, 12, 2))
    apart = ((x_GND[:, :, None] - x_GND[:, None]) ** 2).sum(axis=-1)
    z, centre = RNG.standard_normal(12), np.array([1.0, 1.0, 1.0, 0.0, -4.0])
    others = (apart, z, centre, np.array([2.0, 2.0, 2.0, 1.0, 1.5]))
    for theta in (centre, centre + RNG.standard_normal(5) / 2):
        wrong = check_grad(
            lambda theta: _negative_log_posterior(theta, *others)[0],
            lambda theta: _negative_log_posterior(theta, *others)[1],
            theta,
        )
        assert wrong < 1e-4


def test_predictions_and_what_is_left_out_against_the_slow_twin():
    """Against plain inversion of scikit-learn's kernel, and against processes that did not see one label each."""
    from sklearn.gaussian_process.kernels import Matern

    y = SIZES[:30] + 0.1 * RNG.standard_normal(30)
    process = GaussianProcess(CELLS).fit(GENOMES[:30], y)
    theta = process._estimate[2]
    assert np.exp(theta[-2]) == process._variance
    kernel = Matern(nu=2.5)

    def twin(known, asked):
        x, z = process._x_ND[known], process.z[known]
        inverse = np.linalg.inv(process._variance * kernel(x) + (np.exp(theta[-1]) + NUGGET) * np.eye(len(x)))
        mean = np.ones(len(x)) @ inverse @ z / inverse.sum()
        k = process._variance * kernel(asked, x)
        variance = process._variance - np.einsum("mn,nk,mk->m", k, inverse, k)
        return mean + k @ inverse @ (z - mean), np.sqrt(variance)

    every = np.arange(30)
    asked = process._scaled(process._inputs(GENOMES, None, np.arange(30, 60)))
    mean, std = twin(every, asked)
    prediction = process.predict(GENOMES[30:60])
    np.testing.assert_allclose(prediction.mean, mean, atol=1e-6)
    np.testing.assert_allclose(prediction.std, std, atol=1e-6)
    # Up to the constant mean, which the closed form takes from all labels.
    left_out = [twin(every[every != i], process._x_ND[[i]])[0][0] for i in every]
    np.testing.assert_allclose(process.left_out, left_out, atol=0.2)


def test_smooth_losses_are_learned_from_few_labels():
    genomes = GRID.sample_uniform(np.random.default_rng(1), 160)

    def loss(init_lr, n_units_1, dropout_2, **others):
        return np.log(init_lr / 0.005) ** 2 - np.log(n_units_1) + 3 * dropout_2

    y = np.array([loss(**GRID.values(genome)) for genome in genomes])
    for make in (GaussianProcess, Stacked):
        fitted = make(GRID).fit(genomes[:40], y[:40])
        assert kendall(fitted.predict(genomes[40:]).mean, y[40:]).tau > 0.75


def test_the_stack_trusts_what_errs_less():
    genomes = GRID.sample_uniform(np.random.default_rng(1), 60)
    values = [GRID.values(genome) for genome in genomes]
    sums = np.array(
        [np.log(v["n_units_1"] * v["n_units_2"] / v["batch_size"]) - v["dropout_1"] for v in values]
    )
    steps = np.array([v["init_lr"] in (0.001, 0.05) for v in values], dtype=float)
    assert Stacked(GRID).fit(genomes, sums).weight > 0.9
    assert Stacked(GRID).fit(genomes, steps).weight < 0.1


def test_label_counts_are_the_normalised_kernel():
    from spaces.graph import weisfeiler_lehman

    rows = Features(CELLS, labels=True)(GENOMES[:20])[:, -COLUMNS:]
    np.testing.assert_allclose((rows**2).sum(axis=1), 1)
    graphs = [CELLS.graph(genome) for genome in GENOMES[:20]]
    counts = [dict(zip(*np.unique(weisfeiler_lehman(g, 2), return_counts=True), strict=True)) for g in graphs]
    dot = np.array([[sum(n * b.get(key, 0) for key, n in a.items()) for b in counts] for a in counts])
    exact = dot / np.sqrt(np.outer(np.diag(dot), np.diag(dot)))
    assert np.abs(rows @ rows.T - exact).mean() < 0.05  # labels that share a bucket by chance


def test_what_is_slow_is_fitted_at_set_numbers_of_labels():
    numbers = [fitted_at(n) for n in range(1, 12_000)]
    assert numbers[:EVERY] == list(range(1, EVERY + 1))
    assert all(n - m <= max(2, m / 12) for n, m in enumerate(numbers, start=1))
    assert sorted(set(numbers)) == [n for n, m in enumerate(numbers, start=1) if n == m]


def test_a_fit_in_between_equals_one_that_was_asked_for_at_once():
    process = Stacked(CELLS)
    for number in (66, 67, 70, 72):
        process.fit(GENOMES[:number], SIZES[:number])
        once = Stacked(CELLS).fit(GENOMES[:number], SIZES[:number])
        np.testing.assert_array_equal(process.predict(GENOMES[80:]).mean, once.predict(GENOMES[80:]).mean)


def test_many_labels_are_thinned_to_the_best_and_the_newest():
    y = np.random.default_rng(0).standard_normal(5000)
    y[3] = np.nan
    rows = telling(y)
    assert len(rows) == MOST == len(set(rows.tolist()))
    assert (np.diff(rows) > 0).all()
    assert set(range(5000 - MOST // 2, 5000)) <= set(rows.tolist())
    assert int(np.nanargmin(y)) in rows
    assert 3 not in rows


def test_the_scale_of_losses():
    y = np.array([1.0, 2.0, 3.0, 4.0, 1e9, np.nan])
    z = spread(y)
    assert (np.diff(z[:5]) > 0).all()
    assert z[5] == z[4]
    assert z[4] - z[3] < 5 * (z[3] - z[0])
    np.testing.assert_allclose(spread(7 * y + 5), z, atol=1e-6)
    assert spread(np.array([2.0, 2.0, 2.0])).tolist() == [0.0, 0.0, 0.0]
    assert spread(np.array([1.0, 2.0])) == pytest.approx(normal_ranks(np.array([1.0, 2.0])))


LARGEST = np.finfo(np.float64).max


@pytest.mark.parametrize(
    "y",
    [
        [0.1, 0.2, 0.3, 0.5, LARGEST],
        [-LARGEST, 0.2, 0.3, 0.5, LARGEST],
        [-LARGEST, -LARGEST, LARGEST, LARGEST, LARGEST],
        [0.0, 0.0, 0.0, 0.0, 5e-200],
        [0.0, 1e-320, 2e-320, 5e-320],
    ],
    ids=["penalty", "both", "nothing else", "squares vanish", "subnormal"],
)
@pytest.mark.filterwarnings("error")
def test_the_scale_of_losses_at_the_ends_of_all_numbers(y):
    z = spread(np.array(y))
    assert np.isfinite(z).all()
    assert (np.diff(z) >= 0).all()
    assert (z[0], z[-1]) == (z.min(), z.max())
    assert z[-1] - z[0] > 1
    assert z.mean() == pytest.approx(0.0, abs=1e-9)


def test_context_is_a_group_like_others_and_the_stack_takes_none():
    steps = np.repeat([1.0, 2.0], 40)
    y = np.tile(SIZES[:40], 2) - 5 * steps
    process = GaussianProcess(CELLS).fit(GENOMES[:40] * 2, y, {"steps": steps})
    short = process.predict(GENOMES[40:], {"steps": np.ones(80)}).mean
    long = process.predict(GENOMES[40:], {"steps": np.full(80, 2.0)}).mean
    assert (long < short).all()
    with pytest.raises(
        InvalidPredictor, match=r"context has the columns \[\], but was fitted with \['steps'\]"
    ):
        process.predict(GENOMES)
    with pytest.raises(InvalidPredictor, match="'stacked' takes none"):
        Stacked(CELLS).fit(GENOMES[:40] * 2, y, {"steps": steps})
