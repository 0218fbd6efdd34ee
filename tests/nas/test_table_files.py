"""Tables from files of measurements."""

import csv
import re
import sys

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

import benchmarks
from benchmarks.testing import table_checks
from nas.cli import main
from nas.tables import read_file
from nas.types import InvalidInput

SPACE = """
from spaces import ProductSpace, choice, vector

def svm(io=vector(features=8)):
    return ProductSpace("svm", {"kernel": choice("rbf", "linear"), "c": choice(0.1, 1, 10, ordered=True)}, io)
"""

TOML = """
name = "mine/svm"
file = "runs.csv"
space = "own_svm:svm"
io = {vector = {features = 8}}
objective = "valid_error"
[fields]
c = "C"
[metrics.valid_error]
columns = ["error_1", "error_2"]
direction = "min"
unit = "percent"
split = "valid"
scale = 100
[metrics.train_time]
columns = ["seconds"]
direction = "min"
unit = "seconds"
"""

ROWS = [
    {"kernel": "rbf", "C": 0.1, "error_1": 0.30, "error_2": 0.32, "seconds": 5},
    {"kernel": "rbf", "C": 1, "error_1": 0.20, "error_2": 0.24, "seconds": 6},
    {"kernel": "linear", "C": 10.000001, "error_1": 0.40, "error_2": "", "seconds": 7},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("own_svm", None)
    (tmp_path / "own_svm.py").write_text(SPACE)
    (tmp_path / "svm.toml").write_text(TOML)
    write(tmp_path, ROWS)
    yield tmp_path
    sys.modules.pop("own_svm", None)


def write(folder, rows):
    with (folder / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_csv_file_becomes_a_table(folder):
    table = read_file(folder / "svm.toml", folder / "svm.arrow")
    for check in table_checks:
        check(table)
    assert len(table) == 6
    assert table.query({"kernel": "rbf", "c": 1}) == pytest.approx(22)
    assert table.query("svm(kernel=rbf, c=0.1)", seed=1) == pytest.approx(32)
    assert table.query("svm(kernel=linear, c=10)") == pytest.approx(40), (
        "the mean of those that were measured"
    )
    assert np.isnan(table.query("svm(kernel=linear, c=1)"))
    assert table.best()[0].genome.text == "svm(kernel=rbf, c=1)"


def test_parquet_by_text_with_a_choice_of_rows_and_runs_of_one_genome(folder):
    one, two = "residual(body=swiglu(mult=1))", "residual(body=mlp(mult=2, activation=gelu))"
    texts = [f"stack(layers=[{layer}], repeat=2)" for layer in (one, two, one, one)]
    rows = {"text": texts, "loss": [3.0, 2.0, 4.0, 9.0], "corpus": ["a", "a", "a", "b"]}
    parquet.write_table(pyarrow.table(rows), folder / "runs.parquet")
    (folder / "lm.toml").write_text("""
name = "mine/lm"
file = "runs.parquet"
space = "hybrid"
io = {tokens = {vocab = 64, width = 32}}
options = {operators = 4}
text = "text"
objective = "valid_loss"
where = {corpus = "a"}
repeats = true
[metrics.valid_loss]
columns = ["loss"]
direction = "min"
split = "valid"
""")
    table = read_file(folder / "lm.toml", folder / "lm.arrow")
    for check in table_checks:
        check(table)
    assert len(table) == 2
    assert table.query(texts[0]) == 3.5
    assert [table.query(texts[0], seed=seed) for seed in (0, 1)] == [3.0, 4.0]
    assert table.query(texts[1]) == 2.0


def test_another_export_of_fcnet_is_the_table(shared_data, folder, cache):
    columns = ", ".join(f'"valid_mse_seed{seed}"' for seed in range(4))
    (folder / "naval.toml").write_text(f"""
name = "mine/naval"
file = "{shared_data("fcnet_naval_propulsion.parquet")}"
space = "mlp"
io = {{vector = {{features = 15, outputs = 1}}}}
objective = "valid_mse"
[metrics.valid_mse]
columns = [{columns}]
direction = "min"
split = "valid"
log = true
""")
    table = read_file(folder / "naval.toml", folder / "naval.arrow")
    np.testing.assert_array_equal(table.column(), benchmarks.load("fcnet/naval").column("valid_mse"))


def test_the_command(folder, capsys, cache):
    out = folder / "svm.arrow"
    assert main(["bench", "add", str(folder / "svm.toml"), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"mine/svm: 6 rows, valid_error, train_time\nKept in {out}\n"
    assert main(["bench", "best", str(out)]) == 0
    assert capsys.readouterr().out.split() == [
        "valid_error,",
        "percent",
        "genome",
        "22",
        "svm(kernel=rbf,",
        "c=1)",
    ]
    assert main(["bench", "add", "nasbench201/cifar10"]) == 0
    assert "nasbench201/cifar10: 15,625 rows" in capsys.readouterr().out
    for arguments, message in (
        (["nasbench201/cifar10", "--out", "x.arrow"], "--out is for tables of a file"),
        ([str(folder / "svm.toml")], "--out says where the table of"),
    ):
        assert main(["bench", "add", *arguments]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('file = "runs.csv"', 'file = "run.csv"', "'file' is 'run.csv', which is not in "),
        ('c = "C"', 'c = "D"', "'fields.c' is 'D', a column that runs.csv does not have; it has"),
        ('c = "C"', 'k = "C"', "unknown key 'fields.k'; allowed: kernel, c"),
        (
            '["seconds"]',
            '["second"]',
            "'metrics.train_time.columns' is 'second', a column that runs.csv does not",
        ),
        ('["seconds"]', '["kernel"]', "runs.csv: column 'kernel' holds what is no number: "),
        ("scale = 100", "scal = 100", "unknown key 'metrics.valid_error.scal', did you mean "),
        (
            'direction = "min"\nunit = "p',
            'unit = "p',
            "missing key 'metrics.valid_error.direction', it must be",
        ),
        ("[fields]", "where = {kernel = 'poly'}\n[fields]", "'where' chooses no row of runs.csv"),
        (
            'space = "own_svm:svm"',
            'space = "hybrid"',
            "space 'hybrid' reads tokens, but it was given VectorIO",
        ),
        ("name = ", "nam = ", "unknown key 'nam', did you mean 'name'? "),
        (
            'objective = "valid_error"',
            'objective = "valid_eror"',
            "no metric for the objective 'valid_eror', did",
        ),
    ],
)
def test_what_is_wrong_is_told(folder, old, new, message):
    assert old in TOML
    (folder / "svm.toml").write_text(TOML.replace(old, new, 1))
    with pytest.raises(InvalidInput) as error:
        read_file(folder / "svm.toml", folder / "svm.arrow")
    assert message.partition("; it has")[0] in str(error.value)
    assert not (folder / "svm.arrow").exists()


@pytest.mark.parametrize(
    "row, message",
    [
        ({"kernel": "rbf", "C": 2}, r"runs\.csv, row 4: c = 2"),
        ({"kernel": "rbff", "C": 1}, r"runs\.csv, row 4: kernel = 'rbff', did you mean 'rbf'\?"),
        ({"kernel": "rbf", "C": 1}, r"runs\.csv, row 2 and runs\.csv, row 4 are one genome; if they are"),
    ],
)
def test_a_wrong_row_is_named(folder, row, message):
    write(folder, [*ROWS, {"error_1": 0, "error_2": 0, "seconds": 1} | row])
    with pytest.raises(InvalidInput, match=message):
        read_file(folder / "svm.toml", folder / "svm.arrow")


def test_text_without_a_genome_is_told(folder):
    (folder / "svm.toml").write_text(TOML.replace("[fields]", 'text = "kernel"\n[fields]'))
    with pytest.raises(InvalidInput, match=re.escape("runs.csv, row 1: ")):
        read_file(folder / "svm.toml", folder / "svm.arrow")


RUNS = """
name = "mine/runs"
file = "runs.parquet"
space = "spaces.catalog.language_models:LanguageModels"
io = {tokens = {}}
objective = "valid_loss"
along = {column = "step", unit = "steps"}
[fields]
width = "d"
batch = {columns = ["sequences", "length"], scale = 2}
recipe = {columns = ["data", "schedule"]}
family = {value = "mine"}
[metrics.valid_loss]
columns = ["loss"]
direction = "min"
split = "valid"
curve = true
[metrics.parameters]
columns = ["size"]
direction = "min"
"""

TRAINED = {
    "d": [32, 32, 32, 64, 64],
    "sequences": [4, 4, 4, 8, 8],
    "length": [16] * 5,
    "data": ["a"] * 5,
    "schedule": ["cosine"] * 5,
    "step": [0, 20, 10, 10, 20],
    "loss": [9.0, 2.0, 3.0, 2.5, None],
    "size": [100, 100, 100, 400, 400],
}


def trained(folder, toml=RUNS, **changes):
    parquet.write_table(pyarrow.table({**TRAINED, **changes}), folder / "runs.parquet")
    (folder / "runs.toml").write_text(toml)
    return read_file(folder / "runs.toml", folder / "runs.arrow")


def test_rows_along_training_are_runs(folder):
    table = trained(folder)
    for check in table_checks:
        check(table)
    small = 'language_model(family=mine, width=32, batch=128, recipe="a-cosine")'
    assert [table.genome(row).text for row in range(2)] == [
        small,
        small.replace("32", "64").replace("128", "256"),
    ]
    assert table.curve(small).amounts.tolist() == [10, 20], "what was measured before training is left out"
    assert table.curve(small).values.tolist() == [3.0, 2.0]
    assert table.query(small) == 2.0
    assert np.isnan(table.query(1)), "it ended without a loss"
    assert table.query(1, fidelity=10) == 2.5
    assert table.query_many([0, 1], "parameters").tolist() == [100, 400]


def test_runs_of_one_genome_and_a_second_file(folder):
    runs = {"run": ["p", "q"], "d": [32, 32], "size": [100, 100]}
    parquet.write_table(pyarrow.table(runs), folder / "runs.parquet")
    curves = {"run": ["q", "p", "p", "r"], "step": [10, 10, 20, 10], "loss": [1.0, 2.0, 1.5, 9.0]}
    parquet.write_table(pyarrow.table(curves), folder / "curves.parquet")
    toml = RUNS.partition("batch =")[0] + RUNS[RUNS.index("[metrics.valid") :]
    toml = toml.replace(
        "along = {", 'repeats = true\njoin = {file = "curves.parquet", on = "run"}\nalong = {run = ["run"], '
    )
    (folder / "runs.toml").write_text(toml)
    table = read_file(folder / "runs.toml", folder / "runs.arrow")
    assert len(table) == 1
    assert sorted(table.query(0, seed=seed, fidelity=10) for seed in (0, 1)) == [1.0, 2.0]
    assert sorted(table.query(0, seed=seed) for seed in (0, 1)) == [1.0, 1.5]


def test_a_metric_may_be_a_product(folder):
    time = """
[metrics.train_time]
columns = [["step", "size"]]
direction = "min"
curve = true
scale = 0.5
"""
    table = trained(folder, RUNS + time)
    assert table.query_many([0, 1], "train_time").tolist() == [20 * 100 / 2, 20 * 400 / 2]
    assert table.seconds(1, 10) == 10 * 400 / 2


def test_lists_are_taken_apart(folder):
    toml = RUNS.replace("along = {", 'explode = {lists = ["loss"], place = "step"}\nalong = {')
    lists = {key: [values[0], values[-1]] for key, values in TRAINED.items() if key != "step"}
    parquet.write_table(pyarrow.table({**lists, "loss": [[3.0, 2.0, 1.0], [2.0]]}), folder / "runs.parquet")
    (folder / "runs.toml").write_text(toml)
    table = read_file(folder / "runs.toml", folder / "runs.arrow")
    assert table.curve(0).amounts.tolist() == [1, 2, 3]
    assert table.curve(0).values.tolist() == [3.0, 2.0, 1.0]
    assert table.curve(1).values.tolist() == [2.0]


@pytest.mark.parametrize(
    "old, new, changes, message",
    [
        ("", "", {"step": [0, 10, 10, 10, 20]}, "runs.parquet, row 2 and runs.parquet, row 3 are of one run after 10 steps; 'along.run' may name"),
        ("", "", {"step": [0, 0.5, 10, 10, 20]}, "'along.column' is 'step', whose amounts of training must be whole numbers, from 0"),
        ('column = "step"', 'column = "stp"', {}, "'along.column' is 'stp', a column that runs.parquet does not have, did you mean 'step'?"),
        ('unit = "steps"', 'unit = "hours"', {}, "'along.unit' must be "),
        ('"sequences", "length"', '"sequence", "length"', {}, "'fields.batch' is 'sequence', a column that runs.parquet does not have, did you mean 'sequences'?"),
        ('columns = ["size"]', 'columns = [["size", "siz"]]', {}, "'metrics.parameters.columns' is 'siz', a column that"),
        ('columns = ["size"]', "columns = [[]]", {}, "'parameters' must be finite in some rows"),
        ("scale = 2", "scal = 2", {}, "unknown key 'fields.batch.scal', did you mean 'fields.batch.scale'?"),
        ('width = "d"', 'widht = "d"', {}, "unknown key 'fields.widht', did you mean 'width'?"),
        ("along = {", 'join = {file = "svm.toml", on = "d"}\nalong = {', {}, "'file' is 'svm.toml', which is no CSV or Parquet file"),
        ("along = {", 'join = {file = "runs.csv", on = "C"}\nalong = {', {}, "'join.on' is 'C', a column that runs.parquet does not have"),
        ("along = {", 'join = {file = "other.csv", on = "d"}\nalong = {', {}, "'join.on' is 'd', of which runs.parquet and other.csv share no value"),
        ("along = {", 'join = {file = "runs.parquet", on = "d"}\nalong = {', {}, "'join.on' is 'd', but runs.parquet, row 1 and runs.parquet, row 2 have the same value of it"),
        ("along = {", 'explode = {lists = ["los"], place = "p"}\nalong = {', {}, "'explode.lists' is 'los', a column that runs.parquet does not have, did you mean 'loss'?"),
        ("along = {", 'explode = {lists = ["loss"], place = "p"}\nalong = {', {}, "'explode.lists' has 'loss', a column of runs.parquet without lists"),
        ("along = {", 'explode = {lists = ["loss", "size"], place = "p"}\nalong = {', {"loss": [[1]] * 5, "size": [[1], [1, 2], [1], [1], [1]]}, "runs.parquet, row 2: lists of loss, size differ in their lengths"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_runs_is_told(folder, old, new, changes, message):
    (folder / "other.csv").write_text("d\n77\n")
    with pytest.raises(InvalidInput) as error:
        trained(folder, RUNS.replace(old, new, 1), **changes)
    assert message in str(error.value)
    assert not (folder / "runs.arrow").exists()
