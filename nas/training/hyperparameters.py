"""Hyperparameters of a campaign file: what of the recipe each genome says by itself. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import spaces
from nas.options import call_options, refuse
from nas.training.recipe import Recipe
from nas.types import InvalidInput
from spaces.errors import suggest
from spaces.fields import Choice, Real


def fields(tables: Mapping[str, Any]) -> dict[str, Choice | Real]:
    """What hyperparameters may be: of each a list of values, whose neighbours are the next, or a range.

    Raises:
        InvalidInput: one is neither.
    """
    found = {}
    for name, said in tables.items():
        key = f"space.hyperparameters.{name}"
        try:
            if isinstance(said, list):
                found[name] = spaces.choice(*said, ordered=True)
            elif isinstance(said, dict):
                found[name] = spaces.real(**call_options(spaces.real, said, key))
            else:
                refuse(
                    key, said, "a list of values, or a range such as {low = 0.001, high = 0.01, log = true}"
                )
        except spaces.InvalidGrammar as error:
            raise InvalidInput(f"'{key}': {error}") from None
    return found


def check(space: spaces.Space, recipe: Mapping[str, Any]) -> None:
    """Raises InvalidInput where genomes say what the recipe has not or does not allow, before any is trained."""
    if not isinstance(space, spaces.JointSpace):
        return
    settings = [setting.name for setting in dataclasses.fields(Recipe)]
    for name, field in space.fields.items():
        place = f"hyperparameter {name!r} of space {space.name!r}"
        if name not in settings:
            raise InvalidInput(f"{place} is no setting of the recipe{suggest(name, settings)}")
        for value in field.values if isinstance(field, Choice) else (field.low, field.high):
            try:
                Recipe(**call_options(Recipe, {**recipe, name: value}, "recipe"))
            except InvalidInput as error:
                raise InvalidInput(f"{place}: {error}") from None
