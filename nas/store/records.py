"""The records of the event log, and how each is written as JSON.

The events that strategies see come from `nas.types`; `Opened`, `Amended`, `Confirmed` and `Concluded` are for people
and reports only. JSON has no NaN and no infinity: in a field that holds a number, NaN is written as null, which
table readers take for a missing value, and infinities as "Infinity" and "-Infinity".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

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
    Status,
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
class Confirmed:
    """A trial was trained again on a fresh seed, and measured on the test split too."""

    trial_id: int
    seed: int
    status: Status
    metrics: Mapping[str, float]
    error: str | None
    worker: str | None
    started: float
    duration: float


@dataclass(frozen=True, slots=True)
class Concluded:
    """The campaign came to its end, for a reason, with this trial as its best; None: no trial was done.

    More trials may follow where more are asked for, and then another end.
    """

    trial_id: int | None
    reason: Literal["budget", "exhausted"]
    time: float


Record = Event | Opened | Amended | Confirmed | Concluded


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
                "notes": _numbers(proposal.notes),
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
                **({"deaths": trial.deaths} if trial.deaths else {}),
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
        case Confirmed():
            return {
                "kind": "confirmed",
                "id": record.trial_id,
                "seed": record.seed,
                "status": record.status,
                "metrics": _numbers(record.metrics),
                "error": record.error,
                "worker": record.worker,
                "started": _number(record.started),
                "duration": _number(record.duration),
            }
        case Concluded():
            return {
                "kind": "concluded",
                "time": record.time,
                "id": record.trial_id,
                "reason": record.reason,
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
                return Proposed(
                    Proposal(
                        data["id"],
                        genome,
                        fidelity,
                        data["seed"],
                        tuple(data["parents"]),
                        data["origin"],
                        data["resume_from"],
                        _floats(data["notes"]),
                    )
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
                        data.get("deaths", 0),
                    )
                )
            case "opened":
                return Opened(data["time"], data["versions"], data["workers"], data["engine"], data["pid"])
            case "amended":
                return Amended(data["key"], data["old"], data["new"])
            case "concluded":
                return Concluded(data["id"], data["reason"], data["time"])
            case "confirmed":
                return Confirmed(
                    data["id"],
                    data["seed"],
                    data["status"],
                    _floats(data["metrics"]),
                    data["error"],
                    data["worker"],
                    _float(data["started"]),
                    _float(data["duration"]),
                )
            case kind:
                raise InvalidInput(
                    f"unknown kind of record '{kind}', "
                    "allowed: proposed, measured, ended, opened, amended, confirmed, concluded"
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
