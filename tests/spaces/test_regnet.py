import numpy as np
import pytest
import torch
from torch.nn import functional

import predictors
import spaces
from spaces.catalog.regnet import STEM, Stage, cost, stages
from tests.spaces.helpers import check_cost, draws, refusal

SPACE = spaces.load("regnet")
VALUES = {"depth": 13, "w_0": 24, "w_a": 40, "w_m": 2.5, "group_width": 8}
TEXT = "regnet(depth=13, w_0=24, w_a=40, w_m=2.5, group_width=8)"

# The parameters of the RegNetX models in the authors' configurations (pycls), the stages that the paper's figures and
# later ports list for them, and millions of parameters and billions of multiply-adds of pycls' model zoo.
PUBLISHED = {
    "200MF": ((13, 24, 36.44, 2.49, 8), [24, 56, 152, 368], [1, 1, 4, 7], 2.7, 0.2),
    "400MF": ((22, 24, 24.48, 2.54, 16), [32, 64, 160, 384], [1, 2, 7, 12], 5.2, 0.4),
    "600MF": ((16, 48, 36.97, 2.24, 24), [48, 96, 240, 528], [1, 3, 5, 7], 6.2, 0.6),
    "800MF": ((16, 56, 35.73, 2.28, 16), [64, 128, 288, 672], [1, 3, 7, 5], 7.3, 0.8),
    "1.6GF": ((18, 80, 34.01, 2.25, 24), [72, 168, 408, 912], [2, 4, 10, 2], 9.2, 1.6),
    "3.2GF": ((25, 88, 26.31, 2.25, 48), [96, 192, 432, 1008], [2, 6, 15, 2], 15.3, 3.2),
    "4.0GF": ((23, 96, 38.65, 2.43, 40), [80, 240, 560, 1360], [2, 5, 14, 2], 22.1, 4.0),
    "6.4GF": ((17, 184, 60.83, 2.07, 56), [168, 392, 784, 1624], [2, 4, 10, 1], 26.2, 6.5),
    "8.0GF": ((23, 80, 49.56, 2.88, 120), [80, 240, 720, 1920], [2, 5, 15, 1], 39.6, 8.0),
    "12GF": ((19, 168, 73.36, 2.37, 112), [224, 448, 896, 2240], [2, 5, 11, 1], 46.1, 12.1),
    "16GF": ((22, 216, 55.59, 2.1, 128), [256, 512, 896, 2048], [2, 6, 13, 1], 54.3, 15.9),
    "32GF": ((23, 320, 69.86, 2.0, 168), [336, 672, 1344, 2520], [2, 7, 13, 1], 107.8, 31.7),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models(name):
    parameters, widths, depths, millions, billions = PUBLISHED[name]
    made = stages(*parameters)
    assert [stage.width for stage in made] == widths
    assert [stage.depth for stage in made] == depths
    assert [stage.group_width for stage in made] == [min(parameters[-1], width) for width in widths]
    whole = cost(made, spaces.image(3, 224, 224, classes=1000), stem_stride=2)
    assert whole.parameters / 1e6 == pytest.approx(millions, abs=0.05)
    assert whole.flops_per_token / 2e9 == pytest.approx(billions, abs=0.05)


def test_text_and_stages():
    genome = SPACE.genome(**VALUES)
    assert genome.text == TEXT
    assert SPACE.parse(TEXT) == genome
    assert SPACE.stages(genome) == [Stage(24, 1, 8), Stage(64, 1, 8), Stage(152, 4, 8), Stage(376, 7, 8)]
    assert SPACE.size == 61 * 32 * 32 * 16 * 6
    graph = SPACE.graph(genome)
    assert (
        graph.operators[1:-1] == ("halving_block",) * 3 + ("block",) * 3 + ("halving_block",) + ("block",) * 6
    )
    assert graph.choices[2] == {"width": 64, "group_width": 8}


def test_stages_are_within_what_is_promised():
    for genome in draws(SPACE, 500):
        values = SPACE.values(genome)
        made = SPACE.stages(genome)
        assert sum(stage.depth for stage in made) == values["depth"]
        assert 1 <= len(made) <= 4
        for width, _, group in made:
            assert width % group == 0
            assert group <= values["group_width"]
            assert width % 8 == 0
            assert width <= SPACE.operators["block"]["width"].high + 16
        assert made[0].width == pytest.approx(values["w_0"], abs=16)


def test_digests_are_those_of_stages():
    by_digest = {}
    for genome in draws(spaces.load("regnet", depth=5, width=16), 300, seed=1):
        assert by_digest.setdefault(genome.digest, tuple(SPACE.stages(genome))) == tuple(SPACE.stages(genome))
    assert len(set(by_digest.values())) == len(by_digest) < 300


def test_other_inputs_and_options():
    space = spaces.load("regnet", spaces.image(1, 9, 8, classes=3), depth=9, width=30, stem_stride=1)
    assert space.fields["w_a"].values == (8, 16, 24)
    assert space.fields["depth"].values == (4, 5, 6, 7, 8, 9)
    other = space.at(spaces.image())
    assert (other.depth, other.width, other.stem_stride, other.io) == (9, 30, 1, spaces.image())
    assert refusal(spaces.load, "regnet", spaces.vector(4)) == (
        "space 'regnet' reads images, but it was given VectorIO(features=4, outputs=1)"
    )
    assert refusal(spaces.load, "regnet", depth=3) == (
        "space 'regnet': depth = 3, but it must be an integer of at least 4"
    )
    assert (
        refusal(spaces.load, "regnet", stem_stride=3)
        == "space 'regnet': stem_stride = 3, but it must be 1 or 2"
    )
    assert refusal(SPACE.parse, TEXT.replace("w_0=24", "w_0=25")).startswith("w_0: 25 is not allowed")


@pytest.mark.parametrize(
    "io, stem_stride",
    [(spaces.image(), 2), (spaces.image(1, 9, 7, classes=3), 1), (spaces.image(2, 1, 33), 2)],
)
def test_cost_is_that_of_the_network_as_built(io, stem_stride):
    space = spaces.load("regnet", io, depth=12, width=32, stem_stride=stem_stride)
    for genome in draws(space, 4):
        check_cost(space, genome, torch.zeros(2, io.channels, io.height, io.width), io.classes)


def test_forward_is_that_of_a_naive_network():
    space = spaces.load("regnet", spaces.image(2, 11, 6, classes=3), depth=8, width=24)
    for genome in draws(space, 4, seed=1):
        torch.manual_seed(0)
        model = space.build(genome).double().eval()
        tensors = []
        for key, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                if tensor.dim() == 1:
                    tensor.copy_(torch.rand_like(tensor) + ("var" in key))
                tensors.append(tensor)
        x_NCHW = torch.randn(3, 2, 11, 6, dtype=torch.float64)
        torch.testing.assert_close(model(x_NCHW), naive(iter(tensors), space.stages(genome), x_NCHW))


def naive(tensors, made, x_NCHW):
    """The network of the paper, step by step, with the tensors of a model in the order of its steps."""

    def conv(x_NCHW, stride=1, groups=1):
        weight = next(tensors)
        x_NCHW = functional.conv2d(
            x_NCHW, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups
        )
        scale, shift, mean, variance = (next(tensors)[:, None, None] for _ in range(4))
        return (x_NCHW - mean) / (variance + 1e-5).sqrt() * scale + shift

    x_NCHW = conv(x_NCHW, stride=2).relu()
    assert x_NCHW.shape[1] == STEM
    for width, depth, group in made:
        for block in range(depth):
            stride = 2 if block == 0 else 1
            y_NCHW = conv(conv(conv(x_NCHW).relu(), stride, width // group).relu())
            x_NCHW = ((conv(x_NCHW, 2) if block == 0 else x_NCHW) + y_NCHW).relu()
    logits = x_NCHW.mean(dim=(2, 3)) @ next(tensors).T + next(tensors)
    assert next(tensors, None) is None
    return logits


def test_a_predictor_learns_the_space():
    genomes = draws(SPACE, 60, seed=2)
    losses = [abs(SPACE.values(genome)["depth"] - 20) for genome in genomes]
    predictor = predictors.load("trees", space=SPACE).fit(genomes[:30], losses[:30])
    guessed = predictor.predict(genomes[30:]).mean
    assert np.corrcoef(guessed, losses[30:])[0, 1] > 0.8
