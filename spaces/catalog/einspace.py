"""einspace (Ericsson et al. 2024, arXiv 2405.20838, section 3 and appendix A): networks of four forms.

A shape is that of an image, (channels, height, width), or of tokens, (tokens, features). Sizes of axes in names of
terminals count from 1, after the batch: `group_2_1` halves the channels, `permute_132` exchanges height and width.
Linear layers and softmax act on the last axis, norm is that of a batch for images and of layers for tokens, as in
the authors' code. `im2col_3_2_1` unfolds patches of 3 x 3 with stride 2 and padding 1 into tokens, and `col2im`
makes tokens the channels of an image of the height and width that the innermost im2col around it has left.

Here col2im asks for as many tokens as that image has pixels. The authors' code reshapes whatever has a number of
elements that divides, which mixes tokens and features: `einspace_loose` allows that too.
"""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING

from spaces.catalog.einspace_models import MODELS
from spaces.flow.grammar import FlowGrammar, Fused
from spaces.flow.terminal import same_axes

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from spaces.flow import Scope, Shape
    from spaces.flow.terminal import Axes
    from spaces.flow.tree import Node

WAYS = (2, 4, 8)
LINEAR = (16, 32, 64, 128, 256, 512, 1024, 2048)
PERMUTATIONS = ("21", "132", "213", "231", "312", "321")
IM2COL = ((1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), (4, 4, 0), (8, 8, 0), (16, 16, 0))
"""Kernel, stride and padding."""


def unfolded(shape: Shape, kernel: int, stride: int, padding: int) -> Scope:
    """Height and width after a convolution; None where a patch is larger than the image, or there is none."""
    if len(shape) != 3 or min(shape[1:]) < kernel:
        return None
    return tuple([(size + 2 * padding - kernel) // stride + 1 for size in shape[1:]])


def _declare(name: str, loose: bool) -> FlowGrammar:
    about = "einspace where col2im takes any tokens whose elements fill an image, as in its authors' code."
    grammar = FlowGrammar(name, clones=WAYS, fuse=_convolution, named=MODELS, about=about if loose else None)
    for dim in (1, 2, 3):
        for ways in WAYS:
            _group(grammar, ways, dim)
    for scaled in (False, True):
        _dot(grammar, scaled)
    for dim in (1, 2, 3):
        for ways in WAYS:
            _concatenate(grammar, ways, dim)
    for order in PERMUTATIONS:
        _permute(grammar, order)
    for kernel, stride, padding in IM2COL:
        _im2col(grammar, kernel, stride, padding)
    _col2im(grammar, loose)
    for width in LINEAR:
        _linear(grammar, width)
    grammar.computation(
        "norm",
        module=_block("Norm", 1),
        cost=lambda shape, out: (2 * (shape[0] if len(shape) == 3 else shape[-1]), 0),
        constant=lambda shape: len(shape) == 2 and shape[-1] == 1,
        sums=lambda shape, axes: axes - {0} if len(shape) == 3 else frozenset(),
    )
    grammar.computation("leaky_relu", module=_block("LeakyReLU", 0))
    grammar.computation(
        "softmax",
        module=_block("Softmax", 0),
        constant=lambda shape: shape[-1] == 1,
        sums=lambda shape, axes: None if len(shape) - 1 in axes else frozenset(),
    )
    grammar.computation(
        "position",
        module=_block("Position", 1),
        cost=lambda shape, out: (math.prod(shape), 0),
        sums=same_axes,
    )
    return grammar


def _block(name: str, shapes: int, *arguments: object) -> Callable[..., nn.Module]:
    """What builds a module of `spaces.networks.einspace` from arguments and the first of the shapes in and out."""

    def module(*given: object) -> nn.Module:
        from spaces.networks import einspace as modules

        return getattr(modules, name)(*arguments, *given[:shapes])

    return module


def _group(grammar: FlowGrammar, ways: int, dim: int) -> None:
    def gives(shape: Shape) -> Shape | None:
        if dim > len(shape) or shape[dim - 1] % ways:
            return None
        return (*shape[: dim - 1], shape[dim - 1] // ways, *shape[dim:])

    grammar.fork(
        f"group_{ways}_{dim}",
        ways=ways,
        gives=gives,
        module=_block("Group", 0, ways, dim),
        sums=lambda shape, axes: axes - {dim - 1},
    )


def _dot(grammar: FlowGrammar, scaled: bool) -> None:
    def gives(shapes: tuple[Shape, ...]) -> Shape | None:
        a, b = shapes
        fits = len(a) == len(b) and a[:-2] == b[:-2] and a[-1] == b[-2]
        return (*a[:-1], b[-1]) if fits else None

    def wants(first: Shape, out: Shape | None) -> tuple[int | None, ...] | None:
        if out is None:
            return (*first[:-2], first[-1], None)
        return (*first[:-2], first[-1], out[-1]) if out[:-1] == first[:-1] else None

    grammar.join(
        "scaled_dot" if scaled else "dot",
        ways=2,
        gives=gives,
        wants=wants,
        module=_block("Dot", 0, scaled),
        cost=lambda shapes, out: (0, 2 * math.prod(out) * shapes[0][-1]),
    )


def _concatenate(grammar: FlowGrammar, ways: int, dim: int) -> None:
    place = dim - 1

    def gives(shapes: tuple[Shape, ...]) -> Shape | None:
        first = shapes[0]
        if place >= len(first):
            return None
        before, after = first[:place], first[dim:]
        for shape in set(shapes):
            if len(shape) != len(first) or shape[:place] != before or shape[dim:] != after:
                return None
        return (*before, sum([shape[place] for shape in shapes]), *after)

    def wants(first: Shape, out: Shape | None) -> tuple[int | None, ...] | None:
        if place >= len(first):
            return None
        before, after = first[:place], first[dim:]
        if out is None:
            return (*before, None, *after)
        if (
            len(out) != len(first)
            or out[:place] != before
            or out[dim:] != after
            or out[place] <= first[place]
        ):
            return None
        return (*before, out[place] - first[place], *after)

    module = _block("Concatenate", 0, dim)
    grammar.join(f"cat_{ways}_{dim}", ways=ways, gives=gives, wants=wants, module=module, sums=same_axes)


def _permute(grammar: FlowGrammar, order: str) -> None:
    places = [int(digit) - 1 for digit in order]
    rank, permuted = len(order), itemgetter(*places)

    def gives(shape: Shape) -> Shape | None:
        return permuted(shape) if len(shape) == rank else None

    def sums(shape: Shape, axes: Axes) -> Axes:
        return frozenset([places[axis] for axis in axes])

    module = _block("Permute", 0, [int(digit) for digit in order])
    grammar.pre(f"permute_{order}", gives=gives, module=module, sums=sums)
    grammar.post(f"permute_{order}", gives=gives, module=module, sums=sums)


def _im2col(grammar: FlowGrammar, kernel: int, stride: int, padding: int) -> None:
    def opens(shape: Shape) -> Scope:
        return unfolded(shape, kernel, stride, padding)

    def gives(shape: Shape) -> Shape | None:
        image = unfolded(shape, kernel, stride, padding)
        return None if image is None else (math.prod(image), shape[0] * kernel * kernel)  # type: ignore[call-overload]

    def sums(shape: Shape, axes: Axes) -> Axes:
        """Patches of one pixel have its channels, and are all pixels where none is left out."""
        channels = frozenset({0}) if kernel == 1 and 1 in axes else frozenset()
        return channels | ({1, 2} if kernel == stride == 1 and 0 in axes else set())

    module = _block("Im2Col", 0, kernel, stride, padding)
    name = f"im2col_{kernel}_{stride}_{padding}"
    grammar.pre(name, gives=gives, opens=opens, module=module, view=False, sums=sums)


def _col2im(grammar: FlowGrammar, loose: bool) -> None:
    def gives(shape: Shape, image: tuple[int, int] | None) -> Shape | None:
        if len(shape) != 2 or image is None:
            return None
        pixels = math.prod(image)
        if shape[0] == pixels:
            return (shape[1], *image)
        channels, rest = divmod(shape[0] * shape[1], pixels)
        return (channels, *image) if loose and channels and not rest else None

    def module(shape: Shape, out: Shape) -> nn.Module:
        from spaces.networks.einspace import Col2Im

        return Col2Im(out)

    def sums(shape: Shape, axes: Axes) -> Axes:
        """Channels are features, and all places are all tokens."""
        if loose:
            return frozenset()
        features = frozenset({1}) if 0 in axes else frozenset()
        return features | ({0} if axes >= {1, 2} else set())

    grammar.post("col2im", gives=gives, module=module, scoped=True, sums=sums)


def _linear(grammar: FlowGrammar, width: int) -> None:
    grammar.computation(
        f"linear_{width}",
        gives=lambda shape: (*shape[:-1], width),
        module=lambda shape, out: _block("Linear", 0, shape[-1], width)(),
        cost=lambda shape, out: ((shape[-1] + 1) * width, 2 * math.prod(shape) * width),
        sums=lambda shape, axes: axes - {len(shape) - 1},
    )


def _convolution(node: Node) -> Fused | None:
    """A routing of im2col, linear and col2im as a convolution: the same function with the same number of weights."""
    pre, post = node.terminals
    inner = node.children[0]
    if not (pre.name.startswith("im2col") and post.name == "col2im" and inner.form == "computation"):
        return None
    if not inner.terminals[0].name.startswith("linear"):
        return None
    kernel, stride, padding = (int(number) for number in pre.name.split("_")[1:])
    module = _block("Conv2d", 0, node.shape[0], node.out[0], kernel, stride, padding)
    return Fused(f"conv_{kernel}_{stride}_{padding}", module)


einspace = _declare("einspace", loose=False)
einspace_loose = _declare("einspace_loose", loose=True)
