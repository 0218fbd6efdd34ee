"""What comparisons say, of made-up runs."""

import dataclasses

import numpy as np
import pyarrow
import pytest
from scipy import stats

from benchmarks import Description, Metric, Table
from nas.compare import STATISTICS, TOP, curves, milestones, ranks, relative_improvement, summary


def made_up(runs):
    """Rows as `compare` gives them, from the regrets of each table and contestant by seed; 0 is the best row."""
    rows = {key: [] for key in ("table", "strategy", "seed", "spent", "seconds", "regret", "top")}
    for (table, strategy), by_seed in runs.items():
        for seed, regrets in enumerate(by_seed):
            for evaluation, regret in enumerate(regrets, start=1):
                row = (
                    table,
                    strategy,
                    seed,
                    float(evaluation),
                    10.0 * evaluation,
                    regret,
                    0.0001 if regret == 0 else 0.5,
                )
                for values, value in zip(rows.values(), row, strict=True):
                    values.append(value)
    return pyarrow.table(rows)


def test_a_run_that_ended_early_keeps_its_last_regret():
    curve = curves(made_up({("t", "s"): [[0.5, 0.25], [1.0]]}))[0]
    assert curve.mean.tolist() == [0.75, 0.625]
    assert curve.shortest == 1


def test_how_soon_the_best_rows_are_reached():
    [curve] = curves(made_up({("t", "s"): [[0.5, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]}))
    np.testing.assert_array_equal(curve.reached, [2, 4, np.nan, 1])
    assert [row["best"] for row in summary([curve])] == [0.25, 0.5, 0.75]
    assert TOP == 0.0005
    [curve] = curves(made_up({("t", "s"): [[0.5, 0, 0, 0], [1, 1, 1, 1]]}), "seconds")
    np.testing.assert_array_equal(curve.reached, [20, np.nan])


@pytest.mark.parametrize(
    "top, reached", [(0.0005, [3, np.nan]), (0.1, [2, 3]), (0.5, [1, 2]), (0.0001, [3, np.nan])]
)
def test_what_counts_as_best_may_be_told(top, reached):
    """The very best row always does."""
    rows = made_up({("t", "s"): [[0.3, 0.2, 0], [0.4, 0.3, 0.2]]}).to_pydict()
    rows = pyarrow.table({**rows, "top": [0.5, 0.05, 0.001, 0.6, 0.4, 0.01]})
    [curve] = curves(rows, top=top)
    np.testing.assert_array_equal(curve.reached, reached)


def test_the_best_of_a_small_table_is_among_its_best():
    rows = made_up({("t", "s"): [[0.5, 0]]}).to_pydict()
    curve = curves(pyarrow.table({**rows, "top": [0.5, 1 / 60]}))[0]
    np.testing.assert_array_equal(curve.reached, [2])


def test_the_interquartile_mean_is_that_of_the_middle_half():
    [curve] = curves(made_up({("t", "s"): [[value] for value in (0.9, 0.1, 0.2, 5, 0, 0.3, 0.4, 0)]}))
    assert curve.interquartile_mean.tolist() == [pytest.approx((0.1 + 0.2 + 0.3 + 0.4) / 4)]


@pytest.mark.parametrize(
    "name, statistic",
    [
        ("median", np.median),
        ("mean", np.mean),
        ("interquartile_mean", lambda values, axis: stats.trim_mean(values, 0.25, axis=axis)),
    ],
)
def test_each_statistic_has_an_interval(name, statistic):
    """That of SciPy's bootstrap, but for the draws."""
    values = np.linspace(0, 1, 20) ** 2
    [row] = summary(curves(made_up({("t", "s"): [[value] for value in values]})))
    assert row[name] == pytest.approx(statistic(values, axis=0))
    other = stats.bootstrap(
        (values,), statistic, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    before = "" if name == "median" else f"{name}_"
    assert (row[f"{before}low"], row[f"{before}high"]) == pytest.approx((other.low, other.high), abs=0.04)


@pytest.mark.parametrize("name", STATISTICS)
def test_nothing_is_told_where_the_regret_of_a_seed_is_unknown(name):
    [curve] = curves(made_up({("t", "s"): [[float(seed), 0.0] for seed in range(20)]}))
    regrets = curve.regrets.copy()
    regrets[3, 0] = np.nan
    unknown = dataclasses.replace(curve, regrets=regrets)
    for values in (getattr(unknown, name), *unknown.intervals[name]):
        assert np.isnan(values).tolist() == [True, False]


def test_ranks():
    """Demsar 2006, table 6 and section 3.2.2: four classifiers on 14 data sets."""
    c45 = [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1, 0.940, 0.619, 0.972, 0.957]
    c45_m = [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1, 0.962, 0.666, 0.981, 0.978]
    c45_cf = [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1, 0.965, 0.614, 0.9751, 0.946]
    c45_m_cf = [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1, 0.962, 0.669, 0.975, 0.970]
    runs = {"C4.5": c45, "C4.5+m": c45_m, "C4.5+cf": c45_cf, "C4.5+m+cf": c45_m_cf}
    found = ranks(curves(made_up({("t", name): [[1 - auc] for auc in aucs] for name, aucs in runs.items()})))
    assert {name: round(mean, 3) for name, mean in found.mean.items()} == {
        "C4.5+m+cf": 1.964,
        "C4.5+m": 2.0,
        "C4.5+cf": 2.893,
        "C4.5": 3.143,
    }
    assert found.blocks == 14
    assert found.difference == pytest.approx(1.25, abs=0.005)  # 2.569 sqrt(4 * 5 / (6 * 14))
    assert 0.01 < found.p < 0.05
    with pytest.raises(ValueError, match="only be ranked on the same tables"):
        ranks(curves(made_up({("t", "a"): [[1]], ("t", "b"): [[1], [2]]})))


@pytest.fixture(params=[False, True], ids=["linear", "log"])
def losses(request, tmp_path):
    """The path of a table of four losses, which may span decades, and the mean of such."""
    metric = Metric("loss", "min", "", log=request.param)
    io = {"vector": {"features": 1}}
    description = Description("losses", "", "hpobench_mlp", io, "loss", (metric,), listed=True)
    texts = [description.load_space().unrank(rank).text for rank in range(4)]
    Table.write(tmp_path / "losses.arrow", description, {"loss": np.array([1e-4, 1e-3, 1e-2, 1e-1])}, texts)
    mean = (lambda values: np.prod(values) ** (1 / len(values))) if request.param else np.mean
    return str(tmp_path / "losses.arrow"), mean


def test_improvement_of_losses(losses):
    """A smaller loss is better, and a zero hundred percent better."""
    path, mean = losses
    found = {"random": [1e-2, 1e-3], "better": [1e-3, 1e-4], "perfect": [0.0, 0.0]}
    rows = made_up({(path, name): [[0.5], [0.5]] for name in found})
    rows = rows.append_column("best", pyarrow.array([value for values in found.values() for value in values]))
    average = mean([1e-4, 1e-3, 1e-2, 1e-1])
    over_average = relative_improvement(rows)
    for name, values in found.items():
        assert over_average[path, name] == pytest.approx(100 * (average - mean(values)) / average)
    over_random = relative_improvement(rows, over="random")
    assert over_random == {
        (path, name): pytest.approx(p) for name, p in (("random", 0), ("better", 90), ("perfect", 100))
    }


def test_no_improvement_over_nothing(losses):
    """Where random search finds zero, what finds it too is no better, and anything else cannot be told in percent."""
    path, _ = losses
    rows = made_up({(path, "random"): [[0.0]], (path, "same"): [[0.0]], (path, "other"): [[0.0]]})
    rows = rows.append_column("best", pyarrow.array([0.0, 0.0, 1.0]))
    found = relative_improvement(rows, over="random")
    assert found[path, "random"] == found[path, "same"] == 0
    assert np.isnan(found[path, "other"])


def test_milestones():
    assert milestones(100) == [25, 50, 100]
    assert milestones(1) == [1]
