"""The event log: nothing that was acknowledged is lost, nothing that was damaged is believed."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.store import Amended, Concluded, Confirmed, Journal, Opened, Record, read
from nas.types import Ended, Fidelity, InvalidInput, Measured, Measurement, Proposal, Proposed, Status, Trial
from spaces.genome import Genome

# Lone surrogates too: they come from file names that are not UTF-8, and error messages quote those.
texts = st.text(st.characters(), max_size=8)
metrics = st.dictionaries(texts, st.floats() | st.integers(), max_size=3)
seconds = st.floats(0, 2e9)
points = st.builds(Measurement, st.integers(0), metrics)
fractions = st.floats(0, 1, exclude_max=True)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts


@st.composite
def logs(draw: st.DrawFn, min_size: int = 0) -> list[Record]:
    """Records in an order in which a campaign may write them: a trial is proposed before it ends."""
    proposals: list[Proposal] = []
    records: list[Record] = []
    for _ in range(draw(st.integers(min_size, 8))):
        kind = draw(
            st.sampled_from(
                ["proposed", "ended", "ended", "measured", "opened", "amended", "confirmed", "concluded"]
            )
        )
        if kind == "proposed" or (kind == "ended" and not proposals):
            proposals.append(
                Proposal(
                    len(proposals),
                    Genome.restore(draw(texts), draw(texts)),
                    Fidelity(draw(st.integers(1)), draw(st.sampled_from(["steps", "tokens", "epochs"]))),
                    draw(st.integers()),
                    tuple(draw(st.lists(st.integers(), max_size=2))),
                    draw(texts),
                    draw(st.none() | st.integers(0)),
                )
            )
            records.append(Proposed(proposals[-1]))
        elif kind == "ended":
            proposal = st.sampled_from(proposals)
            status = st.sampled_from(get_args(Status))
            curve = st.lists(points, max_size=2).map(tuple)
            rest = (seconds, seconds, st.none() | texts, st.none() | texts, st.integers(0, 2))
            trial = st.builds(Trial, proposal, status, metrics, curve, metrics, *rest)
            records.append(Ended(draw(trial)))
        elif kind == "measured":
            records.append(Measured(draw(st.integers()), draw(points), draw(st.booleans())))
        elif kind == "opened":
            versions = st.dictionaries(texts, texts, max_size=2)
            records.append(draw(st.builds(Opened, seconds, versions, st.integers(), texts, st.integers())))
        elif kind == "amended":
            records.append(draw(st.builds(Amended, texts, plain, plain)))
        elif kind == "confirmed":
            status, error = draw(st.sampled_from(["done", "failed"])), draw(st.none() | texts)
            ids = (draw(st.integers()), draw(st.integers()))
            records.append(
                Confirmed(*ids, status, draw(metrics), error, draw(texts), draw(seconds), draw(seconds))
            )
        else:
            reason = draw(st.sampled_from(["budget", "exhausted"]))
            records.append(Concluded(draw(st.none() | st.integers()), reason, draw(seconds)))
    return records


def same(a: Any, b: Any) -> bool:
    """Equality that takes NaN for NaN and tells 0.0 from -0.0 and 1 from 1.0."""
    return repr(a) == repr(b)


@contextmanager
def log_of(records: list[Record]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        with Journal(path) as journal:
            journal.append(records, sync=False)
        yield path


def proposed(i: int) -> Proposed:
    return Proposed(Proposal(i, Genome.restore(f"mlp(width={i})", f"{i:032x}"), Fidelity(10), seed=i))


def ended(i: int, **fields: Any) -> Ended:
    return Ended(Trial(proposed(i).proposal, "done", {"loss": 1.0 / (i + 1)}, **fields))


@settings(deadline=None)  # a disk takes its time to sync
@given(logs(), st.integers(0, 8))
def test_any_records_come_back_exactly(records: list[Record], cut: int) -> None:
    with log_of(records[:cut]) as path:
        with Journal(path) as journal:
            assert same(journal.records, records[:cut])
            assert journal.repaired == 0
            journal.append(records[cut:], sync=True)
        assert same(list(read(path)), records)


@settings(deadline=None)
@given(logs(min_size=1), fractions)
def test_a_log_cut_anywhere_keeps_whole_lines_and_goes_on(records: list[Record], fraction: float) -> None:
    with log_of(records) as path:
        content = path.read_bytes()
        cut = int(fraction * (len(content) + 1))
        kept = content[:cut].count(b"\n")
        path.write_bytes(content[:cut])

        assert same(list(read(path)), records[:kept])
        assert path.read_bytes() == content[:cut], "reading repairs nothing"
        with Journal(path) as journal:
            assert same(journal.records, records[:kept])
            assert journal.repaired == cut - (content[:cut].rfind(b"\n") + 1)
            journal.append([Amended("a", 1, 2)], sync=False)
        assert same(list(read(path)), [*records[:kept], Amended("a", 1, 2)])


@settings(deadline=None)
@given(logs(min_size=2), fractions, st.integers(1, 255))
def test_a_changed_byte_is_found_with_its_line(records: list[Record], fraction: float, flipped: int) -> None:
    with log_of(records) as path:
        content = bytearray(path.read_bytes())
        place = int(fraction * (content[:-1].rfind(b"\n") + 1))
        line = content[:place].count(b"\n") + 1
        content[place] ^= flipped
        path.write_bytes(content)
        message = (
            f"{path}, line {line}: the checksum is wrong, so it was changed after it was written. "
            "Restore the file from a copy, or keep only what comes before, with "
            f"'head -n {line - 1}'; nothing was changed"
        )
        for opening in (lambda: list(read(path)), lambda: Journal(path)):
            with pytest.raises(InvalidInput) as error:
                opening()
            assert str(error.value) == message
        assert path.read_bytes() == content


def test_every_place_to_cut() -> None:
    records: list[Record] = [proposed(0), ended(0), proposed(1)]
    with log_of(records) as path:
        content = path.read_bytes()
        for cut in range(len(content) + 1):
            path.write_bytes(content[:cut])
            assert list(read(path)) == records[: content[:cut].count(b"\n")]


def test_a_damaged_last_line_is_cut_off() -> None:
    with log_of([proposed(0), proposed(1)]) as path:
        path.write_bytes(path.read_bytes().replace(b"mlp(width=1)", b"mlp(width=2)"))
        with Journal(path) as journal:
            assert journal.records == [proposed(0)]
            assert journal.repaired > 100


def test_lines_are_strict_json_with_a_time_and_no_genome_twice() -> None:
    trial = Trial(proposed(0).proposal, "failed", {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.1})
    with log_of([proposed(0), Ended(trial)]) as path:

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        first, second = (json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines())
        assert first["text"] == "mlp(width=0)"
        assert second["metrics"] == {"a": None, "b": "Infinity", "c": "-Infinity", "d": 0.1}
        assert "mlp" not in path.read_text().splitlines()[1]
        assert first["time"] <= second["time"]
        names = list(first)
        assert (names[0], names[-1]) == ("time", "crc")


def test_numbers_of_numpy_are_written_too(tmp_path: Path) -> None:
    import numpy as np

    with Journal(tmp_path / "events.jsonl") as journal:
        metrics: Any = {"a": np.float32(0.5), "b": np.float64(0.1)}
        journal.append([Measured(0, Measurement(1, metrics))], sync=False)
    [record] = read(tmp_path / "events.jsonl")
    assert same(record, Measured(0, Measurement(1, {"a": 0.5, "b": 0.1})))


def test_a_trial_must_have_been_proposed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path) as journal:
        with pytest.raises(ValueError, match=f"trial 1 ended, but was not proposed so in {path}"):
            journal.append([proposed(0), ended(1)], sync=False)
        assert path.read_bytes() == b""
        journal.append([proposed(0), ended(0)], sync=False)
    with Journal(path) as journal:
        journal.append([ended(0, worker="again")], sync=False)
        assert len(list(read(path))) == 3


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"kind": "ended", "id": 7}, "trial 7 ended but was never proposed"),
        ({"kind": "guessed"}, "unknown kind of record 'guessed', "
         "allowed: proposed, measured, ended, opened, amended, confirmed, concluded"),
        ({"kind": "amended"}, "a record of kind 'amended' has no field 'key'"),
    ],
)  # fmt: skip
def test_a_record_of_another_version_is_refused(
    changes: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    monkeypatch.setattr("nas.store.journal.encode", lambda record: changes)
    with Journal(path) as journal:
        journal.append([proposed(0)], sync=False)
    with pytest.raises(InvalidInput, match=rf"line 1: {said}\. Restore the file"):
        list(read(path))


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInput, match=r"x.jsonl: cannot be read as an event log: No such file or directory"
    ):
        read(tmp_path / "x.jsonl")


def test_a_full_disk_leaves_whole_records(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(path) as journal:
        journal.append([proposed(0)], sync=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 30, hard))
        try:
            with pytest.raises(OSError, match=r"only 30 of [0-9]+ bytes could be written"):
                journal.append([proposed(1), ended(1)], sync=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.raises(ValueError, match="not proposed"):
            journal.append([ended(1)], sync=True)
        journal.append([ended(0)], sync=True)
    assert list(read(path)) == [proposed(0), ended(0)]


DRIVER = """
import sys
from tests_journal_records import ended, proposed
from nas.store import Journal
with Journal(sys.argv[1]) as journal:
    i = sum(type(record).__name__ == "Proposed" for record in journal.records)
    if i and type(journal.records[-1]).__name__ == "Proposed":
        journal.append([ended(i - 1)], sync=True)  # killed in between
    while True:
        journal.append([proposed(i)], sync=False)
        journal.append([ended(i)], sync=True)
        print(i, flush=True)
        i += 1
"""


@contextmanager
def driver(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that appends trials as fast as it can, and tells each once it is synced."""
    code = DRIVER.replace("tests_journal_records", Path(__file__).stem)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{Path(__file__).parents[3]}{os.pathsep}{Path(__file__).parent}",
    }
    arguments = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    total = 0
    for wait in (1, 7, 40):
        with driver(path) as process:
            assert process.stdout is not None
            for _ in range(wait):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            acknowledged = wait + len(process.stdout.readlines())
            process.wait()
        trials = [record.trial for record in read(path) if isinstance(record, Ended)]
        assert [trial.id for trial in trials] == list(range(len(trials)))
        assert len(trials) >= total + acknowledged
        total = len(trials)
        assert trials == [ended(i).trial for i in range(total)]


def test_one_driver_at_a_time_also_after_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with driver(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(InvalidInput) as error:
            Journal(path)
        assert str(error.value) == (
            f"{tmp_path}: in use by the driver with pid {process.pid}; "
            "wait for it, stop it, or choose another --dir"
        )
        assert len(list(read(path))) >= 2, "a log is read while it is written"
    with Journal(path) as journal, pytest.raises(InvalidInput, match=f"pid {os.getpid()};"):
        Journal(journal.path)
