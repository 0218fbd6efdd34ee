"""Rows of a file as training runs: how far each had come, and what was measured on the way."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from benchmarks import Fidelities
from nas.tables.rows import Rows
from nas.types import InvalidInput


class Runs(NamedTuple):
    """The rows of each run, by the amount of training, and where they were measured along training the axis."""

    rows: list[list[int]]
    axis: Fidelities | None = None
    amounts: np.ndarray | None = None

    def ends(self, values: np.ndarray) -> np.ndarray:
        """What the last row of each run says, [runs, columns], of values [rows, columns]."""
        return values[[rows[-1] for rows in self.rows]]

    def curves(self, values: np.ndarray) -> np.ndarray:
        """Values along training, [runs, columns, amounts]; NaN where there were none."""
        assert self.axis is not None
        assert self.amounts is not None
        curves = np.full((len(self.rows), values.shape[1], len(self.axis.amounts)), np.nan)
        places = np.searchsorted(self.axis.amounts, self.amounts)
        for run, rows in enumerate(self.rows):
            curves[run][:, places[rows]] = values[rows].T
        return curves


def runs_along(
    found: Rows,
    genomes: Sequence[Hashable],
    column: str,
    unit: Literal["epochs", "steps", "tokens"],
    run: tuple[str, ...] = (),
    resumable: bool = True,
) -> Runs:
    """Rows that are of training as it went on; those of before training, at an amount of 0, are left out.

    Args:
        genomes: what tells the genomes of the rows apart.
        column: of the amount of training.
        run: the columns that tell runs apart, where genomes do not.

    Raises:
        InvalidInput: amounts are no whole numbers, or two rows are one.
    """
    amounts = found.numbers("along.column", column)
    if not (amounts == np.round(np.abs(amounts))).all():
        raise InvalidInput(
            f"'along.column' is {column!r}, whose amounts of training must be whole numbers, from 0"
        )
    keys = [*zip(*(found.column("along.run", name) for name in run), strict=True)] or genomes
    by_run: dict[Hashable, list[int]] = {}
    for row in np.argsort(amounts, kind="stable").tolist():
        if amounts[row]:
            by_run.setdefault(keys[row], []).append(row)
    for rows in by_run.values():
        twice = np.flatnonzero(np.diff(amounts[rows]) == 0)
        if len(twice):
            one, two = rows[twice[0]], rows[twice[0] + 1]
            raise InvalidInput(
                f"{found.place(one)} and {found.place(two)} are of one run after {amounts[one]:.0f} {unit}; "
                "'along.run' may name columns that tell runs apart"
            )
    known = sorted({int(amount) for amount in amounts if amount})
    return Runs(list(by_run.values()), Fidelities(unit, tuple(known), resumable), amounts)
