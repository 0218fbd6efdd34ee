"""The trials of one PyGlove search, proposed by its algorithm and kept in a file."""

from __future__ import annotations

import datetime
import sqlite3
import time
from typing import Any

import pyglove as pg

from nas.types import InvalidInput

_TABLES = """
create table if not exists trials (id integer primary key, worker text not null, trial text not null);
create table if not exists metadata (key text primary key, value text not null);
"""


class Study:
    """What `pg.sample` asks for and reports, one call at a time: trials by worker, feedback to the algorithm.

    A worker that asks again before its trial has ended gets the same trial, as after it died and was started anew.
    With a file, all that was asked and told outlasts this process: a study that is opened on it goes on, with its
    algorithm recovered from the history. Trials travel as JSON, since symbolic values from another process are sealed.

    Args:
        dna_spec: what is sampled.
        algorithm: not set up yet, so that the state that it would lose on its way here is none.
        metrics: names of what it follows: "reward", or keys of the metrics.
        early_stopping: says which trials are not worth going on with.
        examples: the most trials; None: no end.
        storage: the path of an SQLite file; None: in memory.

    Raises:
        InvalidInput: the file cannot be opened, or holds something else.
    """

    def __init__(
        self,
        dna_spec: pg.DNASpec,
        algorithm: pg.DNAGenerator,
        metrics: tuple[str, ...],
        early_stopping: Any = None,
        examples: int | None = None,
        storage: str | None = None,
    ) -> None:
        self._metrics, self._examples = metrics, examples
        self._spec, self._algorithm, self._early_stopping = dna_spec, algorithm, early_stopping
        self._latest: dict[str, int] = {}
        self._trials: list[pg.tuning.Trial] = []
        self._updated: datetime.datetime | None = None
        self._active = True
        try:
            self._file = sqlite3.connect(storage or ":memory:")
            self._file.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            raise InvalidInput(f"storage {storage!r} cannot be opened as an SQLite file: {error}") from None
        algorithm.setup(dna_spec)
        if early_stopping is not None:
            early_stopping.setup(dna_spec)
        self._recover(storage)

    def _recover(self, storage: str | None) -> None:
        for number, worker, text in self._file.execute("select id, worker, trial from trials order by id"):
            trial = pg.from_json_str(text)
            try:
                trial.dna.use_spec(self._spec)
            except ValueError as error:
                raise InvalidInput(
                    f"storage {storage!r} holds a study of other decisions: {error}; give another file"
                ) from None
            self._trials.append(trial)
            self._latest[worker] = number
        if self._trials:
            self._algorithm.recover(
                [(trial.dna, trial.get_reward_for_feedback(self._metrics)) for trial in self._trials]
            )

    def next(self, worker: str) -> str | None:
        """The trial that a worker is to go on with or to begin, as JSON; None: no more."""
        if not self._active:
            return None
        if (number := self._latest.get(worker)) and self._trials[number - 1].status == "PENDING":
            return self.trial(number)
        if self._examples is not None and len(self._trials) >= self._examples:
            return None
        try:
            dna = self._algorithm.propose()
        except StopIteration:
            return None
        number = len(self._trials) + 1
        trial = pg.tuning.Trial(
            id=number, dna=dna, status="PENDING", created_time=int(time.time()), metadata={}
        )
        self._trials.append(trial)
        self._latest[worker] = number
        written = self.trial(number)
        with self._file:
            self._file.execute("insert into trials values (?, ?, ?)", (number, worker, written))
        return written

    def trial(self, number: int) -> str:
        """A trial as JSON."""
        return str(pg.to_json_str(self._trials[number - 1]))

    def measure(self, number: int, measurement: dict[str, Any]) -> None:
        """Adds a measurement to a trial.

        Raises:
            RaceConditionError: the trial has ended.
        """
        trial = self._trials[number - 1]
        if trial.status != "PENDING":
            raise pg.tuning.RaceConditionError(f"trial {number} has ended, so nothing can be measured of it")
        trial.measurements.append(pg.tuning.Measurement(**measurement))
        self._keep(number)

    def done(self, number: int, metadata: dict[str, Any], links: dict[str, str]) -> None:
        """Ends a trial with its last measurement, of which the algorithm is told; nothing where it had ended.

        Raises:
            ValueError: nothing was measured, or a metric to optimise was not.
        """
        trial = self._trials[number - 1]
        if trial.status != "PENDING":
            return
        if not trial.measurements:
            raise ValueError(f"trial {number} ends, but nothing was measured of it")
        trial.rebind(
            status="COMPLETED",
            final_measurement=trial.measurements[-1].clone(deep=True),
            completed_time=int(time.time()),
        )
        trial.metadata.update(metadata)
        trial.related_links.update(links)
        self._keep(number)
        self._algorithm.feedback(trial.dna, trial.get_reward_for_feedback(self._metrics))

    def skip(self, number: int) -> None:
        """Ends a trial of which the algorithm is told nothing."""
        trial = self._trials[number - 1]
        if trial.status == "PENDING":
            nothing = pg.tuning.Measurement(reward=0.0, step=0, elapse_secs=0.0)
            trial.rebind(status="COMPLETED", infeasible=True, final_measurement=nothing)
            self._keep(number)

    def link(self, number: int, name: str, url: str) -> None:
        self._trials[number - 1].related_links[name] = url
        self._keep(number)

    def stops(self, number: int) -> bool:
        """Whether a trial is not worth going on with."""
        trial = self._trials[number - 1]
        if self._early_stopping is None or not trial.measurements:
            return False
        return bool(self._early_stopping.should_stop_early(trial))

    def set_metadata(self, number: int | None, key: str, value: str) -> None:
        """Keeps a value, as JSON, of a trial, or of the study."""
        if number is None:
            with self._file:
                self._file.execute("insert or replace into metadata values (?, ?)", (key, value))
        else:
            self._trials[number - 1].metadata[key] = pg.from_json_str(value)
            self._keep(number)

    def metadata(self) -> dict[str, str]:
        """What is kept of the study, as JSON."""
        return dict(self._file.execute("select key, value from metadata").fetchall())

    def end(self) -> None:
        """No worker gets another trial."""
        self._active = False

    def result(self) -> dict[str, Any]:
        """All that `pg.poll_result` tells."""
        trials = [self.trial(number) for number in range(1, len(self._trials) + 1)]
        return {
            "trials": trials,
            "metadata": self.metadata(),
            "active": self._active,
            "updated": self._updated,
        }

    def _keep(self, number: int) -> None:
        self._updated = datetime.datetime.now(tz=datetime.UTC)
        with self._file:
            self._file.execute("update trials set trial = ? where id = ?", (self.trial(number), number))
