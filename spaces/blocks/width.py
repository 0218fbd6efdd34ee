"""Which dimensions of parameters are width, found by building a network at several of them."""

from collections.abc import Callable

import torch
from torch import nn


def width_dimensions(make: Callable[[int], nn.Module], width: int) -> dict[str, tuple[bool, ...]]:
    """For each parameter of `make(width)`, which of its dimensions grow with the width.

    Rules that transfer hyperparameters over widths (muP, Yang et al., arXiv 2203.03466, section 3) ask for nothing
    else: a parameter with one such dimension is like a vector, with two like a matrix, with none a constant. Choices
    that are kept, as numbers of heads, states, experts and slots, are not width. Parameters that are shared have the
    first of their names.

    The network is built at the width and at 16 times it, on the meta device, which holds no numbers. Raises ValueError
    where its parameters are not the same ones at both.
    """
    with torch.device("meta"):
        narrow, wide = (
            {name: tuple(parameter.shape) for name, parameter in make(at).named_parameters()}
            for at in (width, 16 * width)
        )
    if other := sorted(narrow.keys() ^ wide.keys()):
        raise ValueError(f"{other[0]} is a parameter at only one of the widths {width} and {16 * width}")
    tags = {}
    for name, shape in narrow.items():
        if len(shape) != len(wide[name]):
            raise ValueError(f"{name} has shape {shape} at width {width}, and {wide[name]} at {16 * width}")
        tags[name] = tuple(one != other for one, other in zip(shape, wide[name], strict=True))
    return tags
