"""A table of what one's own campaigns measured, which others can query and learn from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import Description, Fidelities, Metric, Table
from benchmarks.description import TRAIN_TIME
from nas.config import Config, to_dict
from nas.options import shown
from nas.result import Result
from nas.setup import prepare
from nas.store import RunDir
from nas.tables.places import free
from nas.types import RESUMED, Direction, InvalidInput, Trial
from spaces.cost import COST_NAMES, COST_UNITS
from spaces.io import plain


def tabulate(runs: Sequence[Result], path: str | Path, name: str | None = None, licence: str = "") -> Table:
    """Writes a table with a row for each genome that the campaigns trained without failing, and opens it.

    All runs have the same space, task, recipe and budget of a trial, since losses of different training do not
    compare. Metrics of validation have a value for each seed, those of the campaigns and of their confirmations, and so
    has "train_time"; test metrics are known of what was confirmed. Where two runs trained a genome with the same seed,
    the first is taken. Where campaigns had rungs, what was measured on them is the metrics' curve, and genomes that
    never reached the top have that alone. Where the campaigns searched hyperparameters, genomes say theirs.

    Args:
        path: the Arrow file, which must not exist yet.
        name: of the table; default: that of the first campaign, after "own/".

    Raises:
        InvalidInput: there is nothing to tell, the runs differ in how or on what they trained, or the file exists.
        InvalidTable: the file cannot be written.
    """
    path = free(path)
    if not runs:
        raise InvalidInput("there is no run to make a table of")
    for run in runs[1:]:
        _check_same(runs[0], run)
    config = runs[0].config
    setup = prepare(config, runs[0].path)
    measured = _measured(runs)
    full = config.budget.fidelity
    amounts = sorted({amount for by in measured.values() for at in by.values() for amount in at})
    if full.amount not in amounts:
        in_full = f", trained for {full}" if amounts else ""
        raise InvalidInput(f"no trial of {', '.join(map(_place, runs))} is done{in_full}")
    texts = sorted(measured)
    seeds = sorted({seed for by_seed in measured.values() for seed in by_seed})
    metrics, columns, curves = [], {}, {}

    def add(metric: Metric) -> None:
        values = _along(measured, texts, seeds, amounts, metric.name)
        if not np.isfinite(values[..., -1]).any():
            return
        if np.isfinite(values[..., :-1]).any():
            metric = dataclasses.replace(metric, curve=True)
            curves[metric.name] = values
        metrics.append(metric)
        columns[metric.name] = values[..., -1]

    told: dict[str, tuple[Direction, str, Any]] = {}
    for metric, direction in setup.metrics.items():
        split, unit = metric.partition("_")[0], setup.units.get(metric, "")
        told[metric] = (direction, unit, split if split in ("train", "valid", "test") else None)
        if split == "valid":
            told[f"test_{metric.partition('_')[2]}"] = (direction, unit, "test")
    for metric, (direction, unit, split) in told.items():
        data = ", ".join(filter(None, [config.task.name, _data(runs[0])])) if split else ""
        add(Metric(metric, direction, unit, split=split, seeds=len(seeds), data=data))
    add(Metric(TRAIN_TIME, "min", "seconds", seeds=len(seeds)))
    costs = {
        trial.proposal.genome.text: trial.cost
        for run in runs
        for trial in run.trials
        if trial.status == "done"
    }
    for cost in COST_NAMES:
        values = np.array([costs[text].get(cost, math.nan) for text in texts])
        if np.isfinite(values).any():
            metrics.append(Metric(cost, "min", COST_UNITS[cost]))
            columns[cost] = values
    options = dict(config.space.options)
    for key in ("width", "io"):
        options.pop(key, None)
    hyperparameters = options.pop("hyperparameters", None) or {}
    described = Description(
        name=name or f"own/{config.name}",
        about=f"{len(texts):,} genomes of {config.space.name} {_how(config)}",
        space=config.space.name,
        io=plain(setup.space.io),
        objective=runs[0].aims[0].metric,
        metrics=tuple(metrics),
        source=_source(runs),
        licence=licence,
        options=options,
        hyperparameters=hyperparameters,
        listed=True,
        fidelities=Fidelities(full.unit, tuple(amounts)) if curves else None,
    )
    Table.write(path, described, columns, texts, curves)
    return Table(path)


def _training(config: Config) -> dict[str, Any]:
    """All that says how a trial was trained, but for its seed."""
    full = to_dict(config)
    budget = config.budget.fidelity
    return {"task": full["task"], "recipe": full["recipe"], "fidelity": str(budget)}


def _source(runs: Sequence[Result]) -> str:
    """Which campaigns, by which version, and how they trained, as a campaign file says it, but for what genomes say."""
    names = ", ".join(dict.fromkeys(run.config.name for run in runs))
    known = dict.fromkeys(RunDir.open_readonly(run.path).versions.get("nas", "") for run in runs if run.path)
    versions = "".join(f" {version}" for version in known)
    training = _training(runs[0].config)
    task = dict(training["task"])
    searched = runs[0].config.space.options.get("hyperparameters") or {}
    recipe = {key: value for key, value in training["recipe"].items() if key not in searched}
    name, options = task.pop("name"), f" ({_settings(task)})" if task else ""
    told = [f"task {name}{options}"]
    if runs[0].config.budget.units:
        told.append(training["fidelity"])
    if recipe:
        told.append(f"recipe {_settings(recipe)}")
    return f"campaigns {names} of grammar-nas{versions}: {', '.join(told)}"


def _how(config: Config) -> str:
    """What a campaign did to its genomes, and for how long; a function has no recipe."""
    amount = f" for {config.budget.fidelity}" if config.budget.units else ""
    return f"{'trained on' if config.recipe else 'measured by'} {config.task.name}{amount}"


def _settings(options: Mapping[str, Any]) -> str:
    """Options as they stand in a campaign file."""
    return ", ".join(f"{key} = {shown(value)}" for key, value in options.items())


def _place(run: Result) -> str:
    """What tells a campaign from others, which may have its name: its folder."""
    return str(run.path or run.config.name)


def _data(run: Result) -> str:
    """The fingerprint of the data that a campaign trained and was measured on."""
    return RunDir.open_readonly(run.path).versions.get("data", "") if run.path else ""


def _check_same(first: Result, other: Result) -> None:
    """Raises InvalidInput where two campaigns differ in how they trained, in their data, or in the space."""
    if _data(first) != _data(other):
        raise InvalidInput(
            f"{_place(other)} was trained on other data than {_place(first)}, and losses of different data do not "
            "compare"
        )
    parts: Sequence[Mapping[str, Any]] = [
        {"space": to_dict(run.config)["space"], **_training(run.config)} for run in (first, other)
    ]
    for key, value in parts[0].items():
        if parts[1][key] != value:
            raise InvalidInput(
                f"{_place(other)} has another {key} than {_place(first)}, and losses of different training do not "
                f"compare: {shown(parts[1][key])}, not {shown(value)}"
            )


def _measured(runs: Sequence[Result]) -> dict[str, dict[int, dict[int, dict[str, float]]]]:
    """The metrics of every genome, seed and amount of training, training time among them."""
    found: dict[str, dict[int, dict[int, dict[str, float]]]] = {}

    def take(text: str, seed: int, amount: int, metrics: Mapping[str, float], duration: float) -> None:
        at = found.setdefault(text, {}).setdefault(seed, {})
        at.setdefault(amount, {**metrics, TRAIN_TIME: duration})

    for run in runs:
        done = {trial.id: trial for trial in run.done}
        texts = {id: trial.proposal.genome.text for id, trial in done.items()}
        for trial in run.done:
            took = math.fsum(part.duration for part in _parts(trial, done))
            take(texts[trial.id], trial.proposal.seed, trial.proposal.fidelity.amount, trial.metrics, took)
        for again in run.confirmations:
            if again.status == "done":
                full = run.config.budget.fidelity.amount
                take(texts[again.trial_id], again.seed, full, again.metrics, again.duration)
    return found


def _parts(trial: Trial, done: Mapping[int, Trial]) -> Iterator[Trial]:
    """A trial, and those whose training it went on with."""
    yield trial
    while trial.metrics.get(RESUMED) and trial.proposal.resume_from is not None:
        trial = done[trial.proposal.resume_from]
        yield trial


def _along(
    measured: Mapping[str, Mapping[int, Mapping[int, Mapping[str, float]]]],
    texts: Sequence[str],
    seeds: Sequence[int],
    amounts: Sequence[int],
    metric: str,
) -> np.ndarray:
    """A metric of all genomes, seeds and amounts of training, [rows, seeds, amounts]; NaN where it was not measured."""
    values = np.full((len(texts), len(seeds), len(amounts)), np.nan)
    for row, text in enumerate(texts):
        for seed, at in measured[text].items():
            for amount, metrics in at.items():
                place = (row, seeds.index(seed), amounts.index(amount))
                values[place] = metrics.get(metric, math.nan)
    return values
