"""What the models of a space read, for examples and references."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.types import InvalidInput
from spaces import Space
from spaces.io import ImageIO, TokenIO, VectorIO


def input_name(space: Space) -> str:
    """What the input of the models of a space is called.

    Raises:
        InvalidInput: they read more than one tensor.
    """
    for kind, name in ((TokenIO, "tokens"), (ImageIO, "images"), (VectorIO, "features")):
        if isinstance(space.io, kind):
            return name
    raise InvalidInput(
        "only models over tokens, images or vectors can be exported, "
        f"but space {space.name!r} is bound to {space.io}"
    )


def example(space: Space, number: int, generator: torch.Generator | None = None) -> Tensor:
    """Random inputs: token ids [number, context], images [number, channels, height, width], or [number, features]."""
    io = space.io
    if isinstance(io, TokenIO):
        return torch.randint(io.vocab, (number, space.context), generator=generator)
    if isinstance(io, ImageIO):
        return torch.randn(number, io.channels, io.height, io.width, generator=generator)
    assert isinstance(io, VectorIO), "`input_name` refuses all others"
    return torch.randn(number, io.features, generator=generator)
