"""Conditions on rows, as "valid_acc > 90": a name, a comparison and a value, and nothing that is run as code."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.description import InvalidTable
from spaces import JointSpace, ProductSpace
from spaces.catalog.points import Points
from spaces.errors import suggest
from spaces.fields import spell

if TYPE_CHECKING:
    from benchmarks.table import Table

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}

FORM = re.compile(r"\s*(\w+)\s*(<=|>=|==|!=|<|>)\s*(.+?)\s*")


def matching(table: Table, condition: str, fidelity: int | None = None) -> np.ndarray:
    """Which rows meet a condition, [rows] bool; what was not measured meets none.

    Raises:
        InvalidTable: it is not understood, or names neither a metric nor a field or hyperparameter of the space, or
            a metric that was not measured after so much training.
    """
    found = FORM.fullmatch(condition)
    if found is None:
        raise InvalidTable(
            f"the condition {condition!r} is not understood; it must be a name, one of {', '.join(COMPARISONS)}, and a "
            "value, as in 'parameters < 500000'"
        )
    name, sign, value = found.groups()
    if name in table.metrics:
        try:
            bound = float(value)
        except ValueError:
            raise InvalidTable(
                f"the condition {condition!r} compares with {value!r}, which is no number"
            ) from None
        column = table.column_after(name, None, fidelity)
        return COMPARISONS[sign](column, bound) & ~np.isnan(column)
    space: Any = table.space
    fields = space.fields if isinstance(space, ProductSpace | JointSpace | Points) else {}
    if name not in fields:
        raise InvalidTable(
            f"table {table.name!r} has neither a metric nor a field {name!r}"
            f"{suggest(name, [*table.metrics, *fields])}"
        )
    if not isinstance(space, ProductSpace):
        said = [space.values(table.genome(row))[name] for row in range(len(table))]
        return np.array(_allowed(said, sign, value, condition))
    allowed = _allowed(space.fields[name].values, sign, value, condition)
    return np.array(allowed)[table.places[:, list(fields).index(name)]]


def _allowed(values: Sequence[Any], sign: str, wanted: str, condition: str) -> list[bool]:
    """Which values of a field compare as they should with one that is written."""
    numbers = [value if type(value) in (int, float) else None for value in values]
    try:
        bound = float(wanted)
    except ValueError:
        bound = None
    if sign in ("==", "!="):
        equal = [
            spell(value) == wanted or (number is not None and number == bound)
            for value, number in zip(values, numbers, strict=True)
        ]
        if not any(equal):
            known = dict.fromkeys(map(spell, values))
            raise InvalidTable(
                f"the condition {condition!r} names no value of the field{suggest(wanted, known)}"
            )
        return equal if sign == "==" else [not each for each in equal]
    if bound is None or not any(number is not None for number in numbers):
        raise InvalidTable(f"the condition {condition!r} orders what has no order; allowed: ==, !=")
    return [number is not None and bool(COMPARISONS[sign](number, bound)) for number in numbers]
