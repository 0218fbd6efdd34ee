import json
import os
import pty
import signal
import subprocess
import sys
import time
from decimal import Decimal
from textwrap import indent

import pytest

import nas
import spaces
from nas.cli import main
from nas.report.live import Progress

NAS = [sys.executable, "-m", "nas.cli"]
MLP = "stack(layers=[residual(body=mlp(mult=2, activation=gelu))], repeat=2)"


def call(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_run_prints_progress_and_a_ranked_table(capsys, campaign_file, tmp_path):
    code, out, err = call(capsys, "run", campaign_file(), "--dir", tmp_path / "run")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "1 worker on serial." in lines
    assert any(line.startswith("[1/6] trial 0 done: valid_bpb ") and "left" in line for line in lines)
    head = next(line for line in lines if line.startswith("#"))
    for column in ("trial", "valid_bpb", "parameters", "FLOPs/token", "decode state", "origin"):
        assert column in head
    assert any(line.startswith("Gain over the average of 4 random architectures") for line in lines)
    assert any(line.startswith("test_bpb ") and "fresh seed" in line for line in lines)
    again = call(capsys, "run", campaign_file(), "--dir", tmp_path / "run")
    assert again[0] == 0
    assert head in again[1]


def test_run_as_json(capsys, campaign_file, tmp_path):
    code, out, err = call(capsys, "run", campaign_file(), "--dir", tmp_path / "run", "--json")
    outcome = json.loads(out)
    assert code == 0
    assert "[6/6]" in err
    assert outcome["state"] == "finished"
    assert outcome["done"] == len(outcome["ranking"]) == 6
    assert outcome["ranking"][0]["trial"] == outcome["best_trial"]
    assert outcome["gain"]["metric"] == "valid_bpb"


def test_run_goes_on_and_says_so(capsys, campaign_file, tmp_path):
    call(capsys, "run", campaign_file(), "--dir", tmp_path / "run")
    code, out, _ = call(capsys, "run", campaign_file(**{"budget.trials": 7}), "--dir", tmp_path / "run")
    assert code == 0
    assert "Going on: 6 of 7 trials have ended before." in out
    assert "budget.trials is now 7, was 6." in out
    assert "[7/7]" in out
    assert "[6/" not in out


def test_status_and_list(capsys, campaign_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "list") == (0, "No campaigns in runs; start one with: nas run FILE\n", "")
    call(capsys, "run", campaign_file())
    code, out, _ = call(capsys, "status", "runs/small")
    assert code == 0
    assert out.startswith("small: finished, 6 of 6 trials\n  6 done\n")
    best = nas.load("runs/small").best().proposal.genome
    assert f"Best genome  {best.text}\n\n{indent(best.outline, '  ')}\n\n" in out
    assert "test_bpb " in out
    assert "Gain over the average of 4 random architectures" in out
    facts = json.loads(call(capsys, "status", "runs/small", "--json")[1])
    assert (facts["state"], facts["ended"], facts["driver"]) == ("finished", 6, None)
    code, out, _ = call(capsys, "list")
    assert code == 0
    assert "small" in out
    assert "finished" in out
    assert "6/6" in out
    (tmp_path / "runs" / "small" / "config.json").write_text("{")
    (row,) = json.loads(call(capsys, "list", "--json")[1])
    assert row["state"] == "damaged"


def test_dry_run_starts_nothing(capsys, campaign_file, tmp_path):
    code, out, _ = call(capsys, "run", campaign_file(), "--dir", tmp_path / "run", "--dry-run")
    assert code == 0
    assert not (tmp_path / "run").exists()
    assert '"lr": 0.008' in out
    for word in ("space     hybrid: 10^", "trial     about", "memory    about", "campaign  about"):
        assert word in out
    plan = json.loads(call(capsys, "run", campaign_file(), "--dry-run", "--json")[1])
    assert plan["config"]["budget"]["trials"] == 6
    assert plan["trial"]["seconds"] > 0
    assert plan["trial"]["bytes"] > 16 * plan["trial"]["parameters"]


@pytest.mark.parametrize(
    "engine, cpus, threads", [("ray", 64, 2), ("ray", 0.5, 1), ("ray", 1.5, 1), ("serial", 64, 1)]
)
def test_a_dry_run_computes_as_a_worker_does(capsys, campaign_file, monkeypatch, engine, cpus, threads):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    file = campaign_file(**{"workers.engine": f'"{engine}"', "workers.cpus": cpus})
    plan = json.loads(call(capsys, "run", file, "--dry-run", "--json")[1])
    assert plan["trial"]["threads"] == threads


def test_a_dry_run_ends_in_time_and_says_what_it_is_based_on(capsys, campaign_file, monkeypatch):
    assert "slowest of 4 draws, each on 1 thread)" in call(capsys, "run", campaign_file(), "--dry-run")[1]
    monkeypatch.setattr("nas.setup.PLAN_SECONDS", 0.0)
    out = call(capsys, "run", campaign_file(), "--dry-run")[1]
    assert " (one draw, on 1 thread)" in out


def test_progress_knows_the_directions(capsys, campaign_file, tmp_path, monkeypatch):
    made = []

    class Seen(Progress):
        def __init__(self, config, out):
            made.append(config)
            super().__init__(config, out)

    monkeypatch.setattr("nas.report.live.Progress", Seen)
    call(capsys, "run", campaign_file(), "--dir", tmp_path / "run")
    assert [objective.direction for objective in made[0].objectives] == ["min"]


def test_space_commands(capsys):
    code, out, _ = call(capsys, "space", "list")
    assert code == 0
    assert "  productions: stack, deep_net, post_norms," in out
    rows = json.loads(call(capsys, "space", "list", "--json")[1])
    assert len({row["about"] for row in rows}) == len(rows)
    assert "  known models: transformer++, mamba-2," in out
    assert "  operators: nor_conv_1x1, nor_conv_3x3, avg_pool_3x3\n" in out
    code, out, _ = call(
        capsys, "space", "sample", "hybrid", "--count", 3, "--seed", 1, "--set", "parameters=200_000"
    )
    assert code == 0
    assert len(out.splitlines()) == 3
    rows = json.loads(call(capsys, "space", "sample", "hybrid", "--count", 2, "--size", 5, "--json")[1])
    assert all(row["text"].count("(") <= 5 for row in rows)
    code, out, _ = call(capsys, "space", "check", "hybrid", MLP, "--width", 32)
    assert code == 0
    assert "parameters       24.7k, 16.5k active a token" in out
    row = json.loads(call(capsys, "space", "check", "hybrid", "transformer++", "--json")[1])
    assert row["parameters"] == 2_624_640
    cell = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
    for genome in (cell, "resnet"):
        assert call(capsys, "space", "check", "nasbench201", genome)[1].startswith(f"valid: {cell}\n")
    backbone = "-".join(["a1112", "91111"] * 4)
    out = call(capsys, "space", "check", "star", backbone)[1]
    assert out.startswith(f"valid: {backbone}\n")
    assert out.splitlines()[-1] == "saved by sharing 147k parameters, 4.5 MiB of decode state"
    row = json.loads(call(capsys, "space", "check", "star", backbone, "--json")[1])
    assert row["saved"]["state_bytes"] == 4.5 * 2**20
    assert call(capsys, "space", "sample", "mlp")[1].startswith("mlp(activation_fn_1=")
    assert call(capsys, "space", "check", "nasbench201", "resnet")[1].splitlines()[2:] == [
        "parameters       559k, 559k active a sample",
        "FLOPs            157M a sample",
    ]


def test_spaces_are_shown_and_counted(capsys):
    out = call(capsys, "space", "show", "hybrid")[1]
    assert "  attention, a mixer of weight 2\n    heads: 1 | 2 | 4 | 8 | 16 | 32\n" in out
    assert "    layers: 1 to 8 of layer\n" in out
    assert "  residual, a layer of weight 4\n    body: a mixer\n" in out
    out = call(capsys, "space", "show", "nasbench201")[1]
    assert "  edge_2to3: none | skip_connect | nor_conv_1x1 | nor_conv_3x3 | avg_pool_3x3\n" in out
    out = call(capsys, "space", "show", "hybrid", "--width", 6)[1]
    assert "  gated_delta_net, a mixer of weight 1, whose guard never holds at this input and output\n" in out
    out = call(capsys, "space", "show", "einspace")[1]
    assert "  computation: a form of weight 0.32\n" in out
    assert " | im2col_3_1_1 | " in out
    rows = json.loads(call(capsys, "space", "show", "hybrid", "--json")[1])
    assert rows[0]["production"] == "stack"
    assert rows[0]["of"] == ["model", "layer"]
    assert rows[0]["fields"] == {
        "layers": {"of": "layer", "least": 1, "most": 8},
        "repeat": {"values": [1, 2, 3, 4, 6, 8, 12]},
    }
    rows = json.loads(call(capsys, "space", "show", "nasbench201", "--json")[1])
    assert rows[0]["values"] == ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
    rows = json.loads(call(capsys, "space", "show", "einspace", "--json")[1])
    assert rows[3] == {"form": "computation", "weight": 0.32}
    assert "im2col_3_1_1" in rows[6]["values"]
    assert call(capsys, "space", "count", "mlp")[1] == "62,208\n"
    small = ("--io", "image(channels=3, height=4, width=4, classes=3)", "--set", "nodes=15")
    counts = json.loads(call(capsys, "space", "count", "einspace", *small, "--json")[1])["by_nodes"]
    assert [row["nodes"] for row in counts] == [5, 7, 8, 10, 11, 15]
    assert counts[0]["genomes"] == spaces.load("einspace", spaces.image(3, 4, 4, 3)).count(5)
    assert set(counts[-1]) == {"nodes", "log10", "standard_error"}
    size = Decimal(spaces.load("hybrid").size)
    assert call(capsys, "space", "count", "hybrid")[1] == f"{size:.3e}\n"
    size = json.loads(call(capsys, "space", "count", "hybrid", "--set", "nodes=3", "--json")[1])["genomes"]
    assert size == spaces.load("hybrid", nodes=3).size


def test_the_space_of_a_campaign_file(capsys, tmp_path):
    path = tmp_path / "campaign.toml"
    path.write_text(
        'name = "joint"\n[space]\nname = "nasbench201"\nhyperparameters = {lr = [0.1, 0.01]}\n'
        '[task]\nname = "images"\n[budget]\ntrials = 1\nsteps = 1\n'
        '[[objectives]]\nmetric = "valid_accuracy"\n'
    )
    assert call(capsys, "space", "count", path)[1] == "31,250\n"
    assert call(capsys, "space", "show", path)[1].endswith("  lr: 0.1 | 0.01\n")
    assert call(capsys, "space", "sample", path)[1].startswith("joint(architecture=")
    code, _, err = call(capsys, "space", "show", path, "--width", 6)
    assert (code, err.count("--width cannot be given with a campaign file")) == (2, 1)


def test_genomes_are_mutated(capsys):
    lines = call(capsys, "space", "mutate", "nasbench201", "resnet", "--count", 3, "--seed", 1)[
        1
    ].splitlines()
    resnet = spaces.load("nasbench201").architecture("resnet")
    assert len(lines) == 3
    for line in lines:
        changed = [a != b for a, b in zip(line.split("|"), resnet.text.split("|"), strict=True)]
        assert sum(changed) == 1
    rows = json.loads(call(capsys, "space", "mutate", "hybrid", MLP, "--width", 32, "--json")[1])
    assert rows[0]["parameters"] > 0


def test_any_option_of_a_space_can_be_set(capsys):
    sizes = ("--set", "channels=36", "--set", "layers=20")
    out = call(capsys, "space", "check", "sharpdarts", "DARTS_V2", *sizes)[1]
    assert "parameters       3.53M" in out
    row = json.loads(
        call(capsys, "space", "sample", "darts", "--io", "image(channels=1, classes=3)", "--json")[1]
    )[0]
    space = spaces.load("darts", spaces.image(1, classes=3))
    assert row["parameters"] == space.cost(space.parse(row["text"])).parameters
    told = {"swiglu": 1e9, "residual": 1e9, "stack": 1e-9, "deep_net": 1e-18}
    weights = [part for name, weight in told.items() for part in ("--set", f"weights.{name}={weight}")]
    out = call(capsys, "space", "sample", "hybrid", *weights, "--count", 5)[1]
    assert out.count("swiglu") == out.count("residual") > 0
    assert "attention" not in out


def test_a_space_that_tells_no_cost(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "costless.py").write_text(
        "from spaces import ProductSpace, choice, vector\n"
        "def svm(io=vector(2)): return ProductSpace('svm', {'kernel': choice('rbf', 'linear')}, io)\n"
    )
    assert call(capsys, "space", "check", "costless:svm", "svm(kernel=rbf)")[1].startswith(
        "valid: svm(kernel=rbf)\n"
    )
    assert call(capsys, "space", "mutate", "costless:svm", "svm(kernel=rbf)")[1] == "svm(kernel=linear)\n"
    (tmp_path / "lonely.py").write_text(
        "from spaces import ProductSpace, choice, vector\n"
        "def one(io=vector(2)): return ProductSpace('one', {'x': choice(1)}, io)\n"
    )
    code, _, err = call(capsys, "space", "mutate", "lonely:one", "one(x=1)")
    assert code == 2
    assert err == "nas: no mutation of space 'one' changes one(x=1): none can be made\n"
    assert json.loads(call(capsys, "space", "sample", "costless:svm", "--json")[1])[0].keys() == {
        "text",
        "digest",
    }


def test_a_campaign_without_a_finished_trial_fails(capsys, campaign_file, tmp_path):
    code, out, _ = call(capsys, "run", campaign_file(**{"budget.seconds": 1e-9}), "--dir", tmp_path / "run")
    assert code == 1
    assert "No trial finished." in out
    assert "6 failed: too slow" in out


def test_two_drivers_do_not_share_a_folder(capsys, campaign_file, tmp_path):
    file = campaign_file(**{"budget.trials": 500})
    driver = subprocess.Popen(
        [*NAS, "run", str(file), "--dir", str(tmp_path / "run")], stdout=subprocess.PIPE
    )
    try:
        wait_for(tmp_path / "run" / "events.jsonl")
        code, _, err = call(capsys, "run", file, "--dir", tmp_path / "run")
        assert code == 2
        assert str(driver.pid) in err
        assert json.loads(call(capsys, "status", tmp_path / "run", "--json")[1])["state"] == "running"
    finally:
        driver.kill()
        driver.wait()


@pytest.mark.parametrize(
    "stop, engine",
    [
        (signal.SIGINT, "ray"),
        (signal.SIGTERM, "serial"),
        pytest.param(signal.SIGINT, "serial", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "ray", marks=pytest.mark.slow),
    ],
)
def test_a_signal_stops_a_campaign_and_keeps_what_ended(campaign_file, tmp_path, stop, engine):
    file = campaign_file(**{"budget.trials": 5000, "workers.engine": f'"{engine}"'})
    driver = subprocess.Popen(
        [*NAS, "run", str(file), "--dir", str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(tmp_path / "run" / "events.jsonl", 4000)
    driver.send_signal(stop)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert err == ""
    assert "Stopped." in out
    assert "the same command goes on" in out
    trials = nas.load(tmp_path / "run").trials
    assert f" {len(trials)} trials have ended and are kept" in out


def test_a_terminal_gets_a_live_view(campaign_file, tmp_path):
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    driver = subprocess.Popen(
        [*NAS, "run", str(campaign_file()), "--dir", str(tmp_path / "run")],
        stdout=child,
        stderr=child,
        env=environment,
    )
    os.close(child)
    shown = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:  # the terminal is closed with the process
            break
        if not part:
            break
        shown += part
    assert driver.wait() == 0
    text = shown.decode()
    assert "trials/min" in text
    assert "best valid_bpb" in text
    assert "Gain over the average" in text


def wait_for(path, size=1, seconds=60):
    until = time.monotonic() + seconds
    while not (path.exists() and path.stat().st_size >= size):
        assert time.monotonic() < until, f"{path} did not grow to {size} bytes"
        time.sleep(0.02)


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from nas.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('torch', 'ray', 'numpy', 'pyarrow', 'pydantic', 'rich', 'networkx')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()[-1] == "[]"


def test_status_needs_no_torch_and_no_ray(campaign_file, tmp_path):
    nas.run(campaign_file(), dir=tmp_path / "run")
    code = (
        "import sys\n"
        "from nas.cli import main\n"
        "main(['status', sys.argv[1]])\n"
        "print([name for name in ('torch', 'ray', 'networkx') if name in sys.modules])"
    )
    done = subprocess.check_output([sys.executable, "-c", code, str(tmp_path / "run")], text=True)
    assert done.splitlines()[-1] == "[]"


def test_a_terminal_without_box_drawing_gets_the_genome_in_one_line(campaign_file, tmp_path):
    nas.run(campaign_file(), dir=tmp_path / "run")
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [*NAS, "status", str(tmp_path / "run")]
    shown = subprocess.run(command, env=environment, capture_output=True, check=True).stdout.decode("latin-1")
    text = nas.load(tmp_path / "run").best().proposal.genome.text
    assert f"\n\nBest genome  {text}\nvalid_bpb " in shown


def test_brackets_in_texts_are_texts(capsys, campaign_file, tmp_path):
    name = f"brackets{os.getpid()}"
    (tmp_path / f"{name}.py").write_text(
        "from nas.training.tasks.bytes import ByteText\n"
        "class Closes(ByteText):\n"
        "    def evaluate(self, model, split):\n"
        "        raise ValueError('cannot open [/data/x] as [red]tensor')\n"
    )
    file = campaign_file(**{"task.name": f'"{name}:Closes"', "budget.trials": 2})
    for arguments in (("run", file, "--dir", tmp_path / "run"), ("status", tmp_path / "run")):
        _, out, err = call(capsys, *arguments)
        assert err == ""
        assert "cannot open [/data/x] as [red]tensor" in out


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == "0.1.0"


def test_a_malformed_cluster_address_is_an_input_error(capsys, campaign_file, tmp_path):
    file = campaign_file(**{"workers.engine": '"ray"'})
    code, _, err = call(capsys, "run", file, "--dir", tmp_path / "run", "--address", "nonsense")
    assert code == 2
    assert "no Ray cluster answers at nonsense" in err
