"""The conformance suite of tables: what every table must do, ours or a user's.

@pytest.mark.parametrize("check", table_checks, ids=lambda check: check.__name__)
def test_mine(check):
    check(my_table)
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.description import InvalidTable
from benchmarks.rows import MANY, Item
from benchmarks.table import Table

DRAWS = 300


def ranks(table: Table, seed: int = 0) -> np.ndarray:
    """Random rows, the first and the last among them, [n] int64."""
    drawn = np.random.default_rng(seed).integers(len(table), size=DRAWS)
    return np.concatenate([[0, len(table) - 1], drawn])


def check_rows_are_found(table: Table) -> None:
    """A row is found by its genome, text and number; one for each genome of the space, by values too, if not listed."""
    for rank in ranks(table).tolist():
        genome = table.genome(rank)
        assert table.rank(genome) == table.rank(genome.text) == table.rank(rank) == rank
        if not table.description.listed:
            assert genome == table.space.unrank(rank)
            assert table.rank(table.space.values(genome)) == rank
    assert table.description.listed or len(table) == table.space.size


def check_many_equals_single(table: Table) -> None:
    """Queries of many rows give what single ones give, by rank and by genome, for the mean and for each seed."""
    rows = ranks(table)
    genomes = [table.genome(rank) for rank in rows.tolist()]
    texts = [genome.text for genome in genomes] * (MANY // len(genomes) + 1)
    np.testing.assert_array_equal(table.query_many(texts), table.query_many(np.resize(rows, len(texts))))
    for name, metric in table.metrics.items():
        for seed in (None, *range(metric.seeds)):
            single = [table.query(rank, name, seed) for rank in rows.tolist()]
            np.testing.assert_array_equal(table.query_many(rows, name, seed), single)
            np.testing.assert_array_equal(table.query_many(genomes, name, seed), single)
    assert table.query(0) == table.query(0, table.objective.name) or np.isnan(table.query(0))
    assert table.row(0).keys() == table.metrics.keys()


def check_means_are_of_the_seeds(table: Table) -> None:
    """A value without a seed is the mean over those that were measured."""
    for name, metric in table.metrics.items():
        by_seed = np.array([table.column(name, seed) for seed in range(metric.seeds)])
        measured = np.isfinite(by_seed).any(axis=0)
        mean = np.nanmean(by_seed[:, measured], axis=0)
        np.testing.assert_allclose(table.column(name)[measured], mean, rtol=1e-12)
        assert np.isnan(table.column(name)[~measured]).all()


def check_curves_are_of_the_amounts(table: Table) -> None:
    """A curve holds what queries at its amounts give, and nothing else was measured of its row."""
    axis = table.fidelities
    if axis is None:
        return
    rows = ranks(table)[:20].tolist()
    for name, metric in table.metrics.items():
        for seed in (None, *range(metric.seeds)) if metric.curve else ():
            for row in rows:
                curve = table.curve(row, name, seed)
                assert set(curve.amounts.tolist()) <= set(axis.amounts)
                assert np.isfinite(curve.values).all()
                for amount, value in zip(curve.amounts.tolist(), curve.values.tolist(), strict=True):
                    assert table.query(row, name, seed, amount) == value
                    assert table.row(row, seed, amount)[name] == value
                missing = [amount for amount in axis.amounts if amount not in curve.amounts]
                assert all(np.isnan(table.query(row, name, seed, amount)) for amount in missing[:3])


def check_metrics_are_in_range(table: Table) -> None:
    """Percentages lie between 0 and 100, times and sizes are not negative, logarithms exist; the objective is known."""
    assert table.objective.split != "test", "a search would be after what only the test split tells"
    for name, metric in table.metrics.items():
        values = table.column(name)
        values = values[np.isfinite(values)]
        assert len(values), f"{name} was never measured"
        if metric.unit == "percent":
            assert values.min() >= 0
            assert values.max() <= 100
        if metric.unit in ("seconds", "parameters", "millions"):
            assert values.min() >= 0
        if metric.log:
            assert values.min() > 0


def check_best_is_best(table: Table) -> None:
    """The best rows stand first, have regret 0 and place 1; the median row has regret 1."""
    for name, metric in table.metrics.items():
        best = table.best(name, n=3)
        losses = table.losses(name)
        assert losses[table.rank(best[0].genome)] == losses.min()
        sign = 1 if metric.direction == "min" else -1
        assert sorted(best, key=lambda row: sign * row.value) == best
        assert table.place(best[0].genome, name) == 1
        order = np.argsort(losses, kind="stable")
        regret = table.regret(order, name)
        assert regret[0] == 0
        assert np.isfinite(regret).all()
        assert (np.diff(regret) >= 0).all()
        measured = np.isfinite(losses).sum()
        if losses[order[(measured - 1) // 2]] > losses.min():
            assert np.isclose((regret[(measured - 1) // 2] + regret[measured // 2]) / 2, 1)


def _alone(table: Table) -> Callable[[Item, str | None, int | None], np.ndarray]:
    """A query of many for one item."""
    return lambda item, metric, seed: table.query_many([item], metric, seed)


def check_refuses_what_is_not_there(table: Table) -> None:
    """Unknown metrics, seeds and rows are refused, whoever asks."""
    wrong: list[tuple[Item, str | None, int | None]] = [
        (0, "no such metric", None),
        (0, None, table.objective.seeds),
        (0, None, -1),
        (len(table), None, None),
        (-1, None, None),
        ("nonsense", None, None),
        ({"nonsense": 1}, None, None),
    ]
    for item, metric, seed in wrong:
        for ask in (table.query, _alone(table)):
            try:
                ask(item, metric, seed)
            except ValueError:
                continue
            raise AssertionError(f"{item!r}, {metric!r}, {seed!r} was answered")
    try:
        table.query_many(np.array([0, len(table)]))
    except InvalidTable:
        return
    raise AssertionError("a row past the last was answered")


def check_columns_cannot_be_written(table: Table) -> None:
    """Nobody changes a table by what it gives."""
    assert not table.column().flags.writeable


def check_written_again(table: Table) -> None:
    """What is written from its own columns is the same table; a table pickles as its path."""
    columns = {
        name: np.stack([table.column(name, seed) for seed in range(metric.seeds)], axis=1)
        for name, metric in table.metrics.items()
    }
    curves = {
        name: np.stack(
            [
                np.stack([table.column(name, seed, amount) for amount in table.fidelities.amounts], axis=1)
                for seed in range(metric.seeds)
            ],
            axis=1,
        )
        for name, metric in table.metrics.items()
        if metric.curve and table.fidelities is not None
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.arrow"
        listed = table.description.listed
        texts = [table.genome(row).text for row in range(len(table))] if listed else []
        Table.write(path, table.description, columns, texts, curves)
        copy = Table(path)
        assert copy.description == table.description
        assert copy.checksum == table.checksum
        copy.verify()
        for name in table.metrics:
            np.testing.assert_array_equal(copy.column(name), table.column(name))
        for name, values in curves.items():
            first, last = (table.fidelities.amounts[k] for k in (0, -1)) if table.fidelities else (0, 0)
            np.testing.assert_array_equal(copy.column(name, 0, first), values[:, 0, 0])
            np.testing.assert_array_equal(copy.column(name, 0, last), values[:, 0, -1])
    assert pickle.loads(pickle.dumps(table)).query(0) == table.query(0) or np.isnan(table.query(0))


table_checks = (
    check_rows_are_found,
    check_many_equals_single,
    check_means_are_of_the_seeds,
    check_curves_are_of_the_amounts,
    check_metrics_are_in_range,
    check_best_is_best,
    check_refuses_what_is_not_there,
    check_columns_cannot_be_written,
    check_written_again,
)
