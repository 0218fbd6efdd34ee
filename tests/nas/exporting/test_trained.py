import json

import pytest
import torch

import nas
from nas.cli import main
from nas.exporting.trained import trained
from nas.setup import prepare
from nas.training.evaluator import load_weights
from nas.types import InvalidInput


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
    measured = setup.evaluator.task.evaluate(again, "valid")
    assert measured["valid_bpb"] == metrics["valid_bpb"]


def test_another_trial_is_trained_again_as_it_was(run):
    result = nas.load(run)
    setup = prepare(result.config)
    other = result.ranking()[-1]
    model, metrics = trained(result, setup, other)
    assert setup.evaluator.task.evaluate(model, "valid")["valid_bpb"] == other.metrics["valid_bpb"]
    assert metrics == {**other.metrics, "seed": 3}
    assert not any(name.startswith("test") for name in metrics)


def test_weights_of_another_genome_are_not_taken(run):
    result = nas.load(run)
    setup = prepare(result.config)
    assert load_weights(run / "trials" / "-4", setup.space, result.ranking()[-1].proposal.genome) is None


def test_export_and_verify_commands(capsys, run, tmp_path):
    out = tmp_path / "out"
    assert main(["export", str(run), "best", "--to", "source", "--out", str(out)]) == 0
    assert f"Exported to {out}" in capsys.readouterr().out
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
