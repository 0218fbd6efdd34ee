"""Files of benchmarks as their authors publish them, made small after the published structure."""

import bz2
import json
import os
import pickle
import re
from collections import OrderedDict

import numpy as np
import pytest
import torch

import spaces
from benchmarks.testing import table_checks
from nas.cli import main
from nas.tables import read_file
from nas.types import InvalidInput
from spaces.catalog.points import Points

CELLS = [
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
    "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|",
]
WIDTHS = ["64:64:64:64:64", "8:16:24:32:64"]


def result(epochs, base, names, seed):
    """A run as the benchmark stores it."""
    return {
        "name": "infer.tiny",
        "net_state_dict": None,
        "train_acc1es": {k: base + k for k in range(epochs)},
        "train_acc5es": {k: base + k for k in range(epochs)},
        "train_losses": dict.fromkeys(range(epochs), 1.0),
        "train_times": OrderedDict((k, 2.5) for k in range(epochs)),
        "arch_config": {"name": "infer.tiny"},
        "params": 0.5,
        "flop": 30.0,
        "seed": seed,
        "epochs": epochs,
        "latency": [0.25, 0.75],
        "eval_names": list(names),
        "eval_acc1es": {f"{n}@{k}": base + seed / 1000 + k / 100 for n in names for k in range(epochs)},
        "eval_times": {},
        "eval_losses": {f"{n}@{k}": 1.0 for n in names for k in range(epochs)},
    }


def published(cells, schedules, seeds=(777, 888)):
    """What a whole file holds."""
    infos = {}
    for number, text in enumerate(cells):
        infos[number] = {}
        for key, epochs in schedules.items():
            results = {
                (data, seed): result(epochs, 50.0 + 10 * number + shift, names, seed)
                for seed in seeds[: 1 + number]
                for data, names, shift in (
                    ("cifar10-valid", ("x-valid", "ori-test"), 0),
                    ("cifar10", ("ori-test",), 1),
                    ("cifar100", ("x-valid", "x-test", "ori-test"), 2),
                )
            }
            by_data = {}
            for data, seed in results:
                by_data.setdefault(data, []).append(seed)
            infos[number][key] = {
                "arch_index": number,
                "arch_str": text,
                "all_results": results,
                "dataset_seed": by_data,
                "clear_net_done": True,
            }
    return {"meta_archs": cells, "arch2infos": infos, "evaluated_indexes": list(range(len(cells)))}


def pack(path, value):
    with bz2.open(path, "wb") as file:
        pickle.dump(value, file)
    return path


def check_topology(table):
    assert table.fidelities.amounts == (12, 200)
    assert not table.fidelities.resumable
    first, second = CELLS
    assert table.query(first) == pytest.approx(50 + 0.777 + 1.99)
    assert table.query(second, seed=1) == pytest.approx(60 + 0.888 + 1.99)
    assert table.query(second, fidelity=12) == pytest.approx(60 + (0.777 + 0.888) / 2 + 0.11)
    assert np.isnan(table.query(first, seed=1))
    assert table.query(second, "test_acc", seed=0) == pytest.approx(61 + 0.777 + 1.99)
    assert table.query(first, "train_time") == 500
    assert table.query(first, "train_time", fidelity=12) == 30
    assert table.seconds(first, 12) == 30
    assert table.query(first, "parameters") == 500_000
    assert table.query(first, "latency") == 0.5
    assert np.isfinite(table.column()).sum() == 2
    assert table.metrics["test_acc"].split == "test"


def test_nats_topology_as_a_file(tmp_path):
    file = pack(tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2", published(CELLS, {"12": 12, "200": 200}))
    table = read_file("nats-topology:cifar10", tmp_path / "t.arrow", file)
    check_topology(table)
    for check in table_checks:
        check(table)


def test_nats_topology_as_a_folder(tmp_path):
    whole = published(CELLS, {"12": 12, "200": 200})
    folder = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    folder.mkdir()
    pack(folder / "meta.pickle.pbz2", {"meta_archs": [*CELLS, "not evaluated"]})
    for number, runs in whole["arch2infos"].items():
        pack(folder / f"{number:06d}.pickle.pbz2", runs)
    check_topology(read_file("nats-topology:cifar10", tmp_path / "t.arrow", folder))


def test_nasbench201_as_a_file_of_torch(tmp_path):
    file = tmp_path / "NAS-Bench-201-v1_1-096897.pth"
    torch.save(published(CELLS, {"less": 12, "full": 200}), file)
    check_topology(read_file("nats-topology:cifar10", tmp_path / "t.arrow", file))


def test_nats_size(tmp_path):
    file = pack(tmp_path / "NATS-sss.pickle.pbz2", published(WIDTHS, {"01": 1, "12": 12, "90": 90}))
    table = read_file("nats-size:cifar100", tmp_path / "t.arrow", file)
    assert len(table) == 32_768
    assert table.fidelities.amounts == (1, 12, 90)
    assert table.query(WIDTHS[0]) == pytest.approx(52 + 0.777 + 0.89)
    assert table.query(WIDTHS[1], "test_acc", seed=1, fidelity=1) == pytest.approx(62.888)
    assert table.best()[0].genome.text == WIDTHS[1]


def test_the_benchmarks_own_package_reads_the_same(tmp_path):
    """Where it is installed: what is written here is what it takes, and it says the same."""
    nats_bench = pytest.importorskip("nats_bench")
    file = pack(tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2", published(CELLS, {"12": 12, "200": 200}))
    theirs = nats_bench.create(str(file), "tss", fast_mode=False, verbose=False)
    table = read_file("nats-topology:cifar10", tmp_path / "t.arrow", file)
    for number, text in enumerate(CELLS):
        valid = theirs.get_more_info(number, "cifar10-valid", hp="200", is_random=False)
        assert table.query(text) == pytest.approx(valid["valid-accuracy"])
        assert table.query(text, "train_time") == pytest.approx(valid["train-all-time"])
        early = theirs.get_more_info(number, "cifar10-valid", hp="12", is_random=False)
        assert table.query(text, fidelity=12) == pytest.approx(early["valid-accuracy"])
        test = theirs.get_more_info(number, "cifar10", hp="200", is_random=False)
        assert table.query(text, "test_acc") == pytest.approx(test["test-accuracy"])


def test_pickles_of_code_are_refused(tmp_path):
    file = pack(tmp_path / "NATS-tss.pickle.pbz2", {"meta_archs": os.system})
    with pytest.raises(InvalidInput, match=r"is not as published: UnpicklingError: it names posix\.system"):
        read_file("nats-topology:cifar10", tmp_path / "t.arrow", file)
    assert not (tmp_path / "t.arrow").exists()


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("nats-topology:cifar11", {}, "unknown image set 'cifar11', did you mean 'cifar10'?"),
        (
            "nats-topology",
            {},
            "format 'nats-topology' lacks the part of the file, as in 'nats-topology:cifar10'",
        ),
        ("hpob", {}, "format 'hpob' lacks the part of the file, as in 'hpob:5971/10093'"),
        ("nats-topology:cifar10", {}, "is not as published: KeyError: 'arch2infos'"),
        ("nats-topology:imagenet16-120", None, "has no run on imagenet16-120 with a validation"),
        ("nats-size:cifar10", None, "is no size: expected five widths, as in 8:16:24:32:64"),
        ("hpbo:5971/10093", None, "unknown format 'hpbo:5971/10093', did you mean 'hpob'?"),
        (
            "nats-topolgy:cifar10",
            None,
            "unknown format 'nats-topolgy:cifar10', did you mean 'nats-topology'?",
        ),
    ],
)
def test_what_is_no_such_file(tmp_path, name, content, message):
    value = published(CELLS, {"12": 12}) if content is None else content
    file = pack(tmp_path / "file.pickle.pbz2", value)
    with pytest.raises(InvalidInput, match=re.escape(message)):
        read_file(name, tmp_path / "t.arrow", file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidInput, match=r"^there is no file .*/none\.pickle\.pbz2$"):
        read_file("nats-topology:cifar10", tmp_path / "t.arrow", tmp_path / "none.pickle.pbz2")


@pytest.fixture
def hpob_file(tmp_path):
    points = [[0.0, 1.0], [0.25, 0.5], [0.25, 0.5], [1e-7, 0.123456789012345]]
    found = {
        "5971": {"10093": {"X": points, "y": [[0.5], [0.75], [0.25], [0.625]]}, "3954": {"X": [], "y": []}}
    }
    path = tmp_path / "meta-test-dataset.json"
    path.write_text(json.dumps(found))
    return path


def test_hpob(hpob_file, tmp_path, capsys):
    out = tmp_path / "t.arrow"
    assert main(["bench", "add", str(hpob_file), "--as", "hpob:5971/10093", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 3
    import benchmarks

    table = benchmarks.load(out)
    for check in table_checks:
        check(table)
    assert table.query("point(x0=0.0, x1=1.0)") == 0.5
    assert table.query("point(x0=0.25, x1=0.5)") == 0.5
    assert table.query("point(x0=0.25, x1=0.5)", seed=1) == 0.25
    assert table.best()[0].genome.text == "point(x0=1e-07, x1=0.123456789012345)"


def test_points_of_hpob_lie_apart_by_their_coordinates(tmp_path, capsys):
    points = np.random.default_rng(0).random((40, 5))
    found = {"5971": {"10093": {"X": points.tolist(), "y": points[:, :1].tolist()}}}
    (tmp_path / "x.json").write_text(json.dumps(found))
    table = read_file("hpob:5971/10093", tmp_path / "t.arrow", tmp_path / "x.json")
    apart = np.abs(points - points[7]).sum(axis=1)
    np.testing.assert_allclose(table.distances(7), apart)
    near = table.nearest(table.genome(7), 9)
    assert [each.row for each in near] == np.argsort(apart)[:9].tolist()
    assert [each.distance for each in near] == pytest.approx(np.sort(apart)[:9])
    rng, pool = np.random.default_rng(0), table.candidates
    steps = {pool.rank(pool.mutate(pool.unrank(7), rng)) for _ in range(200)}
    assert steps == {each.row for each in near} - {7}
    np.testing.assert_array_equal(table.filter("x1 > 0.5"), np.flatnonzero(points[:, 1] > 0.5))
    assert main(["bench", "info", str(table.path)]) == 0
    assert "x4     0.0 to 1.0" in capsys.readouterr().out
    assert main(["bench", "query", str(table.path), "7", "--nearest", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith(f"{apart[near[1].row]:.6g} ")


@pytest.mark.parametrize(
    "part, message",
    [
        ("5972/10093", "has no search space '5972', did you mean '5971'? allowed: 5971"),
        (
            "5971/10092",
            "has no data set '10092' of search space 5971, did you mean '10093'? allowed: 10093, 3954",
        ),
        ("5971", "has no data set '' of search space 5971"),
        ("5971/3954", "5971/3954 is not as HPO-B has it: "),
    ],
)
def test_what_hpob_does_not_have(hpob_file, tmp_path, part, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        read_file(f"hpob:{part}", tmp_path / "t.arrow", hpob_file)


def test_what_is_no_file_of_hpob(tmp_path):
    (tmp_path / "x.json").write_text("[1")
    with pytest.raises(InvalidInput, match=r"x\.json is no file of HPO-B: "):
        read_file("hpob:1/2", tmp_path / "t.arrow", tmp_path / "x.json")
    with pytest.raises(InvalidInput, match=r"none\.json cannot be read: No such file"):
        read_file("hpob:1/2", tmp_path / "t.arrow", tmp_path / "none.json")


def test_the_spaces_of_these_files():
    sizes = spaces.load("nats_size")
    assert sizes.size == 32_768
    with pytest.raises(spaces.InvalidGenome, match=r"width 2 of '8:9:8:8:8' is '9'; allowed: 8, 16"):
        sizes.parse("8:9:8:8:8")
    points = Points(spaces.vector(3))
    genome = points.sample(np.random.default_rng(0))
    assert points.parse(genome.text) == genome
    assert points.mutate(genome, np.random.default_rng(1)) != genome
    with pytest.raises(spaces.InvalidSpace, match="reads vectors"):
        Points(spaces.image())
