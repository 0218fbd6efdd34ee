"""The table of trials."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nas.store.parquet import read_trials, trials_table, write_trials
from nas.types import Fidelity, InvalidInput, Measurement, Objective, Proposal, Trial
from spaces.genome import Genome


def trial(i: int, metrics: dict[str, float] | None = None, **fields: Any) -> Trial:
    genome = Genome.restore(f"mlp(width={i})", f"{i:032x}")
    proposal = Proposal(
        i, genome, Fidelity(200), 7, (1, 2), "mutation of 1", resume_from=3, notes={"tau": 0.5}
    )
    return Trial(proposal, **{"status": "done", "metrics": metrics or {}, **fields})


FULL = trial(
    5,
    {"valid_bpb": 1.5},
    curve=(Measurement(10, {"valid_bpb": 2.5}), Measurement(20, {})),
    cost={"parameters": 12, "flops_per_token": 3.5e18},
    started=1_700_000_000.25,
    duration=2.5,
    worker="w0",
)


def test_one_row_a_trial() -> None:
    table = trials_table([FULL])
    assert table.column_names == [
        *("id", "text", "digest", "parents", "origin", "resume_from"),
        *("fidelity", "fidelity_amount", "fidelity_unit", "seed", "status"),
        *("valid_bpb", "parameters", "flops_per_token", "note_tau"),
        *("started", "duration", "worker", "deaths", "error", "curve"),
    ]
    assert table.to_pylist() == [
        {
            "id": 5,
            "text": "mlp(width=5)",
            "digest": f"{5:032x}",
            "parents": [1, 2],
            "origin": "mutation of 1",
            "resume_from": 3,
            "fidelity": "200 steps",
            "fidelity_amount": 200,
            "fidelity_unit": "steps",
            "seed": 7,
            "status": "done",
            "valid_bpb": 1.5,
            "parameters": 12.0,
            "flops_per_token": 3.5e18,
            "note_tau": 0.5,
            "started": datetime.fromtimestamp(1_700_000_000.25, UTC),
            "duration": 2.5,
            "worker": "w0",
            "deaths": 0,
            "error": None,
            "curve": [{"step": 10, "valid_bpb": 2.5}, {"step": 20, "valid_bpb": None}],
        }
    ]


def test_missing_is_null_and_nan_stays_nan() -> None:
    table = trials_table([trial(0, {"a": math.nan, "b": math.inf}), trial(1, {"c": 1})])
    assert table["a"].null_count == table["b"].null_count == table["c"].null_count == 1
    assert math.isnan(table["a"][0].as_py())
    assert table["b"][0].as_py() == math.inf
    assert table.schema.field("c").type == pa.float64()
    assert table["started"].null_count == 2, "made by hand, at no known time"


def test_objectives_have_columns_and_are_written_down() -> None:
    objectives = [Objective("valid_acc", "max"), Objective("parameters", "min", 1e6)]
    table = trials_table([], objectives)
    assert table.num_rows == 0
    assert {"valid_acc", "parameters"} <= set(table.column_names)
    assert json.loads(table.schema.metadata[b"objectives"]) == [
        {"metric": "valid_acc", "direction": "max", "bound": None},
        {"metric": "parameters", "direction": "min", "bound": 1e6},
    ]


def test_names_that_collide() -> None:
    metrics = {"parameters": 2, "seed": 9, "note_tau": 3}
    made = trial(0, metrics, cost={"parameters": 1}, curve=(Measurement(4, {"step": 1.0, "seed": 2.0}),))
    table = trials_table([made, trial(1, cost={"parameters": 1})])
    assert table["parameters"].to_pylist() == [2.0, 1.0]
    assert table["metric_seed"].to_pylist() == [9.0, None]
    assert table["seed"].to_pylist() == [7, 7]
    assert table["metric_note_tau"].to_pylist() == [3.0, None]
    assert table["note_tau"].to_pylist() == [0.5, 0.5]
    assert table["curve"].to_pylist() == [[{"step": 4, "metric_step": 1.0, "seed": 2.0}], []]


def test_text_that_is_not_unicode() -> None:
    table = trials_table([trial(0, status="failed", error="no file a\udcff")])
    assert table["error"].to_pylist() == ["no file a?"]


def test_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "trials.parquet"
    write_trials(path, [FULL, trial(6)], [Objective("valid_bpb")])
    table, expected = read_trials(path), trials_table([FULL, trial(6)], [Objective("valid_bpb")])
    assert table.equals(expected)
    assert table.schema.metadata == expected.schema.metadata
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    assert [entry.name for entry in tmp_path.iterdir()] == ["trials.parquet"]


def test_a_write_that_fails_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trials.parquet"
    write_trials(path, [FULL])

    def fail(table: pa.Table, where: Path, **options: Any) -> None:
        where.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        write_trials(path, [])
    assert read_trials(path).num_rows == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["trials.parquet"]


def test_files_that_are_no_tables_of_trials(tmp_path: Path) -> None:
    path = tmp_path / "trials.parquet"
    with pytest.raises(InvalidInput, match=r"trials.parquet: no such file$"):
        read_trials(path)
    write_trials(path, [FULL] * 50)
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[len(content) // 5] ^= 1
    for broken in (b"", b"PAR1", content[: len(content) // 2], content[:-1], bytes(damaged)):
        path.write_bytes(broken)
        with pytest.raises(
            InvalidInput, match=r"trials.parquet: damaged, or not Parquet: .* delete this file, and"
        ):
            read_trials(path)
    pq.write_table(pa.table({"id": [1], "x": [2]}), path)
    with pytest.raises(InvalidInput) as error:
        read_trials(path)
    assert str(error.value) == (
        f"{path}: not a table of trials: no column text, digest, parents, origin, resume_from, fidelity, "
        "fidelity_amount, fidelity_unit, seed, status; it has id, x"
    )
