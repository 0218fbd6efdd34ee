"""Rows chosen by conditions."""

import numpy as np
import pytest

import benchmarks
from benchmarks import InvalidTable

pytestmark = pytest.mark.usefixtures("cache")


def test_filter(made_up):
    accuracy, loss = made_up.column("valid_acc"), made_up.column("loss")
    with np.errstate(invalid="ignore"):
        expected = np.flatnonzero((accuracy > 50) & (loss <= 1.5))
    np.testing.assert_array_equal(made_up.filter("valid_acc > 50", "loss<=1.5"), expected)
    assert len(made_up.filter("valid_acc != -1")) == np.isfinite(accuracy).sum(), "NaN meets nothing"
    assert made_up.filter().tolist() == list(range(len(made_up)))
    edge = next(iter(made_up.space.fields))
    rows = made_up.filter(f"{edge} == nor_conv_3x3")
    assert len(rows) == 3125
    assert {made_up.space.values(made_up.genome(row))[edge] for row in rows[::100].tolist()} == {
        "nor_conv_3x3"
    }
    assert len(made_up.filter(f"{edge} != nor_conv_3x3")) == 4 * 3125
    assert made_up.best(n=2, among=[7, 3]) == made_up.best(n=2, among=np.array([7, 3]))
    with pytest.raises(InvalidTable, match="not 15625"):
        made_up.best(among=[15_625])
    best = made_up.best(n=2, among=made_up.filter("test_acc < 10"))
    assert [made_up.query(row.genome, "test_acc") < 10 for row in best] == [True, True]
    assert best[0].value == np.nanmax(accuracy[made_up.filter("test_acc < 10")])


def test_filter_by_numbers_of_fields():
    table = benchmarks.load("fcnet/naval")
    small = table.filter("n_units_1 < 64", "init_lr == 1e-3", "lr_schedule == cosine")
    values = [table.space.values(table.genome(row)) for row in small[::97].tolist()]
    assert len(small) == 62_208 * 2 // 6 // 6 // 2
    assert all(v["n_units_1"] < 64 and v["init_lr"] == 0.001 and v["lr_schedule"] == "cosine" for v in values)


@pytest.mark.parametrize(
    "condition, message",
    [
        ("valid_acc", "the condition 'valid_acc' is not understood; it must be a name, one of "),
        (
            "valid_ac > 3",
            "table 'made-up/cells' has neither a metric nor a field 'valid_ac', did you mean 'valid_acc'?",
        ),
        ("valid_acc > high", "the condition 'valid_acc > high' compares with 'high', which is no number"),
        (
            "EDGE == conv_3x3",
            "the condition 'EDGE == conv_3x3' names no value of the field, did you mean 'nor_conv_3x3'?",
        ),
        (
            "EDGE < nor_conv_3x3",
            "the condition 'EDGE < nor_conv_3x3' orders what has no order; allowed: ==, !=",
        ),
        ("__import__('os') > 1", "the condition \"__import__('os') > 1\" is not understood"),
    ],
)
def test_conditions_that_are_refused(made_up, condition, message):
    edge = next(iter(made_up.space.fields))
    with pytest.raises(InvalidTable) as caught:
        made_up.filter(condition.replace("EDGE", edge))
    assert str(caught.value).startswith(message.replace("EDGE", edge))
