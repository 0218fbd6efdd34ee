"""`nas bench compare` and `simulate`."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import Description, Metric, Table
from tests.nas.command_line import call

pytestmark = pytest.mark.usefixtures("cache")


OWN = """
from spaces import ProductSpace, choice, vector

def grid(io):
    return ProductSpace("grid", {"x": choice(*range(8), ordered=True)}, io)
"""


def test_compare(capsys, tmp_path):
    out = tmp_path / "a" / "b"
    arguments = ("compare", "nasbench201/cifar10", "nasbench201/cifar100", "--strategies", "random,evolution")
    code, text, err = call(
        capsys, "bench", *arguments, "--evaluations", "24", "--seeds", "2", "--out", str(out)
    )
    assert code == 0
    assert err == "\r8 of 8 runs\n"
    lines = text.splitlines()
    assert lines[0] == "Regret, (loss - best) / (median - best): median of 2 seeds"
    assert (
        lines[1] == "Best found: so many runs had one of the best 0.05% of the rows, and the median of when"
    )
    assert lines[2].startswith("Over average: ")
    assert re.split(r"  +", lines[4]) == ["table", "strategy", "after 6", "after 12", "after 24"]
    assert re.split(r"  +", lines[10]) == [
        "table",
        "strategy",
        "over average",
        "over random search",
        "best found",
    ]
    assert re.search(r"  \+\d\S+ %  +\+0 %  +\d of 2", lines[11]), "random is no better than itself"
    for first in (5, 11):
        assert [line.split()[:2] for line in lines[first : first + 4]] == [
            [f"nasbench201/{data}", strategy]
            for data in ("cifar10", "cifar100")
            for strategy in ("random", "evolution")
        ]
    assert lines[16].startswith("Mean rank over 4 rankings, in the end; ")
    assert {line.split()[1] for line in lines[18:20]} == {"random", "evolution"}
    figures = {
        f"{name}.{kind}" for name in ("regret", "regret_seconds", "edf", "ranks") for kind in ("svg", "png")
    }
    assert {path.name for path in out.iterdir()} == {
        "evaluations.parquet",
        "curves.parquet",
        "runs",
        *figures,
    }
    code, text, _ = call(
        capsys,
        "bench",
        *arguments,
        "--evaluations",
        "24",
        "--seeds",
        "2",
        "--out",
        str(out),
        "--top",
        "20%",
        "--json",
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


def test_another_statistic_is_told(capsys, tmp_path):
    arguments = ["bench", "compare", "nasbench201/cifar10", "--strategies", "random", "--seeds", "5"]
    arguments += ["--evaluations", "4", "--out", str(tmp_path), "--statistic", "interquartile-mean"]
    code, out, _ = call(capsys, *arguments)
    assert code == 0
    assert "interquartile mean of 5 seeds and its 95 % interval" in out
    last = json.loads(call(capsys, *arguments, "--json")[1])["regret"][-1]
    shown = [last[f"interquartile_mean{end}"] for end in ("", "_low", "_high")]
    assert "{:.3f} [{:.3f}, {:.3f}]".format(*shown) in out


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
        call(capsys, "bench", "compare", "nasbench201/cifar10", "--top", top)
    assert f"argument --top: {reason}" in capsys.readouterr().err


def test_the_readme_shows_the_columns_of_a_comparison(capsys, tmp_path):
    """Those of the command that it gives, here with fewer runs."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    command = re.search(r"^nas bench (compare .*)$", readme, re.MULTILINE)[1].split()
    heads = re.findall(r"^strategy  +[ao].*$", readme, re.MULTILINE)
    fewer = ["--strategies", "random,evolution", "--seeds", "1", "--out", str(tmp_path)]
    code, out, _ = call(capsys, "bench", *command, *fewer)
    assert code == 0
    shown = re.findall(r"^strategy  +[ao].*$", out, re.MULTILINE)
    assert len(heads) == 2
    assert [re.split(r"  +", each) for each in shown] == [re.split(r"  +", each) for each in heads]


def untimed(folder):
    """The path of a table of six cells, five of which are one network, that tells no times."""
    names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    texts = [f"|none~0|+|none~0|none~1|+|none~0|none~1|{name}~2|" for name in names]
    texts += ["|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"]
    metrics = (Metric("valid_acc", "max", "percent", split="valid"),)
    io = {"image": {"channels": 3, "height": 32, "width": 32, "classes": 10}}
    made = Description("mine", "", "nasbench201", io, "valid_acc", metrics, listed=True)
    Table.write(folder / "mine.arrow", made, {"valid_acc": [50.0, 51, 52, 53, np.nan, 55]}, texts)
    return str(folder / "mine.arrow")


def test_simulate(capsys, campaign_file, tmp_path):
    arguments = ("simulate", str(campaign_file()), "nasbench201/cifar10", "--workers", "1,8", "--seeds", "1")
    code, text, err = call(capsys, "bench", *arguments, "--stragglers", "0.1")
    assert (code, err) == (0, "\r2 of 2 runs\n")
    lines = text.splitlines()
    assert lines[0] == "6 trials of evolution on nasbench201/cifar10, means of 1 seed"
    assert [line.split()[:2] for line in lines[2:]] == [["workers", "ended"], ["1", "6"], ["8", "6"]]
    code, text, _ = call(capsys, "bench", *arguments, "--seconds", "6000")
    lines = text.splitlines()
    assert lines[0] == "6 trials of evolution on nasbench201/cifar10 within 1 h 40 min, means of 1 seed"
    assert re.match(r"1 +[1-5] +1 h 40 min +100% +1\.0 ", lines[3])
    code, text, _ = call(capsys, "bench", *arguments, "--json")
    one, eight = json.loads(text)
    assert one["seconds"] > eight["seconds"]
    code, text, _ = call(capsys, "bench", *arguments[:2], untimed(tmp_path), *arguments[3:])
    assert text.splitlines()[5:] == [
        "2 trials ended on 1 worker, with no more to propose",
        "2 trials ended on 8 workers, with no more to propose",
        "mine: trials of 1 of 6 rows fail, as they were not measured",
        "mine does not tell how long training took, by a metric 'train_time': each trial takes a second",
    ]
    for wrong, message in (
        (["--workers", "1,x"], "--workers '1,x' is no list of numbers such as 1,8,64"),
        (["--deaths", "2"], "deaths = 2, but it must be a share from 0 to 1"),
    ):
        code, text, err = call(capsys, "bench", *arguments, *wrong)
        assert (code, text, err) == (2, "", f"nas: {message}\n")


def test_simulate_what_auto_takes(capsys):
    file = Path(__file__).parents[2] / "examples" / "quickstart.toml"
    code, text, _ = call(
        capsys, "bench", "simulate", str(file), "nasbench201/cifar10", "--workers", "8", "--seeds", "1"
    )
    assert code == 0
    assert text.startswith("32 trials of bayesian on nasbench201/cifar10, means of 1 seed\n")


@pytest.fixture
def own_table(tmp_path, monkeypatch):
    """A table of eight rows over a space in a module beside it."""
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
    assert random.split()[0] == "random"
    assert random.endswith("  0.000 [0.000, 0.000]")
    assert evolution.split()[0] == "evolution"
    assert (tmp_path / "elsewhere" / "comparison" / "regret.svg").exists()


def test_runs_that_end_early(capsys, tmp_path, monkeypatch):
    """There are 5,425 networks, and a strategy proposes none twice."""
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(
        capsys,
        "bench",
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


def test_a_comparison_that_is_stopped(capsys, tmp_path, monkeypatch):
    def one_run(*given, keep, **options):
        keep.mkdir()
        (keep / "one.parquet").touch()
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("nas.compare.compare", one_run)
    code, out, err = call(capsys, "bench", "compare", "nasbench201/cifar10", "--out", str(tmp_path))
    assert (code, out) == (130, "")
    assert err == f"\rStopped. 1 runs are kept in {tmp_path}/runs; the same command goes on.\n"


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
        code, out, err = call(
            capsys,
            "bench",
            "compare",
            "nasbench201/cifar10",
            "--strategies",
            f"broken:{name}",
            "--seeds",
            "1",
        )
        assert (code, out, err) == (1, "", f"nas: strategy 'broken:{name}' {reason}\n")


def test_figures_need_matplotlib(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = call(capsys, "bench", "compare", "nasbench201/cifar10")
    assert code == 2
    assert err == "nas: figures need matplotlib, which is not installed: pip install 'grammar-nas[report]'\n"
    assert list(tmp_path.iterdir()) == []
