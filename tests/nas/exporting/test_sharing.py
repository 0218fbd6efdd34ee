"""Backbones of STAR, whose layers share weights and features, as source and as ONNX."""

import pytest
import torch

import spaces
from nas.exporting import export
from spaces.catalog.star import POOL
from spaces.catalog.star.pool import DIGITS
from tests.nas.exporting.genomes import built

SPACE = spaces.load("star", spaces.tokens(64, 32), context=100, layers=3)


def one(number):
    """A leader of both kinds of sharing, one that takes features from it, and one that shares weights alone."""
    return SPACE.parse("{0}1212-{0}1212-{0}1211".format(DIGITS[number]))


CLASSES = [
    pytest.param(number, id=liv.name, marks=() if number in (1, 5, 17) else pytest.mark.slow)
    for number, liv in POOL.items()
]


@pytest.mark.parametrize("number", CLASSES)
def test_as_source(number, tmp_path):
    files, clean, decoding = export(SPACE, one(number), built(SPACE, one(number)), "source", tmp_path / "out")
    assert files.passed
    assert clean.difference <= 1e-5
    assert decoding.difference <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("number", CLASSES)
def test_as_onnx(number, tmp_path):
    checks = export(SPACE, one(number), built(SPACE, one(number)), "onnx", tmp_path / "out")
    assert all(check.passed for check in checks)
    assert max(check.difference for check in checks) <= 1e-4


def test_shared_weights_are_written_once(tmp_path):
    from safetensors.torch import load_file

    genome = one(1)
    model = built(SPACE, genome)
    export(SPACE, genome, model, "source", tmp_path / "out")
    kept = load_file(tmp_path / "out/model.safetensors")
    assert sum(weight.numel() for weight in kept.values()) == SPACE.cost(genome).parameters
    assert torch.equal(kept["body.layers.0.weights.B.weight"], model.body.layers[2].weights["B"].weight)
