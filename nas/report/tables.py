"""Tables and lines for a terminal or a file, drawn from the rows of `nas.report.data`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas.report.data import number, ranking, short, size, status
from nas.result import Result
from nas.types import JSON

WIDTH = 110
"""Columns where the output is no terminal."""

_HEADS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "parameters": ("parameters", short),
    "flops_per_token": ("FLOPs/token", short),
    "state_bytes": ("decode state", size),
}


def console(stderr: bool = False) -> Console:
    """A console that colours a terminal and writes plain text elsewhere."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made = Console(stderr=stderr, highlight=False, width=WIDTH)
    return made


def ranking_table(result: Result, top: int = 10) -> Table:
    """The best trials with their objectives, costs and origins."""
    rows = ranking(result, top)
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    columns = [key for key in (rows[0] if rows else ()) if key not in ("rank", "trial", "origin", "genome")]
    table.add_column("#", justify="right")
    table.add_column("trial", justify="right")
    for key in columns:
        table.add_column(_HEADS.get(key, (key,))[0], justify="right")
    table.add_column("origin")
    for row in rows:
        cells = [_HEADS[key][1](row[key]) if key in _HEADS else number(row[key]) for key in columns]
        style = "bold green" if row["rank"] == 1 else None
        table.add_row(str(row["rank"]), str(row["trial"]), *cells, row["origin"], style=style)
    return table


def conclusion_lines(result: Result) -> list[str]:
    """The best, its test result and the gain, in sentences."""
    lines: list[str] = []
    done = result.ranking()
    if not done:
        return ["No trial finished."]
    aim = result.aims[0]
    if result.conclusion is not None:
        seeds = len(result.conclusion.metrics)
        if not seeds:
            lines.append(
                f"Trial {result.conclusion.trial_id} failed when it was trained again on fresh seeds."
            )
        names = dict.fromkeys(name for metrics in result.conclusion.metrics for name in metrics)
        shown = [name for name in names if name == aim.metric or name.startswith("test_")]
        for name in shown:
            values = result.confirmed(name)
            spread = f" (of {', '.join(map(number, values))})" if len(values) > 1 else ""
            lines.append(
                f"{name} {number(sum(values) / len(values))}{spread}: trial {result.conclusion.trial_id}, "
                f"trained again on {seeds} fresh seed{'s' if seeds > 1 else ''}"
            )
    gain = result.gain()
    if gain is not None:
        lines.append(
            f"Gain over the average of {gain.random} random architectures of this run: {gain.mean:.4f} {gain.metric}, "
            f"95 % interval [{gain.low:.4f}, {gain.high:.4f}]"
        )
    return lines


def print_result(result: Result, out: Console) -> None:
    """The final report of a campaign."""
    facts = status(result)
    out.print()
    out.print(ranking_table(result))
    out.print()
    if facts["best_genome"]:
        out.print(Text.assemble(("Best genome  ", "bold"), facts["best_genome"]), soft_wrap=True)
    for line in conclusion_lines(result):
        out.print(line, soft_wrap=True)
    for reason, times in facts["failures"].items():
        out.print(f"{times} failed: {reason}", soft_wrap=True)
    out.print(f"Everything is in {result.path} (trials.parquet, events.jsonl)", soft_wrap=True)


def print_status(facts: JSON, out: Console) -> None:
    """One campaign, in a few lines."""
    out.print(
        f"{facts['name']}: {facts['state']}, {facts['ended']} of {facts['trials']} trials", soft_wrap=True
    )
    parts = [
        f"{facts[key]} {key}" for key in ("done", "failed", "stopped", "dropped", "running") if facts[key]
    ]
    if parts:
        out.print("  " + ", ".join(parts))
    if facts["best"] is not None:
        out.print(f"  best {facts['metric']} {number(facts['best'])} (trial {facts['best_trial']})")
        out.print(f"  {facts['best_genome']}", soft_wrap=True)
    for reason, times in facts["failures"].items():
        out.print(f"  {times} failed: {reason}", soft_wrap=True)


def runs_table(rows: Sequence[JSON]) -> Table:
    """Campaigns, one a line."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("name", "state", "trials", "best", "folder"):
        table.add_column(head, justify="right" if head in ("trials", "best") else "left")
    for row in rows:
        if row["state"] == "damaged":
            table.add_row(row["name"], "damaged", "-", "-", row["path"])
            continue
        best = "-" if row["best"] is None else f"{number(row['best'])} {row['metric']}"
        table.add_row(row["name"], row["state"], f"{row['ended']}/{row['trials']}", best, row["path"])
    return table
