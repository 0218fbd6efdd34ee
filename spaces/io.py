"""What a space is bound to: the shapes that come in and go out. They decide which genomes are valid.

B: batch, L: length, N: nodes, E: edges. All sizes are integers of at least 1; else InvalidSpace is raised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
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


KINDS: dict[str, Callable[..., IO]] = {"image": image, "nodes": nodes, "tokens": tokens, "vector": vector}
"""What makes each input and output, by the name that files and the command line call it by."""


def plain(io: IO) -> dict[str, dict[str, int]]:
    """An input and output as plain values, {"image": {"channels": 3, ...}}; `from_plain` is the inverse."""
    names = {TokenIO: "tokens", ImageIO: "image", VectorIO: "vector", NodeIO: "nodes"}
    return {names[type(io)]: asdict(io)}


def from_plain(said: Any) -> IO:
    """The input and output of plain values; sizes that are left out have their defaults.

    Raises:
        InvalidSpace: it is none.
    """
    try:
        ((kind, sizes),) = said.items()
        io: IO = KINDS[kind](**sizes)
    except InvalidSpace:
        raise
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InvalidSpace(
            f"io is {said!r}, but must be one of {', '.join(KINDS)} with its sizes, as in "
            "{'vector': {'features': 9}}"
        ) from None
    return io
