"""Training on the simulated clock: amounts of it, reports on the way, early ends, resuming, and the same in real time."""

import heapq
import queue
import threading
import time

import numpy as np
import pytest

from benchmarks import Description, Fidelities, Metric, Table
from nas.cluster.simulated import Conditions, SimulatedEngine, whole
from nas.compare import Contestant, play, simulate
from nas.search.random_search import RandomSearch
from nas.types import Ended, Fidelity, InvalidInput, Measured, Objective, Proposal, Trial

SPACE = """
from spaces import ProductSpace, choice
def line(io): return ProductSpace("line", {"x": choice(*range(8), ordered=True), "y": choice(*range(8))}, io)
"""

SIZE = 64


def description(**changes):
    return Description(
        name="made-up/line",
        about="",
        space="curved_line:line",
        io={"vector": {"features": 1}},
        objective="loss",
        **changes,
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """One with curves, whose rows were trained for 9 epochs but for the last, for 3; and one without."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "curved_line.py").write_text(SPACE)
    times = np.random.default_rng(0).uniform(1, 4, SIZE)
    losses = np.random.default_rng(1).uniform(1, 2, SIZE)
    curves = losses[:, None, None] + np.array([0.5, 0.25, 0.0])
    curves[-1, :, 2] = np.nan
    plain = (Metric("loss", "min", "nats", split="valid"), Metric("train_time", "min", "seconds"))
    curved = (Metric("loss", "min", "nats", split="valid", curve=True), plain[1])
    axis = Fidelities("epochs", (1, 3, 9))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        columns = {"loss": losses, "train_time": times}
        Table.write(
            folder / "curved.arrow",
            description(metrics=curved, fidelities=axis),
            columns,
            curves={"loss": curves},
        )
        Table.write(folder / "plain.arrow", description(metrics=plain), columns)
        yield Table(folder / "curved.arrow"), Table(folder / "plain.arrow")


def proposal(table, id, rank, amount=9, resume_from=None):
    return Proposal(id, table.genome(rank), Fidelity(amount, "epochs"), 0, resume_from=resume_from)


def drain(engine):
    trials = []
    while ended := engine.poll(0.0):
        trials += ended
    return trials


def test_a_trial_spends_its_fidelity(tables):
    table, _ = tables
    engine = SimulatedEngine(table, workers=4)
    for id, (rank, amount) in enumerate([(5, 1), (5, 9), (5, 200), (63, 9)]):
        engine.submit(proposal(table, id, rank, amount))
    short, full, more, last = sorted(drain(engine), key=lambda trial: trial.id)
    assert short.metrics["loss"] == table.query(5, fidelity=1)
    assert short.duration == pytest.approx(table.query(5, "train_time") / 9)
    assert full.metrics == more.metrics == table.row(5)
    assert full.duration == table.query(5, "train_time")
    assert last.metrics == table.row(63), "it was trained for 3 epochs, and no longer"


def test_a_trial_goes_on_with_another(tables):
    table, _ = tables
    engine = SimulatedEngine(table)
    for id, (rank, amount, resumed) in enumerate([(5, 1, None), (5, 3, 0), (5, 9, 1), (6, 9, 1), (5, 9, 77)]):
        engine.submit(proposal(table, id, rank, amount, resumed))
    trials = drain(engine)
    spent = [trial.duration for trial in trials]
    assert sum(spent[:3]) == pytest.approx(spent[4]) == table.query(5, "train_time")
    assert spent[3] == table.query(6, "train_time"), "of another genome"
    assert trials[2].metrics == table.row(5)


def test_reports_come_in_the_order_of_the_clock_and_end_trials(tables):
    table, _ = tables
    told = []
    engine = SimulatedEngine(
        table,
        workers=2,
        on_report=lambda id, at: told.append((engine.now, id, at)) or (id, at.step) != (1, 3),
    )
    for id in range(3):
        engine.submit(proposal(table, id, id))
    trials = {trial.id: trial for trial in drain(engine)}
    assert [now for now, *_ in told] == sorted(now for now, *_ in told)
    assert [at.step for _, id, at in told if id == 0] == [1, 3]
    assert trials[1].status == "stopped"
    assert [at.metrics["loss"] for at in trials[1].curve] == [table.query(1, fidelity=k) for k in (1, 3)]
    assert trials[1].metrics["loss"] == table.query(1, fidelity=3)
    assert trials[1].duration == pytest.approx(table.query(1, "train_time") / 3)
    assert trials[2].started == min(t.started + t.duration for t in (trials[0], trials[1]))
    assert trials[2].metrics == table.row(2)
    # What was stopped can be gone on with.
    engine.submit(proposal(table, 3, 1, resume_from=1))
    assert drain(engine)[0].duration == pytest.approx(table.query(1, "train_time") * 2 / 3)


def test_a_strategy_ends_trials(tables):
    table, _ = tables

    class Halving(RandomSearch):
        """Stops every trial at its first report whose loss is not the best so far."""

        def __init__(self, table):
            super().__init__(table.space, [Objective("loss", "min")], 0, whole(table))
            self.events, self.best = [], np.inf

        def proceed(self, trial_id, measurement):
            return measurement.metrics["loss"] <= self.best

        def tell(self, event):
            super().tell(event)
            self.events.append(event)
            if isinstance(event, Measured):
                self.best = min(self.best, event.measurement.metrics["loss"])

    strategy = Halving(table)
    trials = [*simulate(strategy, table, 30, workers=4)]
    stopped = {trial.id for trial in trials if trial.status == "stopped"}
    assert stopped == {e.trial_id for e in strategy.events if isinstance(e, Measured) and not e.proceed}
    assert 0 < len(stopped) < 30
    assert [e.trial.id for e in strategy.events if isinstance(e, Ended)] == [trial.id for trial in trials]


def test_what_was_measured_at_the_end_is_told_then(tables, tmp_path):
    """An objective without a curve, beside a metric with one: nothing is reported, and the end has both."""
    curved, _ = tables
    plain_loss = Metric("loss", "min", "nats", split="valid")
    metrics = (plain_loss, Metric("train_loss", "min", "nats", split="train", curve=True))
    losses, curves = curved.column(), np.ones((SIZE, 1, 3))
    Table.write(
        tmp_path / "ends.arrow",
        description(metrics=metrics, fidelities=curved.fidelities),
        {"loss": losses, "train_loss": np.ones(SIZE)},
        curves={"train_loss": curves},
    )
    table = Table(tmp_path / "ends.arrow")
    engine = SimulatedEngine(table, on_report=lambda id, at: pytest.fail("nothing is known before the end"))
    engine.submit(proposal(table, 0, 5))
    engine.submit(proposal(table, 1, 5, amount=3))
    whole_one, early = drain(engine)
    assert dict(whole_one.metrics) == {"loss": losses[5], "train_loss": 1.0}
    assert (early.status, early.error) == ("failed", "the table has no loss of this genome after 3 epochs")


def test_another_unit_is_refused(tables):
    table, _ = tables
    with pytest.raises(InvalidInput) as error:
        SimulatedEngine(table).submit(Proposal(0, table.genome(0), Fidelity(5), 0))
    assert str(error.value) == (
        "a trial cannot spend 5 steps on table 'made-up/line', which counts training in epochs"
    )


class RealTimeEngine:
    """Threads that sleep for as long as each training took, times a scale: what `SimulatedEngine` stands for."""

    def __init__(self, table, workers, scale):
        self.table, self.workers, self.scale = table, workers, scale
        self.waiting, self.ended = queue.Queue(), queue.Queue()
        self.free, self.lock = [*range(workers)], threading.Lock()
        self.began = time.monotonic()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(workers)]
        for thread in self.threads:
            thread.start()

    def work(self):
        while (proposal := self.waiting.get()) is not None:
            row = self.table.row(proposal.genome.text)
            time.sleep(self.scale * row["train_time"])
            self.ended.put(Trial.done(proposal, row))

    def submit(self, proposal, splits=("valid",)):
        self.waiting.put(proposal)

    def poll(self, timeout):
        return [self.ended.get(timeout=60)]

    def close(self):
        for _ in self.threads:
            self.waiting.put(None)
        for thread in self.threads:
            thread.join()


def events_of(table, engine, evaluations, seed):
    """All that a strategy is told, by what is the same on any clock."""
    strategy = Contestant.parse("evolution").make(table, seed)
    told, tell = [], strategy.tell
    strategy.tell = lambda event: told.append(event) or tell(event)
    for _ in play(strategy, engine, evaluations):
        pass
    engine.close()
    return [
        ("ended", event.trial.id, event.trial.status, dict(event.trial.metrics))
        if isinstance(event, Ended)
        else ("proposed", event.proposal.id, event.proposal.genome.text, event.proposal.parents)
        for event in told
    ]


def nearest_ends(table, evaluations, workers, seed):
    """How close two ends come, in simulated seconds."""
    strategy = Contestant.parse("evolution").make(table, seed)
    ends = [trial.started + trial.duration for trial in simulate(strategy, table, evaluations, workers)]
    return np.diff(ends).min()


@pytest.mark.parametrize("evaluations, gap", [(6, 0.08), pytest.param(40, 0.05, marks=pytest.mark.slow)])
def test_as_in_real_time(tables, evaluations, gap):
    """Event by event: what is proposed and what ends, in one order; ends lie at least `gap` real seconds apart."""
    _, table = tables
    workers = 3
    closest = {seed: nearest_ends(table, evaluations, workers, seed) for seed in range(40)}
    seed = max(closest, key=closest.get)
    simulated = events_of(table, SimulatedEngine(table, workers), evaluations, seed)
    real = events_of(table, RealTimeEngine(table, workers, gap / closest[seed]), evaluations, seed)
    assert [event[:2] for event in real] == [event[:2] for event in simulated]
    assert real == simulated
    assert any(
        event[0] == "ended" and event[1] != place
        for place, event in enumerate(event for event in simulated if event[0] == "ended")
    ), "some overtook others"


def test_waiting_trials_start_as_workers_get_free(tables):
    """More trials than workers, with stops, against a plain loop over the clock."""
    table, _ = tables
    engine = SimulatedEngine(table, 3, on_report=lambda id, at: id % 4 != 1)
    for id in range(20):
        engine.submit(proposal(table, id, id))
    trials = drain(engine)
    free, expected = [0.0] * 3, {}
    for id in range(20):
        started = heapq.heappop(free)
        took = table.query(id, "train_time") / (9 if id % 4 == 1 else 1)
        heapq.heappush(free, started + took)
        expected[id] = (started, pytest.approx(took))
    assert {trial.id: (pytest.approx(trial.started), trial.duration) for trial in trials} == expected


def test_reports_of_stragglers_and_of_workers_that_die(tables):
    table, _ = tables
    told = {}
    conditions = Conditions(stragglers=0.5, deaths=0.5)
    engine = SimulatedEngine(
        table,
        8,
        conditions,
        on_report=lambda id, at: told.setdefault(id, []).append((engine.now, at.step)) or True,
    )
    for id in range(60):
        engine.submit(proposal(table, id, 7))
    alone = table.query(7, "train_time")
    for trial in drain(engine):
        if trial.status == "failed":
            assert trial.id not in told
            continue
        (first, one), (second, three) = told[trial.id]
        pace = (second - first) / (alone * 2 / 9)
        assert (one, three) == (1, 3)
        assert pace == pytest.approx(1) or pace == pytest.approx(4)
        assert trial.started + trial.duration - second == pytest.approx(pace * alone * 6 / 9)
