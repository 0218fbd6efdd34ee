"""The table of trials: one row a trial, for people, for reports, and to become a benchmark table."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nas.store.files import replacing
from nas.types import InvalidInput, Objective, Trial


def _list_of(kind: pa.DataType) -> pa.DataType:
    """A list whose items are named as Parquet names them, so that a table read equals the one written."""
    return pa.list_(pa.field("element", kind))


FIXED = pa.schema(
    [
        ("id", pa.int64()),
        ("text", pa.string()),
        ("digest", pa.string()),
        ("parents", _list_of(pa.int64())),
        ("origin", pa.string()),
        ("resume_from", pa.int64()),
        ("fidelity", pa.string()),
        ("fidelity_amount", pa.int64()),
        ("fidelity_unit", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
    ]
)
"""The columns before those of the metrics, the cost and the notes."""

LAST = pa.schema(
    [
        ("started", pa.timestamp("us", tz="UTC")),
        ("duration", pa.float64()),
        ("worker", pa.string()),
        ("deaths", pa.int64()),
        ("error", pa.string()),
    ]
)
"""The columns after them, before `curve`; `duration` in seconds."""


def trials_table(trials: Iterable[Trial], objectives: Sequence[Objective] = ()) -> pa.Table:
    """One row a trial, in their order; one float64 column a metric, a part of the cost and a note, null if missing.

    The objectives have a column even if no trial measured them, and stand in the schema's metadata as JSON,
    under "objectives". Where a metric is named like a part of the cost, the one column holds the metric; one
    named like another column is prefixed with "metric_". Notes are prefixed with "note_". `curve` lists what a
    trial reported while it ran: `step`, and the metrics beside it.

    There are no maps: pandas shows them as lists of pairs, and not every reader of Parquet knows them.
    """
    trials = list(trials)
    names = [
        *(objective.metric for objective in objectives),
        *(name for trial in trials for name in trial.metrics),
        *(name for trial in trials for name in trial.cost),
    ]
    notes = {name: f"note_{name}" for trial in trials for name in trial.proposal.notes}
    columns = _columns(names, taken=[*FIXED.names, *notes.values(), *LAST.names, "curve"])
    curve = _columns((n for t in trials for point in t.curve for n in point.metrics), taken=["step"])
    rows = [
        _row(trial)
        | _renamed(trial.merits, columns)
        | _renamed(trial.proposal.notes, notes)
        | {"curve": [{"step": point.step, **_renamed(point.metrics, curve)} for point in trial.curve]}
        for trial in trials
    ]
    numbers = [(column, pa.float64()) for column in [*columns.values(), *notes.values()]]
    point = pa.struct([("step", pa.int64()), *((column, pa.float64()) for column in curve.values())])
    schema = pa.schema(
        [*FIXED, *numbers, *LAST, ("curve", _list_of(point))],
        metadata={"objectives": json.dumps([asdict(objective) for objective in objectives])},
    )
    return pa.Table.from_pylist(rows, schema)


def _columns(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """The column of each metric, prefixed where the name is taken."""
    return {name: f"metric_{name}" if name in taken else name for name in names}


def _renamed(values: Mapping[str, float], columns: Mapping[str, str]) -> dict[str, float]:
    return {columns[name]: float(value) for name, value in values.items()}


def write_trials(path: str | Path, trials: Iterable[Trial], objectives: Sequence[Objective] = ()) -> None:
    """Writes `trials_table` as Parquet (zstd); until it is whole, the file that was there stays."""
    table = trials_table(trials, objectives)
    with replacing(Path(path)) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_trials(path: str | Path) -> pa.Table:
    """The table that `write_trials` wrote.

    Raises:
        InvalidInput: no such file, damaged, or not a table of trials.
    """
    if not Path(path).is_file():
        raise InvalidInput(f"{path}: no such file")
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(
            f"{path}: damaged, or not Parquet: {reason}. The trials are in events.jsonl too: delete this "
            "file, and 'nas run' writes it again"
        ) from error
    missing = [name for name in FIXED.names if name not in table.column_names]
    if missing:
        found = ", ".join(table.column_names)
        raise InvalidInput(f"{path}: not a table of trials: no column {', '.join(missing)}; it has {found}")
    return table


def _row(trial: Trial) -> dict[str, object]:
    proposal = trial.proposal
    return {
        "id": proposal.id,
        "text": proposal.genome.text,
        "digest": proposal.genome.digest,
        "parents": proposal.parents,
        "origin": _text(proposal.origin),
        "resume_from": proposal.resume_from,
        "fidelity": str(proposal.fidelity),
        "fidelity_amount": proposal.fidelity.amount,
        "fidelity_unit": proposal.fidelity.unit,
        "seed": proposal.seed,
        "status": trial.status,
        # 0.0 is the default of a trial made by hand, which started at no known time.
        "started": datetime.fromtimestamp(trial.started, UTC) if trial.started else None,
        "duration": trial.duration,
        "worker": _text(trial.worker),
        "deaths": trial.deaths,
        "error": _text(trial.error),
    }


def _text(text: str | None) -> str | None:
    """Text that Arrow takes: an error may quote a file name that is not UTF-8."""
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")
