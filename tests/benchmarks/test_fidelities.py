"""Tables whose metrics were measured along training."""

import dataclasses
import pickle
import re

import numpy as np
import pytest
from made_up import AMOUNTS, CURVED, DESCRIPTION, columns, curved_columns, curves

from benchmarks import Fidelities, InvalidTable, Metric, Table
from benchmarks.testing import table_checks


@pytest.mark.parametrize("check", table_checks, ids=lambda check: check.__name__)
def test_conformance_of_curves(check, curved):
    check(curved)


def test_values_along_training(curved):
    given = curves()["valid_acc"]
    assert curved.query(5, fidelity=12) == np.mean(given[5, :, 1])
    assert curved.query(5, seed=1, fidelity=1) == given[5, 1, 0]
    assert curved.query(5, fidelity=200) == curved.query(5)
    assert curved.query(7, fidelity=12) == given[7, 0, 1], "the only seed that was measured"
    assert np.isnan(curved.query(91, fidelity=12))
    rows = np.arange(len(curved))
    np.testing.assert_array_equal(curved.query_many(rows, seed=0, fidelity=12), given[:, 0, 1])
    amounts, values = curved.curve(curved.genome(5), "valid_acc", seed=0)
    assert amounts.tolist() == [*AMOUNTS]
    np.testing.assert_array_equal(values, given[5, 0])
    assert curved.curve(13, "train_loss").amounts.tolist() == [1]
    assert curved.curve(91).amounts.tolist() == []


def test_rows_and_times_along_training(curved):
    whole = curved.row(5)
    assert whole.keys() == curved.metrics.keys()
    early = curved.row(5, fidelity=12)
    assert early.keys() == {"valid_acc", "train_loss", "train_time"}, "all else was measured at the end"
    assert early["train_time"] == pytest.approx(whole["train_time"] * 12 / 200)
    assert early["valid_acc"] == curved.query(5, "valid_acc", fidelity=12)
    assert curved.row(5, seed=1)["valid_acc"] == curved.query(5, "valid_acc", seed=1)
    assert curved.lengths[[5, 13, 91]].tolist() == [200, 200, 1]
    assert curved.seconds(5) == whole["train_time"]


def test_filters_along_training(curved):
    accuracy = curved.column("valid_acc", fidelity=12)
    rows = curved.filter("valid_acc > 49", fidelity=12)
    np.testing.assert_array_equal(rows, np.flatnonzero(accuracy > 49))
    assert set(rows.tolist()) < set(curved.filter("valid_acc > 49").tolist())
    assert curved.best("valid_acc", 3, 12, rows)[0].value == np.nanmax(accuracy)
    edge = next(iter(curved.space.fields))
    both = curved.filter("train_time < 3", f"{edge} == none", fidelity=12)
    none = curved.filter(f"{edge} == none").tolist()
    assert both.tolist() == [row for row in none if curved.seconds(row, 12) < 3]
    with pytest.raises(
        InvalidTable, match="'test_acc' was measured at the end of training only; along it: valid_acc"
    ):
        curved.filter("test_acc > 5", fidelity=12)
    with pytest.raises(
        InvalidTable, match="'valid_acc' was not measured after 13 epochs; nearest: 12 or 200"
    ):
        curved.filter("valid_acc > 5", fidelity=13)


def test_a_time_with_a_curve_is_taken_from_it(tmp_path):
    times = np.cumsum(np.random.default_rng(3).uniform(1, 2, (15_625, 1, 2)), axis=2)
    description = dataclasses.replace(
        DESCRIPTION,
        metrics=(
            Metric("valid_acc", "max", "percent", split="valid"),
            Metric("train_time", "min", "seconds", curve=True),
        ),
        fidelities=Fidelities("epochs", (3, 9)),
    )
    ends = {"valid_acc": columns()["valid_acc"][:, 0], "train_time": times[:, 0, -1]}
    Table.write(tmp_path / "t.arrow", description, ends, curves={"train_time": times})
    table = Table(tmp_path / "t.arrow")
    assert table.seconds(4, 3) == times[4, 0, 0]
    assert table.row(4, fidelity=3) == {"train_time": times[4, 0, 0]}


def test_rows_end_where_they_were_last_measured(tmp_path):
    values = np.ones((15_625, 1, 3))
    values[0, 0, 2] = values[1, 0, 1:] = np.nan
    description = dataclasses.replace(
        CURVED,
        metrics=(
            Metric("loss", "min", "nats", split="valid", curve=True),
            Metric("train_time", "min", "seconds"),
        ),
        objective="loss",
    )
    ends = {"loss": np.ones(15_625), "train_time": np.full(15_625, 60.0)}
    Table.write(tmp_path / "t.arrow", description, ends, curves={"loss": values})
    table = Table(tmp_path / "t.arrow")
    assert table.lengths[:3].tolist() == [12, 1, 200]
    assert table.seconds(0, 1) == 5
    assert table.seconds(2, 1) == pytest.approx(0.3)


def test_best_early_in_training(curved):
    early = curved.best(n=2, fidelity=1)
    assert early[0].value == np.nanmax(curved.column(fidelity=1))
    assert curved.place(early[1].genome, fidelity=1) == 2


@pytest.mark.parametrize(
    "ask, message",
    [
        (
            lambda table: table.query(0, fidelity=13),
            "'valid_acc' was not measured after 13 epochs; nearest: 12 or 200, of 3 from 1 to 200",
        ),
        (
            lambda table: table.column("train_loss", fidelity=500),
            "'train_loss' was not measured after 500 epochs; nearest: 200, of 3 from 1 to 200",
        ),
        (
            lambda table: table.query(0, "test_acc", fidelity=12),
            "'test_acc' was measured at the end of training only; along it: valid_acc, train_loss",
        ),
        (
            lambda table: table.curve(0, "loss"),
            "'loss' was measured at the end of training only; along it: valid_acc, train_loss",
        ),
        (lambda table: table.curve(0, seed=2), "'valid_acc' has seeds 0 to 1, not 2"),
    ],
)
def test_refused_along_training(curved, ask, message):
    with pytest.raises(InvalidTable) as caught:
        ask(curved)
    assert str(caught.value) == f"table 'made-up/curves': {message}"


def test_a_table_without_curves_has_none(made_up):
    with pytest.raises(InvalidTable, match="was measured at the end of training only; along it: none"):
        made_up.curve(0)
    assert made_up.fidelities is None


@pytest.mark.parametrize(
    "change, given, message",
    [
        (
            {},
            {"valid_acc": None},
            "the metrics with curves are ['valid_acc', 'train_loss'], but curves are given of ",
        ),
        (
            {},
            {"valid_acc": np.ones((15_625, 2, 2))},
            "the curves of 'valid_acc' are [15625, 2, 2], but must be ",
        ),
        ({"fidelities": None}, {}, "there must be fidelities where metrics have curves, and only there"),
        (
            {"fidelities": Fidelities("epoch", (1, 3, 9))},
            {},
            "training is counted in 'epoch', did you mean 'epochs'? allowed: epochs, steps, tokens",
        ),
        (
            {"fidelities": Fidelities("epochs", (1, 1, 3))},
            {},
            "amounts of training must be positive and ascending",
        ),
        (
            {"fidelities": Fidelities("epochs", (0, 1, 3))},
            {},
            "amounts of training must be positive and ascending",
        ),
        (
            {},
            {"train_loss": np.full((15_625, 1, 3), np.inf)},
            "'train_loss' must be finite in some rows and NaN in",
        ),
    ],
)
def test_curves_that_cannot_be(tmp_path, change, given, message):
    description = dataclasses.replace(CURVED, **change)
    along = {key: value for key, value in (curves() | given).items() if value is not None}
    with pytest.raises(InvalidTable, match="^" + re.escape(f"table 'made-up/curves': {message}")):
        Table.write(tmp_path / "t.arrow", description, curved_columns(), curves=along)
    assert list(tmp_path.iterdir()) == []


def test_pickled_with_its_objective(curved):
    table = Table(curved.path, "test_acc")
    assert table.objective.name == "test_acc"
    assert pickle.loads(pickle.dumps(table)).objective.name == "test_acc"
    with pytest.raises(InvalidTable, match="has no metric 'test_ac', did you mean 'test_acc'"):
        Table(curved.path, "test_ac")
