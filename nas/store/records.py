"""The records of the event log, and how each is written as JSON.

The events that strategies see come from `nas.types`; `Opened`, `Amended` and `Concluded` are for people and
reports only. JSON has no NaN and no infinity: in a field that holds a number, NaN is written as null, which
table readers take for a missing value, and infinities as "Infinity" and "-Infinity".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.types import (
    JSON,
    Ended,
    Event,
    Fidelity,
    InvalidInput,
    Measured,
    Measurement,
    Proposal,
    Proposed,
    Trial,
)
from spaces.genome import Genome


@dataclass(frozen=True, slots=True)
class Opened:
    """A driver started on this log, at `time` in seconds since the epoch, with these versions and workers."""

    time: float
    versions: Mapping[str, str]
    workers: int
    engine: str
    pid: int


@dataclass(frozen=True, slots=True)
class Amended:
    """A key of the campaign's configuration was changed when the campaign went on."""

    key: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Concluded:
    """The best trial was trained again: `metrics[i]` with `seeds[i]`; `time` in seconds since the epoch."""

    trial_id: int
    seeds: tuple[int, ...]
    metrics: tuple[Mapping[str, float], ...]
    time: float


Record = Event | Opened | Amended | Concluded


def encode(record: Record) -> JSON:
    """The record as strict JSON. A trial that ended names its proposal by id, without the genome again."""
    match record:
        case Proposed(proposal):
            return {
                "kind": "proposed",
                "id": proposal.id,
                "text": proposal.genome.text,
                "digest": proposal.genome.digest,
                "amount": proposal.fidelity.amount,
                "unit": proposal.fidelity.unit,
                "seed": proposal.seed,
                "parents": list(proposal.parents),
                "origin": proposal.origin,
                "resume_from": proposal.resume_from,
            }
        case Measured(trial_id, measurement, proceed):
            return {"kind": "measured", "id": trial_id, **_measurement(measurement), "proceed": proceed}
        case Ended(trial):
            return {
                "kind": "ended",
                "id": trial.id,
                "status": trial.status,
                "metrics": _numbers(trial.metrics),
                "curve": [_measurement(point) for point in trial.curve],
                "cost": _numbers(trial.cost),
                "started": _number(trial.started),
                "duration": _number(trial.duration),
                "worker": trial.worker,
                "error": trial.error,
            }
        case Opened():
            return {
                "kind": "opened",
                "time": record.time,
                "versions": dict(record.versions),
                "workers": record.workers,
                "engine": record.engine,
                "pid": record.pid,
            }
        case Amended(key, old, new):
            return {"kind": "amended", "key": key, "old": old, "new": new}
        case Concluded():
            return {
                "kind": "concluded",
                "time": record.time,
                "id": record.trial_id,
                "seeds": list(record.seeds),
                "metrics": [_numbers(metrics) for metrics in record.metrics],
            }


def decode(data: JSON, proposals: Mapping[int, Proposal]) -> Record:
    """The record that `encode` wrote; `proposals` are those of the log before it, by id.

    Raises:
        InvalidInput: a record of an unknown kind, without one of its fields, or of a trial never proposed.
    """
    try:
        match data["kind"]:
            case "proposed":
                genome = Genome.restore(data["text"], data["digest"])
                fidelity = Fidelity(data["amount"], data["unit"])
                parents, resumed = tuple(data["parents"]), data["resume_from"]
                return Proposed(
                    Proposal(data["id"], genome, fidelity, data["seed"], parents, data["origin"], resumed)
                )
            case "measured":
                return Measured(data["id"], _measured(data), data["proceed"])
            case "ended":
                if data["id"] not in proposals:
                    raise InvalidInput(f"trial {data['id']} ended but was never proposed")
                return Ended(
                    Trial(
                        proposals[data["id"]],
                        data["status"],
                        _floats(data["metrics"]),
                        tuple(_measured(point) for point in data["curve"]),
                        _floats(data["cost"]),
                        _float(data["started"]),
                        _float(data["duration"]),
                        data["worker"],
                        data["error"],
                    )
                )
            case "opened":
                return Opened(data["time"], data["versions"], data["workers"], data["engine"], data["pid"])
            case "amended":
                return Amended(data["key"], data["old"], data["new"])
            case "concluded":
                metrics = tuple(_floats(values) for values in data["metrics"])
                return Concluded(data["id"], tuple(data["seeds"]), metrics, data["time"])
            case kind:
                raise InvalidInput(
                    f"unknown kind of record '{kind}', "
                    "allowed: proposed, measured, ended, opened, amended, concluded"
                )
    except KeyError as error:
        raise InvalidInput(f"a record of kind '{data.get('kind')}' has no field {error}") from None


def _measurement(measurement: Measurement) -> JSON:
    return {"step": measurement.step, "metrics": _numbers(measurement.metrics)}


def _measured(data: JSON) -> Measurement:
    return Measurement(data["step"], _floats(data["metrics"]))


def _numbers(values: Mapping[str, float]) -> JSON:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | str | None:
    if math.isfinite(value):
        return value if isinstance(value, int | float) else float(value)  # numpy's are not for json
    if math.isnan(value):
        return None
    return "Infinity" if value > 0 else "-Infinity"


def _floats(data: JSON) -> dict[str, float]:
    return {name: _float(value) for name, value in data.items()}


def _float(value: float | str | None) -> float:
    """An integer stays one, so that no large count is rounded."""
    return math.nan if value is None else float(value) if isinstance(value, str) else value
