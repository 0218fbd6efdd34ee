"""Language models as published studies tell of them: what was trained, on how much, and how.

One schema for runs of many sources, so that their tables are asked alike. A genome is a value for each field that its
study tells; the values are those of the study, so that a space is made for each. Nothing is built of it: what a study
leaves open (norms, initialisation, ...) no text could say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spaces.errors import InvalidSpace, suggest
from spaces.fields import Choice
from spaces.io import IO, TokenIO, tokens
from spaces.product import ProductSpace

ARCHITECTURE: Mapping[str, str] = {
    "family": "what its layers are, as the study calls it",
    "size": "parameters, where the shape is not told",
    "width": "of the residual stream",
    "layers": "blocks of a mixer and a feed-forward network",
    "heads": "of attention",
    "head_width": "of one head",
    "feed_forward": "inner width",
    "experts": "of a routed layer",
    "experts_per_token": "so many take a token",
    "routed": "the share of layers that are routed",
}

RECIPE: Mapping[str, str] = {
    "data": "what it was trained on",
    "context": "tokens of a sequence",
    "tokens": "of the whole training, as planned",
    "token_multiple": "the same, as a multiple of what the study takes for compute-optimal",
    "flops": "of the whole training",
    "batch": "tokens of a step",
    "batch_sequences": "sequences of a step",
    "learning_rate": "at its peak",
    "weight_decay": "as the study's optimiser takes it",
    "warmup": "steps",
    "recipe": "the study's name for all else",
    "seed": "of its random numbers",
}

FIELDS = {**ARCHITECTURE, **RECIPE}
"""What each field is."""


class LanguageModels(ProductSpace):
    """The runs that some values of some fields span.

    Args:
        values: of each field that is told; numbers are put in their order.

    Raises:
        InvalidSpace: a field is unknown or has no values, or the input and output are not tokens.
    """

    schema = FIELDS
    """What a file may tell of its rows: those that it tells are the fields, and what stands there their values."""

    def __init__(self, io: IO | None = None, values: Mapping[str, Sequence[Any]] | None = None) -> None:
        io = tokens() if io is None else io
        values = {"width": (256, 512, 1024), "layers": (4, 8, 16)} if values is None else values
        if not isinstance(io, TokenIO):
            raise InvalidSpace(f"space 'language_model' reads tokens, but it was given {io}")
        for key in values:
            if key not in FIELDS:
                raise InvalidSpace(f"space 'language_model' knows no field {key!r}{suggest(key, FIELDS)}")
        super().__init__("language_model", {key: _choice(values[key]) for key in FIELDS if key in values}, io)
        self._given = {key: tuple(field.values) for key, field in self.fields.items()}

    def __reduce__(self) -> tuple[type[LanguageModels], tuple[IO, Mapping[str, Sequence[Any]]]]:
        return LanguageModels, (self.io, self._given)


def _choice(values: Sequence[Any]) -> Choice:
    """A field with these values, in order where all are numbers."""
    ordered = all(type(value) in (int, float) for value in values)
    return Choice(tuple(sorted(values)) if ordered else tuple(values), ordered)
