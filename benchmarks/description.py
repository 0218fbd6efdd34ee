"""What a table is: its metrics, its space, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import spaces
from spaces import ProductSpace, Space
from spaces.errors import InvalidInput

TRAIN_TIME = "train_time"
"""The metric that says how long training took, in seconds, by which campaigns are simulated."""


class InvalidTable(InvalidInput):
    """A table, metric or row that does not exist, or a file that is no table."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a table holds of every row.

    Attributes:
        direction: whether small or large is good.
        split: the data that it was measured on; None: it is no matter of data, as a time or a size.
        seeds: how many training runs were measured; 1: one value a row.
        log: the values span decades, so that differences are compared on a logarithmic scale.
    """

    name: str
    direction: Literal["min", "max"]
    unit: str
    split: Literal["train", "valid", "test"] | None = None
    seeds: int = 1
    log: bool = False


@dataclass(frozen=True)
class Description:
    """What a table is and where it comes from.

    Attributes:
        space: the space whose genomes are the rows, by name or as "package.module:attribute", which is imported when
            a genome is asked for: open no table whose code you would not run.
        io: what the space is bound to, as {"image": {"channels": 3, ...}}.
        options: limits and other options of the space.
        listed: the rows are some genomes of the space, listed by their texts, not all in the order of their ranks.
        objective: the metric that a search is after, of the validation split.
        source: the package or file that it was made from, with its version.
    """

    name: str
    about: str
    space: str
    io: Mapping[str, Mapping[str, int]]
    objective: str
    metrics: tuple[Metric, ...]
    source: str = ""
    licence: str = ""
    paper: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    listed: bool = False

    def load_space(self) -> Space:
        """The space of the rows.

        Raises:
            InvalidSpace: it is unknown.
            InvalidTable: its genomes are neither ranked nor listed, or the input and output are not understood.
        """
        kinds: dict[str, Callable[..., spaces.IO]] = {
            "image": spaces.image,
            "nodes": spaces.nodes,
            "tokens": spaces.tokens,
            "vector": spaces.vector,
        }
        try:
            ((kind, sizes),) = self.io.items()
            io = kinds[kind](**sizes)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InvalidTable(
                f"table {self.name!r}: io is {self.io!r}, but must be one of {', '.join(kinds)} with its sizes, as in "
                "{'vector': {'features': 9}}"
            ) from None
        space = spaces.load(self.space, io, **self.options)
        if not self.listed and not isinstance(space, ProductSpace):
            raise InvalidTable(f"table {self.name!r}: the genomes of space {self.space!r} have no ranks")
        return space
