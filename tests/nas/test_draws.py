"""What is told of a campaign before it starts, where draws tell it."""

import json

import numpy as np
import pytest
from own_modules import make_module

import nas
import spaces
from nas.cli import main

LAYERS = """
import torch
from spaces import ProductSpace, choice, image
from spaces import joint as joined
from spaces.cost import Cost


class Layers(ProductSpace):
    def __init__(self, io=None):
        fields = {"width": choice(2, 4, 8), "bias": choice(False, True)}
        super().__init__("layers", fields, image(channels=1, height=8, width=8, classes=10) if io is None else io)

    def cost(self, genome, context=None):
        weights = self.values(genome)["width"] * 74
        return Cost(weights, weights, 2.0 * weights, 0.0)

    def build(self, genome):
        values = self.values(genome)
        if not values["bias"] or FAILS:
            raise ValueError("no bias")
        width = values["width"]
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.Linear(width, 10))


class Numbers(Layers):
    def build(self, genome):
        return 3


def joint(io=None):
    return joined(Layers(io), {"lr": choice(0.01, 0.02)})
"""

IMAGES = (
    *("space.width", "space.context", "space.operators", "space.nodes", "space.parameters"),
    *("task.text", "task.length", "task.batch", "task.valid_tokens", "task.test_tokens"),
)


@pytest.fixture
def layers_file(campaign_file, tmp_path):
    """A campaign file of images and a space of a user's own."""

    def write(space, fails=False):
        module = make_module(tmp_path, LAYERS.replace("FAILS", str(fails)))
        said = {
            "space.name": f'"{module}:{space}"',
            "task.name": '"images"',
            "objectives.metric": '"valid_loss"',
        }
        return campaign_file(**dict.fromkeys(IMAGES), **said)

    return write


def bounded(file, metric, bound, direction="min"):
    file.write_text(
        f'{file.read_text()}\n[[objectives]]\nmetric = "{metric}"\nbound = {bound}\ndirection = "{direction}"\n'
    )
    return file


@pytest.mark.parametrize("space", ["Layers", "joint"])
def test_networks_that_cannot_be_built_are_refused(layers_file, refused, space):
    file = layers_file(space, fails=True)
    line = refused("run", str(file), "--dir", "run")
    assert line.startswith("nas: space 'layers': build fails for 8 of 8 draws, as of ")
    assert "ValueError: no bias (mine" in line


def test_what_is_no_network_is_refused(layers_file, refused):
    assert refused("run", str(layers_file("Numbers")), "--dir", "run").endswith(
        ": gave a int, not a torch.nn.Module"
    )


def test_some_networks_that_cannot_be_built_are_told(layers_file, tmp_path, caplog):
    result = nas.run(layers_file("Layers"), dir=tmp_path / "run")
    (line,) = caplog.messages
    assert line.startswith("space 'layers': build fails for 5 of 8 draws, as of layers(width=")
    assert {trial.status for trial in result.trials} == {"done", "failed"}


@pytest.mark.parametrize("space", ["Layers", "joint"])
@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_a_constraint_that_none_of_few_genomes_meets_is_refused(layers_file, refused, space, flags):
    file = bounded(layers_file(space), "parameters", 100)
    number = 6 if space == "Layers" else 12
    assert refused("run", str(file), "--dir", "run", *flags) == (
        f"nas: 0 of all {number} genomes of space 'layers' meet the constraints: parameters at most 100 "
        "(met by 0, of 148 to 592)"
    )


def test_a_constraint_below_what_all_genomes_cost_is_refused(campaign_file, refused):
    file = bounded(campaign_file(), "parameters", 8_351)
    assert refused("run", str(file), "--dir", "run") == (
        "nas: 'objectives[1].bound' is 8,351, but no genome of space 'hybrid' has less parameters than 8,352"
    )


def test_constraints_that_few_genomes_meet_are_told(campaign_file, tmp_path, caplog, capsys):
    file = bounded(bounded(campaign_file(), "parameters", 8_500), "state_bytes", 10, "max")
    assert main(["run", str(file), "--dir", str(tmp_path / "run"), "--json"]) == 0
    trials = json.loads(capsys.readouterr().out)["ended"]
    assert trials == 6
    (line,) = caplog.messages
    assert line == (
        "0 of 500 genomes of space 'hybrid' meet the constraints: parameters at most 8,500 (met by 1, of 8,384 to "
        "39,968), state_bytes at least 10 (met by 364, of 0 to 147,456); 'space.parameters' would keep every draw within"
    )


def test_constraints_that_many_meet_are_not(campaign_file, tmp_path, caplog):
    nas.run(bounded(campaign_file(), "parameters", 35_000), dir=tmp_path / "run")
    assert not caplog.messages


def test_least_costs_are_those_of_some_genomes():
    space = spaces.load("hybrid", spaces.tokens(256, 16), context=32)
    for name, least in space.least_cost.items():
        limited = spaces.load("hybrid", spaces.tokens(256, 16), context=32, **{name: max(1, int(least))})
        costs = [getattr(limited.cost(limited.sample(np.random.default_rng(k))), name) for k in range(20)]
        assert max(costs) <= max(1, least)
        assert min(costs) == least
        if least > 1:
            with pytest.raises(spaces.InvalidSpace, match="no genome fits"):
                spaces.load("hybrid", spaces.tokens(256, 16), context=32, **{name: int(least) - 1})
