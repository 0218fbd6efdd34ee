"""What a space is bound to: the shapes that come in and go out. They decide which genomes are valid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spaces.errors import InvalidSpace


@dataclass(frozen=True, slots=True)
class TokenIO:
    """Token ids in, logits over the same vocabulary out; `width` is the size of the residual stream."""

    vocab: int
    width: int

    def __post_init__(self) -> None:
        for name in ("vocab", "width"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidSpace(f"tokens: {name} = {value!r}, but it must be an integer of at least 1")

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes that the root of a genome inherits."""
        return {"width": self.width}


IO = TokenIO


def tokens(vocab: int = 256, width: int = 128) -> TokenIO:
    """Autoregressive modelling over `vocab` token ids with a residual stream of `width` features."""
    return TokenIO(vocab, width)
