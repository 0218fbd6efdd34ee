"""Queries of tables, and what is no table."""

import dataclasses
import functools
import pickle
import re

import numpy as np
import pyarrow
import pytest
from made_up import DESCRIPTION, columns

import benchmarks
import spaces
from benchmarks import Description, InvalidTable, Metric, Table
from benchmarks.distance import TOKEN, edits
from benchmarks.rows import MANY
from spaces import InvalidGenome

pytestmark = pytest.mark.usefixtures("cache")


SAME = "the metrics are ['valid_acc', 'test_acc', 'loss', 'train_time'], but the columns"


def test_query(made_up):
    data = columns()["valid_acc"]
    genome = made_up.space.unrank(5)
    assert made_up.query(genome) == made_up.query(genome.text, "valid_acc") == np.mean(data[5])
    assert made_up.query(5, seed=1) == data[5, 1]
    assert made_up.query(7) == made_up.query(7, seed=0) == data[7, 0]
    assert np.isnan(made_up.query(7, seed=1))
    assert np.isnan(made_up.query(91))
    assert made_up.place(91) > made_up.place(5)
    assert repr(made_up) == "Table('made-up/cells', 15,625 rows, valid_acc, test_acc, loss, train_time)"


def test_regret_compares_decades(made_up):
    losses = np.log10(made_up.column("loss"))
    expected = (losses - losses.min()) / (np.median(losses) - losses.min())
    np.testing.assert_allclose(made_up.regret(np.arange(len(made_up)), "loss"), expected)


@pytest.mark.parametrize(
    "ask, message",
    [
        (
            lambda table: table.query(0, "valid_ac"),
            "table 'made-up/cells' has no metric 'valid_ac', did you mean 'valid_acc'? allowed: valid_acc, "
            "test_acc, loss, train_time",
        ),
        (lambda table: table.query(0, seed=2), "table 'made-up/cells': 'valid_acc' has seeds 0 to 1, not 2"),
        (lambda table: table.query(15625), "table 'made-up/cells' has the rows 0 to 15624, not 15625"),
        (
            lambda table: table.query_many(np.array([-1])),
            "table 'made-up/cells' has the rows 0 to 15624, not all that are asked",
        ),
    ],
)
def test_refused(made_up, ask, message):
    with pytest.raises(InvalidTable) as caught:
        ask(made_up)
    assert str(caught.value) == message


def test_an_unknown_architecture_is_refused(made_up):
    with pytest.raises(InvalidGenome, match="unknown operator 'conv_3x3', did you mean 'nor_conv_3x3'"):
        made_up.query("|conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|")


def test_another_objective_by_name(made_up):
    assert benchmarks.load(f"{made_up.path}:test_acc").objective.name == "test_acc"
    assert benchmarks.load("nasbench_graph/cora:test_acc").objective.split == "test"
    assert benchmarks.load("nasbench_graph/cora").objective.split == "valid"
    with pytest.raises(InvalidTable, match="has no metric 'test', did you mean 'test_acc'"):
        benchmarks.load(f"{made_up.path}:test")


def test_quantile(made_up):
    losses = np.sort(made_up.column("loss"))
    assert made_up.quantile(losses[0] / 2, "loss") == 0
    assert made_up.quantile(losses[99], "loss") == pytest.approx(100 / len(losses))
    assert made_up.quantile(200) == 0, "of accuracy more is better"
    assert made_up.quantile(0) == 1


def test_neighbours_differ_in_one_choice(made_up):
    near = made_up.neighbours(4711)
    values = made_up.space.values(made_up.genome(4711))
    assert len(near) == 6 * 4
    for row in near.tolist():
        other = made_up.space.values(made_up.genome(row))
        assert sum(values[key] != other[key] for key in values) == 1


def described(**changes):
    return dataclasses.replace(DESCRIPTION, **changes)


def metric(name, **changes):
    return tuple(
        dataclasses.replace(metric, **changes) if metric.name == name else metric
        for metric in DESCRIPTION.metrics
    )


@pytest.mark.parametrize(
    "description, change, message",
    [
        (
            DESCRIPTION,
            {"loss": None},
            f"{SAME} ['valid_acc', 'test_acc', 'train_time']; they must be the same",
        ),
        (
            DESCRIPTION,
            {"more": np.zeros(15625)},
            f"{SAME} ['valid_acc', 'test_acc', 'loss', 'train_time', 'more']; ",
        ),
        (DESCRIPTION, {"valid_acc": np.zeros(15625)}, "'valid_acc' is [15625, 1], but must be [15625, 2]: "),
        (
            DESCRIPTION,
            {"loss": np.zeros(3)},
            "'loss' is [3, 1], but must be [15625, 1]: a row for each genome, ",
        ),
        (DESCRIPTION, {"loss": np.zeros(15625)}, "'loss' has no logarithm in a row of 0"),
        (DESCRIPTION, {"test_acc": ["x"] * 15625}, "'test_acc' holds what is no number: "),
        (
            DESCRIPTION,
            {"test_acc": np.full(15625, np.nan)},
            "'test_acc' must be finite in some rows and NaN in all ",
        ),
        (
            DESCRIPTION,
            {"train_time": np.where(np.arange(15625) == 5, np.nan, 1.0)},
            "'train_time' must be known, and not negative, wherever the objective is, but is nan of the genome "
            "'|none~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|'",
        ),
        (
            described(objective="valid_ac"),
            {},
            "no metric for the objective 'valid_ac', did you mean 'valid_acc'? ",
        ),
        (
            described(metrics=metric("loss", direction="minimise")),
            {},
            "'loss' has the direction 'minimise'; allowed: ",
        ),
        (described(metrics=metric("loss", seeds=0)), {}, "'loss' is [15625, 1], but must be [15625, 0]: "),
        (
            described(metrics=metric("test_acc", split="valid")),
            {},
            "'test_acc' is called as of the test split, but said to be of valid",
        ),
        (
            described(metrics=(*DESCRIPTION.metrics, Metric("acc_test", "max", "percent"))),
            {"acc_test": np.ones(15625)},
            "'acc_test' is called as of the test split, but said to be of None",
        ),
        (
            described(metrics=(*DESCRIPTION.metrics, Metric("f1_valid", "max", "share", split="test"))),
            {"f1_valid": np.ones(15625)},
            "'f1_valid' is called as of the valid split, but said to be of test",
        ),
        (
            described(metrics=metric("loss", split="tests")),
            {},
            "'loss' has the split 'tests', did you mean 'test'? allowed: train, valid, test",
        ),
        (
            described(objective="test_acc"),
            {},
            "the objective 'test_acc' is of the test split, which a search must not see",
        ),
        (
            described(io={"text": {"vocab": 3}}),
            {},
            "io is {'text': {'vocab': 3}}, but must be one of image, nodes, tokens, vector",
        ),
        (
            described(io={}),
            {},
            "io is {}, but must be one of image, nodes, tokens, vector with its sizes, as in ",
        ),
        (
            described(
                metrics=(*DESCRIPTION.metrics, Metric("valid_acc_seed0", "max", "percent", split="valid"))
            ),
            {"valid_acc_seed0": np.ones(15625)},
            "a metric is called as the seed or the curve of another: ",
        ),
    ],
)
def test_what_contradicts_itself_is_not_written(tmp_path, description, change, message):
    given = {key: value for key, value in (columns() | change).items() if value is not None}
    with pytest.raises(InvalidTable, match="^" + re.escape(f"table 'made-up/cells': {message}")):
        Table.write(tmp_path / "table.arrow", description, given)
    assert list(tmp_path.iterdir()) == []


def test_arrow_arrays_are_looked_up():
    import pyarrow

    table = benchmarks.load("nasbench201/cifar10")
    rows = np.arange(0, 15_625, 9)
    wanted = table.query_many(rows)
    np.testing.assert_array_equal(table.query_many(pyarrow.array(rows)), wanted)
    texts = pyarrow.array([table.genome(row).text for row in rows.tolist()])
    np.testing.assert_array_equal(table.query_many(texts), wanted)
    np.testing.assert_array_equal(table.query_many(pyarrow.chunked_array([texts[:5]])), wanted[:5])


def test_regret_is_known_of_every_row(tmp_path):
    loss = np.where(np.arange(15625) % 3 == 0, np.arange(15625) + 1.0, np.nan)
    description = described(metrics=(Metric("loss", "min", "", split="valid"),), objective="loss")
    Table.write(tmp_path / "table.arrow", description, {"loss": loss})
    regret = Table(tmp_path / "table.arrow").regret(np.array([0, 1, 15624]))
    assert regret.tolist() == [0, 2, 2], (
        "what was not measured counts as the worst, twice as far as the median"
    )
    for values in (np.ones(15625), np.where(np.arange(15625) == 7, 3.0, 1.0)):
        Table.write(tmp_path / "table.arrow", description, {"loss": values})
        assert Table(tmp_path / "table.arrow").regret([6, 7]).tolist() == [0, values[7] > 1]


@pytest.mark.parametrize("item", [1.7, True, None, np.float64(2), 15625, -1])
def test_what_is_no_row_is_refused(made_up, item):
    for ask in (made_up.query, made_up.place, lambda item: made_up.regret([item])):
        with pytest.raises(InvalidTable, match=re.escape(f"has the rows 0 to 15624, not {item!r}")):
            ask(item)
    with pytest.raises(InvalidTable):
        made_up.query_many(np.array([True, False]))
    with pytest.raises(InvalidTable, match="n = 0, but it must be at least 1"):
        made_up.best(n=0)


def test_a_space_without_ranks_has_no_tables(tmp_path):
    description = Description("mine", "", "hybrid", {"image": {}}, "x", (Metric("x", "min", ""),), "", "", "")
    with pytest.raises(ValueError, match="space 'hybrid' reads tokens"):
        Table.write(tmp_path / "table.arrow", description, {"x": np.zeros(3)})


def test_what_is_no_table_is_refused(tmp_path):
    path = tmp_path / "mine.arrow"
    path.write_bytes(b"nothing")
    for call in (Table, lambda path: benchmarks.load(str(path))):
        with pytest.raises(InvalidTable, match=f"^{re.escape(str(path))} is no table: "):
            call(path)
    with pytest.raises(
        InvalidTable, match=r"^there is no file .*/mine\.arow\.arrow, did you mean 'mine\.arrow'\?$"
    ):
        benchmarks.load(str(tmp_path / "mine.arow.arrow"))


def test_genomes_of_another_process(made_up):
    genome = pickle.loads(pickle.dumps(made_up.space.unrank(77)))
    assert made_up.rank(genome) == 77
    assert made_up.rank(spaces.load("nasbench201").unrank(77)) == 77


def test_nearest_rows_of_a_product(made_up):
    codes = np.array([made_up.space.code(made_up.genome(row).text) for row in range(len(made_up))])
    expected = (codes != codes[77]).sum(axis=1)
    np.testing.assert_array_equal(made_up.distances(77), expected)
    near = made_up.nearest(made_up.genome(77), 30)
    assert [each.row for each in near] == np.argsort(expected, kind="stable")[:30].tolist()
    assert [each.distance for each in near] == [0] + [1] * 24 + [2] * 5
    assert near[0].genome == made_up.genome(77)
    with pytest.raises(InvalidTable, match="n = 0, but it must be at least 1"):
        made_up.nearest(0, 0)


def test_edits_against_the_plain_table():
    @functools.cache
    def plain(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(plain(a[1:], b) + 1, plain(a, b[1:]) + 1, plain(a[1:], b[1:]) + (a[0] != b[0]))

    words = ["f(a=1)", "f(a=2)", "f()", "g(a=1)", "f(a=1, a=1)", ""]
    for word in words:
        expected = [plain(tuple(TOKEN.findall(each)), tuple(TOKEN.findall(word))) for each in words]
        assert edits(words, word).tolist() == expected


def test_numbers_are_exchanged_for_near_ones_at_less():
    """Numbers that are no whole ones count by how much of both together they differ; whole ones are words."""
    text = "joint(architecture=a(heads=2), lr=0.001)"
    changes = {"0.001": 0.0, "0.003": 0.5, "1e-05": 0.99 / 1.01, "0.0": 1.0, "none": 1.0}
    others = [text.replace("0.001", each) for each in changes]
    np.testing.assert_allclose(edits(others, text), [*changes.values()])
    assert edits([text.replace("2", "3"), text.replace("2", "2.5")], text).tolist() == [1, 1]


def test_the_value_of_a_share(made_up):
    values = np.sort(made_up.column("loss"))
    assert made_up.value_at(0, "loss") == values[0]
    assert made_up.value_at(1, "loss") == values[-1]
    for share in (0.1, 0.5, 0.77):
        value = made_up.value_at(share, "loss")
        assert made_up.quantile(value, "loss") == pytest.approx(share, abs=1e-4)
    accuracy = made_up.column()
    assert made_up.value_at(0) == np.nanmax(accuracy)
    assert made_up.value_at(1) == np.nanmin(accuracy), "rows that were not measured do not count"
    with pytest.raises(InvalidTable, match=r"share = 1\.5, but it must be from 0 to 1"):
        made_up.value_at(1.5)


def test_texts_are_found_alike_once_many_were_asked_for(made_up):
    table = Table(made_up.path)
    texts = [table.genome(row).text for row in range(0, len(table), 13)]
    assert len(texts) > MANY
    assert [*map(table.rank, texts)] == [*range(0, len(table), 13)]
    assert table.rank(f" {texts[5]}") == 5 * 13, "written otherwise, it is parsed"
    with pytest.raises(InvalidGenome, match="is no cell"):
        table.rank("nonsense")


def test_rows_of_one_network(made_up):
    assert made_up.network_count == 5_425, "so many functions the cells compute"
    for text in ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", made_up.genome(77).text):
        same = made_up.same_network(text)
        assert made_up.rank(text) in same
        assert len(same) > 1
        assert {made_up.genome(row).digest for row in same.tolist()} == {made_up.space.parse(text).digest}


def test_many_are_not_one(made_up):
    genome = made_up.genome(5)
    for one in (genome, genome.text, made_up.space.values(genome)):
        with pytest.raises(InvalidTable, match="many rows are asked for by a list or an array, not by a "):
            made_up.query_many(one)


def test_a_seed_that_no_metric_has(made_up):
    for ask in (made_up.row, lambda row, seed: made_up.rows([row], seed)):
        with pytest.raises(InvalidTable, match="'valid_acc' has seeds 0 to 1, not 2"):
            ask(0, seed=2)


def test_many_rows_as_arrow(made_up, curved):
    rows = made_up.rows(made_up.filter("valid_acc > 99"))
    assert rows.column_names == ["row", "text", *made_up.metrics]
    assert rows["text"].to_pylist() == [made_up.genome(row).text for row in rows["row"].to_pylist()]
    np.testing.assert_array_equal(rows["loss"], made_up.query_many(rows["text"], "loss"))
    early = curved.rows(np.array([5, 91]), seed=1, fidelity=12)
    assert early.column_names == ["row", "text", "valid_acc", "train_time", "train_loss"]
    for place, row in enumerate((5, 91)):
        told = {key: early[key][place].as_py() for key in early.column_names[2:]}
        assert told == pytest.approx(curved.row(row, seed=1, fidelity=12), nan_ok=True)
    again = pyarrow.array(made_up.query_many(rows["text"]))
    assert again == rows["valid_acc"].combine_chunks()


def test_a_changed_value_is_noticed(made_up, tmp_path):
    value = made_up.column("loss")[1234]
    data = made_up.path.read_bytes()
    made_up.verify()
    path = tmp_path / "changed.arrow"
    path.write_bytes(data.replace(value.tobytes(), (value + 1).tobytes()))
    changed = Table(path)
    assert changed.query(1234, "loss") == value + 1
    with pytest.raises(InvalidTable, match=f"has the checksum .*, but was written with {made_up.checksum}"):
        changed.verify()
