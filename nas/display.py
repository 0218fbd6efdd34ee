"""Numbers and ranked trials as a person reads them, on a terminal or in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from html import escape
from typing import Any

from nas.types import JSON, Objective, Trial


def ranking_rows(objectives: Sequence[Objective], ranked: Sequence[Trial]) -> list[JSON]:
    """Trials, best first: the objectives, the cost, where they came from, and their text.

    Where they differ in it, it is told for how long they were "trained".
    """
    shown = dict.fromkeys([*(objective.metric for objective in objectives), *_COSTS])
    trained = {str(trial.proposal.fidelity) for trial in ranked}
    rows: list[JSON] = []
    for place, trial in enumerate(ranked, start=1):
        values = trial.merits
        row: JSON = {"rank": place, "trial": trial.id}
        if len(trained) > 1:
            row["trained"] = str(trial.proposal.fidelity)
        row |= {key: values.get(key) for key in shown}
        rows.append({**row, "origin": trial.proposal.origin, "genome": trial.proposal.genome.text})
    return rows


def ranking_cells(rows: Sequence[JSON]) -> tuple[list[str], list[list[str]]]:
    """The heads and cells of a table of `ranking_rows`, without the genomes; its last column is text.

    There are columns for those costs that are known. Where no network has a decode state, as none over images has,
    there is no column for it, and FLOPs are told without saying that they are those of a token.
    """
    columns = [key for key in (rows[0] if rows else ()) if key not in ("rank", "trial", "origin", "genome")]
    columns = [key for key in columns if key not in _COSTS or any(row[key] is not None for row in rows)]
    names = {key: name for key, (name, _) in _COSTS.items()}
    if not any(row["state_bytes"] for row in rows):
        columns = [key for key in columns if key != "state_bytes"]
        names["flops_per_token"] = "FLOPs"
    heads = ["#", "trial", *(names.get(key, key) for key in columns), "origin"]
    cells = [
        [
            str(row["rank"]),
            str(row["trial"]),
            *(_COSTS[key][1](row[key]) if key in _COSTS else number(row[key]) for key in columns),
            row["origin"],
        ]
        for row in rows
    ]
    return heads, cells


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a notebook, its last column as text."""
    sides = ["right"] * (len(heads) - 1) + ["left"]

    def line(tag: str, cells: Sequence[str]) -> str:
        shown = [
            f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        ]
        return f"<tr>{''.join(shown)}</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return f"<table>\n<thead>{line('th', heads)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def count(number: int | None) -> str:
    """How many genomes there are: in full, or from 15 zeros on with four digits; None: not known, or no end of them."""
    if number is None:
        return "uncounted or infinitely many"
    return f"{number:,}" if number < 10**15 else f"{Decimal(number):.3e}"


def short(number: float | None) -> str:
    """A count with three digits and k, M or G."""
    if number is None:
        return "-"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.3g}"


def size(number: float | None) -> str:
    """Bytes with three digits and a binary unit."""
    if number is None:
        return "-"
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(number) >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:.0f} B"


def duration(seconds: float) -> str:
    """Seconds in the two largest units; what would be none of them in tenths."""
    if 0.05 <= seconds < 0.5:
        return f"{seconds:.1f} s"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def constraint(bounded: Objective) -> str:
    """An objective with a bound in words."""
    side = "least" if bounded.direction == "max" else "most"
    return f"{bounded.metric} at {side} {bounded.bound:,.12g}"


def number(value: Any) -> str:
    """A metric as it is printed: with four decimals, one that these would hide with three digits."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if 0 < abs(value) < 0.001 else f"{value:.4f}"


_COSTS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "parameters": ("parameters", short),
    "flops_per_token": ("FLOPs/token", short),
    "state_bytes": ("decode state", size),
}
"""The costs that a ranking shows."""
