"""Image classifiers of layers that read a whole image: scans, Fourier layers, EinFFT and feed-forward layers.

A shape is that of an image, (channels, height, width). `patches_4_64` makes each 4 x 4 patch one pixel of 64 channels,
`patches_1_64` changes the channels; `position` adds a learned image. All else are layers x + f(norm(x)) over pixels as
tokens: `scan_rows`, `scan_rows_back`, `scan_columns` and `scan_columns_back` are those of Mamba-ND (state 16, twice the
width inside), `fourier_8_2` the Fourier layer with 8 modes over both axes, `fourier_8_1` over all pixels as one row,
`einfft_4` SiMBA's with 4 blocks, `swiglu_2` SwiGLU of twice the width. Layers follow one another, stand in branches, or
inside a routing from `unshuffle_2`, which makes squares of 2 x 2 pixels one of more channels, to `shuffle_2`, back.
Known models, each on patches of 4 (of small images 2 or 1) but the last:

- mamba_nd (Li et al. 2024, arXiv 2402.05892): eight scans of width 128, the four orders by turns.
- simba (Patro and Agneeswaran 2024, arXiv 2403.15360): four scans by rows of width 64, each before an EinFFT of 4
  blocks; here of one stage, without the downsampling and the convolutional stem of the paper.
- fno (Li et al. 2020, arXiv 2010.08895): four Fourier layers of width 32 with 12 modes, on pixels; here with norms and
  residuals, and the head of the space in place of a field.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from spaces.blocks.costs import COSTS
from spaces.catalog.einspace_models import chain
from spaces.flow.grammar import FlowGrammar
from spaces.flow.terminal import same_axes

if TYPE_CHECKING:
    from torch import nn

    from spaces.flow import Shape

PATCHES = (1, 2, 4)
WIDTHS = (32, 64, 128)
ORDERS = ("rows", "rows_back", "columns", "columns_back")
SCAN = {"state": 16, "expand": 2}


def _step(name: str) -> str:
    return f"computation(op={name})"


def _patches(shape: Shape, width: int) -> list[str]:
    """The beginning of the known models."""
    patch = max(size for size in (1, 2, 4) if size <= min(shape[1:]) and (size == 1 or min(shape[1:]) > 8))
    return [_step(f"patches_{patch}_{width}"), _step("position")]


def _mamba_nd(shape: Shape) -> str:
    return chain(*_patches(shape, 128), *[_step(f"scan_{order}") for order in ORDERS] * 2)


def _simba(shape: Shape) -> str:
    return chain(*_patches(shape, 64), *[_step("scan_rows"), _step("einfft_4")] * 4)


def _fno(shape: Shape) -> str:
    return chain(_step("patches_1_32"), _step("position"), *[_step("fourier_12_2")] * 4)


vision = FlowGrammar(
    "vision",
    clones=(2, 4),
    computation=0.5,
    named={"mamba_nd": _mamba_nd, "simba": _simba, "fno": _fno},
    about="Scans over rows and columns, Fourier layers and EinFFT over images; Mamba-ND, SiMBA and FNO by name.",
    images=True,
)


def _position(shape: Shape, out: Shape) -> nn.Module:
    from spaces.networks.image import Position

    return Position(shape)


def _unshuffle(shape: Shape, out: Shape) -> nn.Module:
    from spaces.networks.image import PixelUnshuffle

    return PixelUnshuffle(2)


def _shuffle(shape: Shape, out: Shape) -> nn.Module:
    from spaces.networks.image import PixelShuffle

    return PixelShuffle(2)


def _unshuffled(shape: Shape) -> Shape | None:
    channels, height, width = shape
    return None if height % 2 or width % 2 else (4 * channels, height // 2, width // 2)


def _shuffled(shape: Shape) -> Shape | None:
    channels, height, width = shape
    return None if channels % 4 else (channels // 4, 2 * height, 2 * width)


def _declare_patches(patch: int, width: int) -> None:
    def gives(shape: Shape) -> Shape | None:
        if min(shape[1:]) < patch:
            return None
        return (width, shape[1] // patch, shape[2] // patch)

    def module(shape: Shape, out: Shape) -> nn.Module:
        from spaces.networks.image import Conv2d

        return Conv2d(shape[0], width, patch, patch)

    def cost(shape: Shape, out: Shape) -> tuple[int, int]:
        taps = shape[0] * patch * patch
        return (taps + 1) * width, 2 * taps * out[0] * out[1] * out[2]

    vision.computation(f"patches_{patch}_{width}", gives=gives, module=module, cost=cost)


def _declare_layer(name: str, block: str, *, axes: int = 0, divides: int = 1, **choices: Any) -> None:
    """A layer around a block, by the name of its costs.

    axes: 2 where the block has to know the columns of the image. Channels must be a multiple of `divides`.
    """

    def given(shape: Shape) -> dict[str, Any]:
        return {**choices, "columns": shape[2]} if axes == 2 else choices

    def gives(shape: Shape) -> Shape | None:
        return None if shape[0] % divides else shape

    def module(shape: Shape, out: Shape) -> nn.Module:
        from spaces.networks.image import OverImage

        return OverImage(shape[0], block, **given(shape))

    def cost(shape: Shape, out: Shape) -> tuple[int, int]:
        at, tokens = SimpleNamespace(width=shape[0]), shape[1] * shape[2]
        total = COSTS["residual"](at, tokens) + COSTS[block](at, tokens, **given(shape))
        return total.parameters, round(total.flops_per_token * tokens)

    vision.computation(name, gives=gives, module=module, cost=cost)


for _patch in PATCHES:
    for _width in WIDTHS:
        _declare_patches(_patch, _width)
vision.computation(
    "position",
    module=_position,
    cost=lambda shape, out: (shape[0] * shape[1] * shape[2], 0),
    sums=same_axes,
)
vision.pre("unshuffle_2", gives=_unshuffled, module=_unshuffle)
vision.post("shuffle_2", gives=_shuffled, module=_shuffle)
for _order in ORDERS:
    _declare_layer(f"scan_{_order}", "mamba_nd", axes=2, order=_order, **SCAN)
for _modes in (4, 8, 12):
    for _axes in (1, 2):
        _declare_layer(f"fourier_{_modes}_{_axes}", "fourier_layer", axes=_axes, modes=_modes)
for _blocks in (2, 4, 8):
    _declare_layer(f"einfft_{_blocks}", "whole_einfft", divides=_blocks, blocks=_blocks)
for _mult in (1, 2, 4):
    _declare_layer(f"swiglu_{_mult}", "swiglu", mult=_mult)
