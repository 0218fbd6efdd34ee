"""The numbers of a report, as plain rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from nas.config import Config
from nas.display import constraint, ranking_rows
from nas.result import Result, load
from nas.store import RunDir
from nas.types import JSON, InvalidInput, Status, Trial


def ranking(result: Result, top: int | None = None) -> list[JSON]:
    """The done trials, best first: the objectives, the cost, where they came from, and their text."""
    return ranking_rows(result.config.objectives, result.ranking()[:top])


def strategy(config: Config) -> tuple[str, str]:
    """The strategy of a campaign that was prepared, and why "auto" chose it; "" where a user did."""
    section = config.strategy
    if section.name != "auto":
        return section.name, ""
    return section.options["chosen"]["name"], section.options["because"]


def status(result: Result) -> JSON:
    """Where a campaign stands."""
    strategy_name, because = strategy(result.config)
    driver = RunDir(result.path).driver if result.path is not None else None
    statuses = [trial.status for trial in result.trials]
    best = result.ranking()[:1]
    aim = result.aims[0]
    gain = result.gain()
    return {
        "name": result.config.name,
        "path": str(result.path),
        "state": state(result, driver),
        "reason": result.conclusion.reason if result.conclusion else None,
        "driver": driver,
        "strategy": strategy_name,
        "because": because or None,
        "trials": result.config.budget.trials,
        "ended": len(statuses),
        **{name: statuses.count(name) for name in get_args(Status)},
        "running": len(result.running) if driver else 0,
        "metric": aim.metric,
        "direction": aim.direction,
        "best": best[0].merits.get(aim.metric) if best else None,
        "best_trial": best[0].id if best else None,
        "best_genome": best[0].proposal.genome.text if best else None,
        "pareto": [trial.id for trial in result.pareto()],
        "confirmed": [
            {"seed": run.seed, **run.metrics} for run in result.confirmations if run.status == "done"
        ],
        "gain": asdict(gain) if gain else None,
        "failures": failures(result),
    }


def state(result: Result, driver: int | None) -> str:
    """One word for a campaign: running, finished or stopped."""
    if driver is not None:
        return "running"
    return "stopped" if result.conclusion is None else "finished"


def failures(result: Result) -> dict[str, int]:
    """How often trials failed, by reason."""
    reasons: dict[str, int] = {}
    for trial in result.trials:
        if trial.status == "failed":
            reason = first_line(trial.error)
            reasons[reason] = reasons.get(reason, 0) + 1
    return reasons


def constraints(result: Result) -> list[str]:
    """All constraints of a campaign in words."""
    return [constraint(each) for each in result.config.objectives if each.bound is not None]


def breaking(result: Result, trials: Sequence[Trial]) -> list[int]:
    """The trials that break a constraint."""
    objectives = result.config.objectives
    return [trial.id for trial in trials if any(each.violation(trial.merits) for each in objectives)]


def first_line(error: str | None) -> str:
    """Why something failed, in a line."""
    return (error or "unknown").splitlines()[0][:160]


def runs(folder: str | Path) -> list[JSON]:
    """The status of every run folder below a folder, the latest first; damaged ones with their error."""
    found: list[tuple[float, JSON]] = []
    for config in Path(folder).glob("*/config.json"):
        path = config.parent
        if not (path / "versions.json").exists():
            continue  # an exported model, say
        try:
            row = status(load(path))
        except InvalidInput as error:
            row = {"name": path.name, "path": str(path), "state": "damaged", "error": str(error)}
        log = path / "events.jsonl"
        found.append((log.stat().st_mtime if log.exists() else config.stat().st_mtime, row))
    return [row for _, row in sorted(found, key=lambda item: -item[0])]
