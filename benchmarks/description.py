"""What a table is: its metrics, its space, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import spaces
from spaces import ProductSpace, Space
from spaces.errors import InvalidInput
from spaces.fields import Choice, Real
from spaces.io import from_plain

TRAIN_TIME = "train_time"
"""The metric that says how long training took, in seconds, by which campaigns are simulated."""

Split = Literal["train", "valid", "test"]

Unit = Literal["epochs", "steps", "tokens"]
"""What training is counted in."""


class InvalidTable(InvalidInput):
    """A table, metric or row that does not exist, or a file that is no table."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a table holds of every row.

    Attributes:
        direction: whether small or large is good.
        split: the part of the data that it was measured on; None: it is no matter of data, as a time or a size.
            A name that begins with one, as "valid_acc", or has "valid" or "test" among its words, must be of it.
        data: which data that is, where others measure the same on other data: only losses of one data, told in one
            unit, compare.
        seeds: how many training runs were measured; 1: one value a row.
        log: the values span decades, so that differences are compared on a logarithmic scale.
        curve: it was measured along training, at the fidelities of the table, and not at its end alone.
    """

    name: str
    direction: Literal["min", "max"]
    unit: str
    split: Split | None = None
    seeds: int = 1
    log: bool = False
    curve: bool = False
    data: str = ""


@dataclass(frozen=True, slots=True)
class Fidelities:
    """How far trainings had come when they were measured.

    Attributes:
        unit: what training is counted in.
        amounts: of training, ascending. A row need not have been measured at all of them.
        resumable: a row's values are of one training as it went on, so that it may be stopped and resumed. Else each
            amount is a training of its own, with its own schedule.
    """

    unit: Unit
    amounts: tuple[int, ...]
    resumable: bool = True


@dataclass(frozen=True)
class Description:
    """What a table is and where it comes from.

    Attributes:
        space: the space whose genomes are the rows, by name or as "package.module:attribute", which is imported when
            a genome is asked for: open no table whose code you would not run.
        io: what the space is bound to, as {"image": {"channels": 3, ...}}.
        options: limits and other options of the space.
        listed: the rows are some genomes of the space, listed by their texts, not all in the order of their ranks.
        fidelities: where metrics have curves, their axis.
        objective: the metric that a search is after, never of the test split.
        hyperparameters: how each genome says it was trained, beside an architecture of the space (`spaces.joint`): of
            each name a list of values in their order, or a range as {"low": 0.001, "high": 0.01, "log": True}.
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
    fidelities: Fidelities | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain values; the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Description:
        """From what `to_dict` gave, by way of JSON or not.

        Raises:
            KeyError, TypeError: it is no description.
        """
        metrics = tuple(Metric(**metric) for metric in plain["metrics"])
        axis = plain["fidelities"]
        if axis is not None:
            axis = Fidelities(**{**axis, "amounts": tuple(axis["amounts"])})
        return cls(**{**plain, "metrics": metrics, "fidelities": axis})

    def load_space(self) -> Space:
        """The space of the rows.

        Raises:
            InvalidSpace: it is unknown.
            InvalidTable: its genomes are neither ranked nor listed, or the input and output or the hyperparameters are
                not understood.
        """
        try:
            io = from_plain(self.io)
        except spaces.InvalidSpace as error:
            raise InvalidTable(f"table {self.name!r}: {error}") from None
        space: Space = spaces.load(self.space, io, **self.options)
        if self.hyperparameters:
            space = spaces.joint(space, {key: self._field(key) for key in self.hyperparameters})
        if not self.listed and not isinstance(space, ProductSpace):
            raise InvalidTable(f"table {self.name!r}: the genomes of space {self.space!r} have no ranks")
        return space

    def _field(self, name: str) -> Choice | Real:
        """What a hyperparameter may be.

        Raises:
            InvalidTable: that is not understood.
        """
        said = self.hyperparameters[name]
        try:
            if isinstance(said, Mapping):
                return spaces.real(**said)
            if isinstance(said, Sequence) and not isinstance(said, str):
                return spaces.choice(*said, ordered=True)
        except (TypeError, ValueError, spaces.InvalidGrammar):
            pass
        raise InvalidTable(
            f"table {self.name!r}: hyperparameter {name!r} is {said!r}, but must be a list of values or a range as "
            "{'low': 0.001, 'high': 0.01, 'log': True}"
        )
