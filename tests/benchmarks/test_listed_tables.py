"""Tables that list some genomes of a space."""

import dataclasses
import re

import numpy as np
import pytest
from made_up import DESCRIPTION

import spaces
from benchmarks import InvalidTable, Metric, Table
from benchmarks.distance import edits
from benchmarks.testing import table_checks

LISTED = dataclasses.replace(
    DESCRIPTION,
    space="hybrid",
    io={"tokens": {"vocab": 64, "width": 32}},
    options={"operators": 8},
    listed=True,
    metrics=(Metric("loss", "min", "nats", split="valid"),),
    objective="loss",
)


ONE = "stack(layers=[residual(body=swiglu(mult=1))], repeat=1)"


def test_of_rows_that_differ_in_as_many_fields_the_nearest_in_value_come_first(tmp_path):
    space = spaces.load("mlp")
    first = space.values(space.unrank(0))
    batches, units = (space.fields[name].values for name in ("batch_size", "n_units_1"))
    assert space.fields["batch_size"].ordered
    assert not space.fields["lr_schedule"].ordered
    changes = (
        {"batch_size": batches[3]},
        {"batch_size": batches[1], "n_units_1": units[1]},
        {"n_units_1": units[2]},
        {},
        {"batch_size": batches[1]},
        {"lr_schedule": space.fields["lr_schedule"].values[1]},
        {"n_units_1": units[1]},
    )
    texts = [space.genome(**{**first, **change}).text for change in changes]
    made = dataclasses.replace(LISTED, space="mlp", io={"vector": {"features": 9, "outputs": 1}}, options={})
    Table.write(tmp_path / "mlp.arrow", made, {"loss": np.arange(7.0)}, texts)
    table = Table(tmp_path / "mlp.arrow")
    near = table.nearest(space.unrank(0), 7)
    assert [each.row for each in near] == [3, 6, 4, 2, 0, 5, 1]
    assert [each.distance for each in near] == [0, 1, 1, 1, 1, 1, 2]
    assert table.nearest_rows(space.unrank(0)).tolist() == [each.row for each in near]


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """Thirty genomes of the hybrid space, with losses that nobody measured."""
    space = spaces.load("hybrid", spaces.tokens(64, 32), operators=8)
    texts = sorted({space.sample(np.random.default_rng(seed)).text for seed in range(30)})
    path = tmp_path_factory.mktemp("listed") / "table.arrow"
    Table.write(path, LISTED, {"loss": np.arange(1.0, len(texts) + 1)}, texts)
    return Table(path)


@pytest.mark.parametrize("check", table_checks, ids=lambda check: check.__name__)
def test_conformance_of_a_list(check, listed):
    check(listed)


def test_a_genome_of_a_list_may_be_written_otherwise(listed):
    text = listed.genome(3).text
    assert listed.rank(text.replace("(", "( ").replace(",", " , ")) == 3
    genome = listed.space.sample(np.random.default_rng(99))
    for item in (genome, genome.text):
        with pytest.raises(
            InvalidTable, match=re.escape(f"has no row of the genome {genome.text!r}; nearest: row ")
        ):
            listed.query(item)


def test_nearest_rows_of_a_list(listed):
    near = listed.nearest(listed.genome(7), 30)
    assert (near[0].row, near[0].distance) == (7, 0)
    assert [each.distance for each in near] == sorted(listed.distances(7))
    child = listed.space.mutate(listed.genome(7), np.random.default_rng(0))
    texts = [listed.genome(row).text for row in range(len(listed))]
    distances = edits(texts, child.text)
    assert listed.nearest(child, 1)[0][::2] == (distances.argmin(), distances.min())


@pytest.mark.parametrize(
    "texts, message",
    [
        ([], "lists its genomes, but was given none"),
        ([f"{ONE} "], f"must be listed as it is written: {ONE!r}"),
        ([ONE] * 2, "stands in more than one row"),
    ],
)
def test_a_list_that_cannot_be(tmp_path, texts, message):
    with pytest.raises(InvalidTable, match=re.escape(message)):
        Table.write(tmp_path / "table.arrow", LISTED, {"loss": np.ones(len(texts))}, texts)


@pytest.mark.parametrize("said", [0.1, "0.1", [], [0.1, 0.1], {"low": 0.1}, {"low": 1, "high": 0.1}])
def test_hyperparameters_are_lists_or_ranges(said):
    with pytest.raises(InvalidTable) as error:
        dataclasses.replace(LISTED, hyperparameters={"lr": said}).load_space()
    assert f"hyperparameter 'lr' is {said!r}, but must be a list of values or a range as " in str(error.value)
