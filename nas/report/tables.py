"""Tables and lines for a terminal or a file, drawn from the rows of `nas.report.data`."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent
from typing import get_args

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas.display import number, ranking_cells, ranking_rows
from nas.report.data import breaking, constraints, failures, first_line, status, strategy
from nas.result import SHOWN, Result
from nas.types import JSON, Status, Trial

WIDTH = 110
"""Columns where the output is no terminal."""


def console(stderr: bool = False) -> Console:
    """A console that colours a terminal and writes plain text elsewhere; [ ] in texts are just that."""
    terminal = Console(stderr=stderr).is_terminal
    return Console(
        stderr=stderr, highlight=False, markup=False, emoji=False, width=None if terminal else WIDTH
    )


def ranking_table(result: Result, trials: Sequence[Trial]) -> Table:
    """Trials with their objectives, costs and origins."""
    heads, rows = ranking_cells(ranking_rows(result.config.objectives, trials))
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for head in heads:
        table.add_column(head, justify="left" if head == heads[-1] else "right")
    for i, row in enumerate(rows):
        table.add_row(*row, style="bold green" if i == 0 else None)
    return table


def conclusion_lines(result: Result) -> list[str]:
    """The best, its test result and the gain, in sentences."""
    lines: list[str] = []
    done = result.ranking()
    aim = result.aims[0]
    runs = result.confirmations
    names = dict.fromkeys(name for run in runs if run.status == "done" for name in run.metrics)
    for name in [name for name in names if name == aim.metric or name.startswith("test_")]:
        values = result.confirmed(name)
        spread = f" (of {', '.join(map(number, values))})" if len(values) > 1 else ""
        lines.append(
            f"{name} {number(sum(values) / len(values))}{spread}: trial {done[0].id}, "
            f"trained again on {len(values)} fresh seed{'s' if len(values) > 1 else ''}"
        )
    for run in runs:
        if run.status != "done":
            lines.append(f"Trial {run.trial_id} failed on fresh seed {run.seed}: {first_line(run.error)}")
    gain = result.gain()
    if gain is not None:
        unfinished = f" ({gain.unfinished} more did not finish)" if gain.unfinished else ""
        lines.append(
            f"Gain over the average of {gain.random} random architectures of this run{unfinished}: {number(gain.mean)} "
            f"{gain.metric}, 95 % interval [{number(gain.low)}, {number(gain.high)}]"
            + (", which knows nothing of how much seeds differ" if gain.seeds == 1 else "")
        )
    return lines


def print_result(result: Result, out: Console) -> None:
    """The final report of a campaign."""
    out.print()
    print_ranking(result, out)
    name, because = strategy(result.config)
    if because:
        out.print(f"Strategy {name}: {because}.", soft_wrap=True)
    if result.conclusion is not None and result.conclusion.reason == "exhausted":
        out.print(f"{len(result.trials)} trials, and the strategy has no more to propose from this space.")
    for reason, times in failures(result).items():
        out.print(f"{times} failed: {reason}", soft_wrap=True)
    out.print(f"Everything is in {result.path} (trials.parquet, events.jsonl)", soft_wrap=True)


def print_ranking(result: Result, out: Console, top: int = 10) -> None:
    """The best trials, first those of a Pareto front, the best genome in full, and what the campaign concludes."""
    if not result.done:
        out.print("No trial finished.")
        return
    front = result.pareto() if len(result.aims) > 1 else []
    leading = result.leading(top)
    table = ranking_table(result, leading)
    table.collapse_padding = out.measure(table, options=out.options.update(width=1000)).maximum > out.width
    out.print(table)
    if broken := breaking(result, leading):
        some = len(breaking(result, result.done)) < len(result.done)
        these = f"Trial {broken[0]} does" if len(broken) == 1 else f"Trials {', '.join(map(str, broken))} do"
        named = f"{these} not meet" if some else "No trial meets"
        out.print(f"{named} the constraints: {', '.join(constraints(result))}", soft_wrap=True)
    out.print()
    best = result.best().proposal.genome
    out.print(Text.assemble(("Best genome  ", "bold"), best.text), soft_wrap=True)
    if "\n" in best.outline and not out.options.ascii_only:
        out.print(Text(f"\n{indent(best.outline, '  ')}\n"), soft_wrap=True)
    if front:
        aims = [aim.metric for aim in result.aims]
        shown = ", ".join(str(trial.id) for trial in front[:SHOWN])
        more = f" and {len(front) - SHOWN} more" if len(front) > SHOWN else ""
        out.print(
            f"Pareto front of {', '.join(aims[:-1])} and {aims[-1]}, first in the table: trials {shown}{more}",
            soft_wrap=True,
        )
    for line in conclusion_lines(result):
        out.print(line, soft_wrap=True)


def print_status(result: Result, out: Console) -> None:
    """Where one campaign stands, and its best so far."""
    facts = status(result)
    out.print(
        f"{facts['name']}: {facts['state']}, {facts['ended']} of {facts['trials']} trials", soft_wrap=True
    )
    parts = [f"{facts[key]} {key}" for key in (*get_args(Status), "running") if facts[key]]
    out.print("  " + (", ".join(parts) or "nothing has ended yet"))
    if facts["because"]:
        out.print(f"  strategy {facts['strategy']}: {facts['because']}", soft_wrap=True)
    if facts["reason"] == "exhausted":
        out.print("  the strategy has no more to propose from this space")
    for reason, times in facts["failures"].items():
        out.print(f"  {times} failed: {reason}", soft_wrap=True)
    if result.done:
        out.print()
        print_ranking(result, out, top=5)


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
