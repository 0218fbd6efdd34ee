import numpy as np
import pytest
import torch
from torch import nn

import spaces
from spaces.blocks.measuring import count_flops
from spaces.blocks.mlp import SwiGLU
from spaces.blocks.multi_axis import MambaND
from spaces.blocks.spectral import FourierLayer, WholeEinFFT
from tests.spaces.flow.agreement import agree


@pytest.mark.parametrize("image", [(3, 12, 8), (1, 9, 15)], ids=str)
def test_trees_say_what_their_modules_do(image: tuple[int, int, int]) -> None:
    space = spaces.load("vision", spaces.image(*image, classes=3), nodes=30, operators=16, flops=4_000_000)
    rng = np.random.default_rng(0)
    for _ in range(15):
        genome = space.sample(rng)
        agree(space, genome)
        told = space.cost(genome).flops_per_token
        assert told == count_flops(space.build(genome), torch.randn(1, *image)), genome.text


@pytest.mark.parametrize(
    "name, blocks",
    [
        ("mamba_nd", [MambaND] * 8),
        ("simba", [MambaND, WholeEinFFT] * 4),
        ("fno", [FourierLayer] * 4),
    ],
)
def test_known_models_are_their_layers(name: str, blocks: list[type[nn.Module]]) -> None:
    space = spaces.load("vision", spaces.image(1, 8, 8, classes=10))
    model = space.build(space.architecture(name))
    known = (MambaND, WholeEinFFT, FourierLayer, SwiGLU)
    built = [module for module in model.modules() if isinstance(module, known)]
    assert [type(module) for module in built] == blocks
    orders = [module.order for module in built if isinstance(module, MambaND)]
    if name == "mamba_nd":
        assert orders == ["rows", "rows_back", "columns", "columns_back"] * 2
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def test_a_scan_by_columns_is_one_by_rows_of_the_image_turned() -> None:
    """Of an image that is no square, whose rows and columns cannot be mistaken for one another."""
    alone = "routing(pre=identity, inner=computation(op=scan_{}), post=identity)"
    space = spaces.load("vision", spaces.image(4, 3, 5, classes=2))
    by_rows, by_columns = (space.build(space.parse(alone.format(order)))[0] for order in ("rows", "columns"))
    by_columns.load_state_dict(by_rows.state_dict())
    x_NCHW = torch.randn(2, 4, 3, 5)
    turned = spaces.load("vision", spaces.image(4, 5, 3, classes=2))
    of_turned = turned.build(turned.parse(alone.format("rows")))[0]
    of_turned.load_state_dict(by_rows.state_dict())
    torch.testing.assert_close(by_columns(x_NCHW), of_turned(x_NCHW.transpose(2, 3)).transpose(2, 3))


def test_vectors_are_refused() -> None:
    with pytest.raises(spaces.InvalidSpace, match="space 'vision' reads images, but it was given VectorIO"):
        spaces.load("vision", spaces.vector(6))
