import json
import sys
from decimal import Decimal

import spaces
from tests.nas.command_line import call

MLP = "stack(layers=[residual(body=mlp(mult=2, activation=gelu))], repeat=2)"


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
