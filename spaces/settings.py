"""Spaces of settings: one value of each of some choices and ranges, as a function of hyperparameters takes them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spaces.cost import Cost
from spaces.errors import InvalidSpace, suggest
from spaces.fields import Choice, Real, spell
from spaces.genome import Genome
from spaces.grammar import Grammar
from spaces.io import IO
from spaces.mutations import MUTATIONS, Mutation
from spaces.product import NOWHERE, ProductSpace
from spaces.trees import TreeSpace, uncosted

if TYPE_CHECKING:
    from torch import nn

NAME = "settings"


class SettingsSpace(TreeSpace):
    """All values of some choices and ranges; where all are choices, `ProductSpace` has ranks too.

    Args:
        fields: the choices and ranges by name.
        io: as spaces of networks have it; here it means nothing.

    Raises:
        InvalidSpace: there are no fields, or one is neither.
        InvalidGrammar: a field is no name.
    """

    context = 1
    named: tuple[str, ...] = ()

    def __init__(self, fields: Mapping[str, Choice | Real], io: IO = NOWHERE) -> None:
        if not fields:
            raise InvalidSpace(f"space {NAME!r} has no fields")
        for key, field in fields.items():
            if not isinstance(field, Choice | Real):
                raise InvalidSpace(
                    f"space {NAME!r}: field {key!r} is {field!r}, but must be a choice or a range"
                )
        grammar = Grammar(NAME, start=NAME)
        grammar.add(NAME, (NAME,), dict(fields), form="operator")
        super().__init__(uncosted(grammar, 1), io)
        self.fields = dict(fields)

    def __reduce__(self) -> Any:
        return SettingsSpace, (self.fields, self.io)

    @cached_property
    def mutations(self) -> Mapping[str, Mutation]:
        """One field changed."""
        return {"change": partial(self._apply, MUTATIONS["change"])}

    def at(self, io: IO) -> SettingsSpace:
        """The same space at another input and output."""
        return SettingsSpace(self.fields, io)

    def genome(self, **values: Any) -> Genome:
        """The genome with a value for every field.

        Raises:
            InvalidGenome: a field is missing or unknown, or a value is not allowed.
        """
        plain = {
            key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()
        }
        return self.parse(f"{NAME}({', '.join(f'{key}={spell(value)}' for key, value in plain.items())})")

    def values(self, genome: Genome) -> dict[str, Any]:
        """The value of every field."""
        found = self.tree(genome).choices()
        return {key: found[key] for key in self.fields}

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome | None:
        """Each field from either parent; None where that is the first parent."""
        parents = self.values(a), self.values(b)
        child = self.genome(**{key: parents[int(rng.random() * 2)][key] for key in self.fields})
        return None if child.digest == a.digest else child

    def architecture(self, name: str) -> Genome:
        """There are no known ones.

        Raises:
            InvalidSpace: always.
        """
        raise InvalidSpace(f"space {NAME!r} has no architecture {name!r}{suggest(name, self.named)}")

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """Settings are no networks.

        Raises:
            InvalidSpace: always.
        """
        raise InvalidSpace(f"space {NAME!r} does not say what its genomes cost")

    def build(self, genome: Genome) -> nn.Module:
        """Settings are no networks.

        Raises:
            InvalidSpace: always.
        """
        raise InvalidSpace(f"space {NAME!r} does not say how its genomes are built")


def settings(**fields: Choice | Real) -> ProductSpace | SettingsSpace:
    """The space of some choices and ranges: `settings(alpha=real(1e-6, 1, log=True), degree=choice(1, 2, 3))`.

    Raises:
        InvalidSpace: there are no fields, or one is neither.
        InvalidGrammar: a field is no name.
    """
    choices = {key: field for key, field in fields.items() if isinstance(field, Choice)}
    return ProductSpace(NAME, choices) if fields and len(choices) == len(fields) else SettingsSpace(fields)
