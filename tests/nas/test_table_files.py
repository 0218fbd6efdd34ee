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
    assert capsys.readouterr().out.split() == ["valid_error", "genome", "22", "svm(kernel=rbf,", "c=1)"]
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
        ('file = "runs.csv"', 'file = "run.csv"', "'file' is 'run.csv', which is no CSV or Parquet file: "),
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
