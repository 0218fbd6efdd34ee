"""What a space is bound to: the shapes that come in and go out. They decide which genomes are valid.

B: batch, L: length, N: nodes, E: edges. All sizes are integers of at least 1; else InvalidSpace is raised.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from spaces.errors import InvalidSpace


def _check(io: Any, what: str) -> None:
    """Raises InvalidSpace if a size is not an integer of at least 1."""
    for field in fields(io):
        value = getattr(io, field.name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidSpace(f"{what}: {field.name} = {value!r}, but it must be an integer of at least 1")


@dataclass(frozen=True, slots=True)
class TokenIO:
    """Token ids [B, L] in, logits over the same vocabulary [B, L, vocab] out.

    `width` is the size of the residual stream.
    """

    vocab: int
    width: int

    def __post_init__(self) -> None:
        _check(self, "tokens")

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes that the root of a genome inherits."""
        return {"width": self.width}


@dataclass(frozen=True, slots=True)
class ImageIO:
    """Images [B, channels, height, width] in, logits over classes [B, classes] out."""

    channels: int
    height: int
    width: int
    classes: int

    def __post_init__(self) -> None:
        _check(self, "image")


@dataclass(frozen=True, slots=True)
class VectorIO:
    """Vectors [B, features] in, vectors of real numbers [B, outputs] out."""

    features: int
    outputs: int

    def __post_init__(self) -> None:
        _check(self, "vector")


@dataclass(frozen=True, slots=True)
class NodeIO:
    """The features of the nodes of a graph [N, features] and its edges [2, E], from row 0 to row 1, in; logits over the
    classes of each node [N, classes] out."""

    features: int
    classes: int

    def __post_init__(self) -> None:
        _check(self, "nodes")


IO = TokenIO | ImageIO | VectorIO | NodeIO


def tokens(vocab: int = 256, width: int = 128) -> TokenIO:
    """Autoregressive modelling over `vocab` token ids with a residual stream of `width` features; see `TokenIO`."""
    return TokenIO(vocab, width)


def image(channels: int = 3, height: int = 32, width: int = 32, classes: int = 10) -> ImageIO:
    """Classification of images; see `ImageIO`."""
    return ImageIO(channels, height, width, classes)


def vector(features: int, outputs: int = 1) -> VectorIO:
    """Regression from vectors to vectors; see `VectorIO`."""
    return VectorIO(features, outputs)


def nodes(features: int = 1433, classes: int = 7) -> NodeIO:
    """Classification of the nodes of a graph; by default of Cora (Yang et al. 2016, arXiv 1603.08861). See `NodeIO`."""
    return NodeIO(features, classes)
