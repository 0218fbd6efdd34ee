"""Measurements of several tables together, where they compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.description import InvalidTable
from benchmarks.table import Table

if TYPE_CHECKING:
    import pyarrow


def check_comparable(first: Table, other: Table, metric: str | None = None) -> None:
    """Raises InvalidTable, with the reason, where a metric of two tables does not compare.

    It does where both tell it in one unit and direction, of one split of the same data. Where none tells which data
    that is, of one source and one space with its input and output.

    Args:
        metric: of both; None: the objective of each.
    """
    ours, theirs = first.metric(metric), other.metric(metric)
    told = [
        ("is told in", ours.unit or "no unit", theirs.unit or "no unit"),
        ("is better towards", ours.direction, theirs.direction),
        ("is of the split", ours.split or "none", theirs.split or "none"),
        ("was measured on", ours.data or "data that is not told", theirs.data or "data that is not told"),
    ]
    if not ours.data and not theirs.data:
        told.append(("comes from", first.description.source, other.description.source))
        told.append(("is of genomes for", str(dict(first.description.io)), str(dict(other.description.io))))
    for what, one, two in told:
        if one != two:
            raise InvalidTable(
                f"{ours.name!r} of table {first.name!r} does not compare with {theirs.name!r} of table {other.name!r}: "
                f"one {what} {one}, the other {two}"
            )


def stack(tables: Sequence[Table], metric: str | None = None) -> pyarrow.Table:
    """What several tables measured, below each other: `table`, `row`, `text` and `value`, of rows that were measured.

    Args:
        metric: of all; None: the objective of each.

    Raises:
        InvalidTable: there are no tables, a table has no such metric, or what they measured does not compare (see
            `check_comparable`).
    """
    import pyarrow

    if not tables:
        raise InvalidTable("there are no tables to stack")
    for other in tables[1:]:
        check_comparable(tables[0], other, metric)
    parts = []
    for table in tables:
        values = table.column(metric)
        rows = np.flatnonzero(~np.isnan(values))
        parts.append(
            pyarrow.table(
                {
                    "table": [table.name] * len(rows),
                    "row": pyarrow.array(rows),
                    "text": [table.genome(row).text for row in rows.tolist()],
                    "value": pyarrow.array(values[rows]),
                }
            )
        )
    return pyarrow.concat_tables(parts)
