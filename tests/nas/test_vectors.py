"""Campaigns over vectors: a space and a task of a user's own that are not over tokens."""

import pytest
from own_modules import make_module

import nas
from nas.cli import main
from nas.setup import configure, prepare
from nas.types import InvalidInput

VECTORS = """
import torch
from torch import nn

import spaces
from nas.training.tasks.base import Task
from spaces import ProductSpace, choice
from spaces.networks.perceptron import Perceptron

class Line(Task):
    metrics = {"valid_error": "min"}
    tokens_per_step, fingerprint = 8, "line"

    def io(self, width):
        return spaces.vector(features=9)

    def train_batches(self, seed):
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield torch.randn(8, 9, generator=generator)

    def loss(self, model, batch):
        return nn.functional.mse_loss(model(batch), batch[:, :1])

    @torch.inference_mode()
    def evaluate(self, model, split):
        held_out = next(self.train_batches(1000 if split == "valid" else 1001))
        return {f"{split}_error": self.loss(model.eval(), held_out).item()}

class Unsaid(Line):
    metrics = ("valid_error",)

class Nets(ProductSpace):
    def __init__(self, io=None):
        super().__init__("nets", {"units": choice(*range(1, 9)), "activation": choice("relu", "tanh")}, io)

    def build(self, genome):
        return Perceptron(9, [(*self.values(genome).values(), 0.0)], 1)
"""


@pytest.fixture
def vector_file(campaign_file, tmp_path):
    """A campaign file of a task over vectors and a space that does not say what its genomes cost."""
    name = make_module(tmp_path, VECTORS)
    left_out = ("space.width", "space.context", "space.operators", "space.nodes", "space.parameters")
    left_out += ("task.text", "task.length", "task.batch", "task.valid_tokens", "task.test_tokens")

    def write(space=f"{name}:Nets", task=f"{name}:Line", **changes):
        said = {"space.name": f'"{space}"', "task.name": f'"{task}"', "objectives.metric": '"valid_error"'}
        return campaign_file(**dict.fromkeys(left_out), **said, **changes)

    write.module = name
    return write


def test_a_space_that_tells_no_costs(vector_file, tmp_path, capsys):
    file = vector_file()
    assert main(["run", str(file), "--dry-run"]) == 0
    assert "nets: 16 genomes" in capsys.readouterr().out
    assert main(["run", str(file), "--dir", str(tmp_path / "run")]) == 0
    result = nas.load(tmp_path / "run")
    assert [(trial.status, dict(trial.cost)) for trial in result.trials] == [("done", {})] * 6
    assert "parameters" not in result.table().column_names
    assert len(result.confirmed("test_error")) == 1


def test_objectives_of_costs_need_a_space_that_tells_them(vector_file):
    file = vector_file()
    file.write_text(file.read_text() + '\n[[objectives]]\nmetric = "parameters"\nbound = 10')
    with pytest.raises(InvalidInput) as error:
        prepare(configure(file))
    assert str(error.value) == (
        f"'objectives[1].metric' is 'parameters', but space '{vector_file.module}:Nets' does not say what its "
        "genomes cost; allowed: valid_error"
    )


def test_a_task_says_which_way_its_metrics_are_better(vector_file):
    with pytest.raises(InvalidInput) as error:
        prepare(configure(vector_file(task=f"{vector_file.module}:Unsaid")))
    assert str(error.value) == (
        f"task '{vector_file.module}:Unsaid' has metrics ('valid_error',), but must say which way each is better: "
        'a mapping, each value "min" or "max"'
    )


def test_genomes_that_hold_training_choices_are_for_tables(vector_file):
    with pytest.raises(InvalidInput) as error:
        prepare(configure(vector_file(space="mlp")))
    assert str(error.value) == (
        "space 'mlp' is for tables: its genomes hold training choices (batch_size, init_lr, lr_schedule), which "
        "campaigns do not follow yet"
    )


def test_the_best_is_exported(vector_file, tmp_path):
    nas.run(vector_file(), dir=tmp_path / "run")
    checks = nas.export(nas.load(tmp_path / "run"), "source", tmp_path / "out")
    assert all(check.passed for check in checks)


def test_models_that_read_several_tensors_are_not_trained_for_nothing(vector_file, tmp_path, monkeypatch):
    nas.run(vector_file(), dir=tmp_path / "run")
    (tmp_path / "run" / "trials" / "-4" / "weights.pt").unlink()
    monkeypatch.setattr("nas.exporting.trained.trained", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr("nas.exporting.trained.input_name", refuse)
    with pytest.raises(InvalidInput, match="several tensors"):
        nas.export(nas.load(tmp_path / "run"), "source", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def refuse(space):
    raise InvalidInput("several tensors")
