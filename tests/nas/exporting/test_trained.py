import json
import shutil
import subprocess
import sys

import pytest
import torch

import nas
from nas.cli import main
from nas.exporting.trained import trained
from nas.setup import prepare
from nas.store import Opened
from nas.training.weights import load_weights
from nas.types import InvalidInput
from spaces.blocks.products import onednn_products


@pytest.fixture
def run(campaign_file, tmp_path):
    nas.run(campaign_file(), dir=tmp_path / "run")
    return tmp_path / "run"


def test_the_best_leaves_with_the_weights_of_its_fresh_seed(run, tmp_path):
    result = nas.load(run)
    checks = nas.export(result, "source", tmp_path / "out")
    assert all(check.passed for check in checks)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    (confirmed,) = result.confirmations
    assert config["metrics"] == {**confirmed.metrics, "seed": 4}
    assert config["architecture"] == result.best().proposal.genome.text


def test_a_model_whose_weights_are_gone_is_trained_again_to_the_same(run):
    result = nas.load(run)
    setup = prepare(result.config)
    best = result.best()
    kept = load_weights(run / "trials" / "-4", setup.space, best.proposal.genome)
    (run / "trials" / "-4" / "weights.pt").unlink()
    again, metrics = trained(result, setup, best)
    assert metrics["seed"] == 4
    for name, weights in kept.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name]), name
    with onednn_products():
        measured = setup.evaluator.task.evaluate(again, "valid")
    assert measured["valid_bpb"] == metrics["valid_bpb"]


def test_another_trial_is_trained_again_as_it_was(run):
    result = nas.load(run)
    setup = prepare(result.config)
    other = result.ranking()[-1]
    model, metrics = trained(result, setup, other)
    with onednn_products():
        measured = setup.evaluator.task.evaluate(model, "valid")
    assert measured["valid_bpb"] == other.metrics["valid_bpb"]
    assert metrics == {**other.metrics, "seed": 3}
    assert not any(name.startswith("test") for name in metrics)


def test_weights_of_another_genome_are_not_taken(run):
    result = nas.load(run)
    setup = prepare(result.config)
    assert load_weights(run / "trials" / "-4", setup.space, result.ranking()[-1].proposal.genome) is None


def test_export_and_verify_commands(capsys, run, tmp_path):
    out = tmp_path / "out"
    assert main(["export", str(run), "best", "--to", "source", "--out", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    best = nas.load(run).best().id
    assert said[0] == f"Exporting trial {best}, as trained on seed 4, and checking what comes of it."
    assert said[-1] == f"Exported to {out}"
    assert len({path.stat().st_mode for path in out.iterdir()}) == 1
    assert main(["verify", str(out), "--json"]) == 0
    assert all(check["passed"] for check in json.loads(capsys.readouterr().out))
    (out / "model.py").write_text((out / "model.py").read_text() + "\n# changed\n")
    assert main(["verify", str(out)]) == 1
    assert "Not all checks passed." in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("99", "--to", "source"), "has no finished trial 99; there are: 0, 1, 2, 3, 4, 5"),
        (("first", "--to", "source"), "trial 'first' is neither a number nor 'best'"),
        (("best", "--to", "onx"), "unknown form of export 'onx', did you mean 'onnx'?"),
    ],
)
def test_wrong_exports_are_refused(capsys, run, tmp_path, arguments, message):
    trial, *rest = arguments
    assert main(["export", str(run), trial, *rest, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_campaign_without_a_finished_trial_has_nothing_to_export(campaign_file, tmp_path):
    result = nas.run(campaign_file(**{"budget.seconds": 1e-9}), dir=tmp_path / "run")
    with pytest.raises(InvalidInput, match="campaign 'small' has no finished trial"):
        nas.export(result, "source", tmp_path / "out")


def test_other_data_is_not_trained_on(campaign_file, tmp_path, text_folder):
    shutil.copytree(text_folder, tmp_path / "own")
    nas.run(campaign_file(**{"task.text": '"own"'}), dir=tmp_path / "run")
    (tmp_path / "own" / "3.txt").write_text(
        "something else entirely, of a length that is enough for a window"
    )
    other = nas.load(tmp_path / "run").ranking()[-1].id
    with pytest.raises(
        InvalidInput, match=f"trial {other} would have to be trained again, but the data of task 'bytes'"
    ):
        nas.export(nas.load(tmp_path / "run"), "source", tmp_path / "out", trial=other)


def test_damaged_weights_are_trained_again(run, tmp_path, caplog):
    path = run / "trials" / "-4" / "weights.pt"
    path.write_bytes(path.read_bytes()[:1000])
    assert all(check.passed for check in nas.export(nas.load(run), "source", tmp_path / "out"))
    assert "weights.pt cannot be used" in caplog.text


def test_weights_that_cannot_be_kept_end_nothing(campaign_file, tmp_path):
    (tmp_path / "run").mkdir()
    file = campaign_file()

    def block(record, replayed):
        if isinstance(record, Opened):
            (tmp_path / "run" / "trials").write_text("in the way")

    result = nas.run(file, dir=tmp_path / "run", observe=block)
    assert len(result.confirmed("test_bpb")) == 1


def test_a_campaign_of_the_users_own_code_is_exported_from_anywhere(campaign_file, tmp_path):
    """In processes of their own, since this one has the folder on its path."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "my_own_space.py").write_text(
        "from spaces import Grammar, choice\n"
        "one = Grammar('one', start='model')\n"
        "@one.production('model')\n"
        "def swiglu(mult=choice(1, 2, 3)): ...\n"
    )
    changes = {"space.name": '"my_own_space:one"', "budget.trials": 2}
    campaign_file(**changes).rename(tmp_path / "code" / "c.toml")
    for arguments in (
        ["run", str(tmp_path / "code" / "c.toml"), "--dir", str(tmp_path / "run")],
        ["export", str(tmp_path / "run"), "best", "--to", "source", "--out", str(tmp_path / "out")],
    ):
        subprocess.run(
            [sys.executable, "-m", "nas.cli", *arguments], check=True, cwd="/", capture_output=True
        )
    assert (tmp_path / "out" / "model.py").exists()


def test_json_of_a_failed_check_is_json(capsys, run, tmp_path):
    out = tmp_path / "out"
    nas.export(nas.load(run), "source", out)
    (out / "model.safetensors").unlink()
    assert main(["verify", str(out), "--json"]) == 1
    rows = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert not all(row["passed"] for row in rows)
