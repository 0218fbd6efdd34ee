import numpy as np
import pytest

import benchmarks
from benchmarks import Description, Metric, Table
from nas.cluster.simulated import Conditions
from nas.compare import plan
from nas.config import parse
from nas.types import InvalidInput

TABLE = "nasbench201/cifar100"

pytestmark = pytest.mark.usefixtures("cache")

PLAN = {
    "name": "plan",
    "space": {"name": "hybrid"},
    "task": {"name": "bytes"},
    "strategy": {"name": "random"},
    "budget": {"trials": 60, "steps": 1},
    "objectives": [{"metric": "valid_bpb"}],
}


def test_a_plan():
    """Trials of very different lengths keep few workers busy and many idle; nothing else changes with random draws."""
    config = parse(PLAN)
    table = benchmarks.load(TABLE)
    one, eight, many = plan(config, table, [1, 8, 60], seeds=1, processes=1)
    assert (one.workers, one.trials, one.failed) == (1, 60, 0)
    assert one.utilisation == pytest.approx(1)
    assert one.speedup == pytest.approx(1)
    assert one.regret == pytest.approx(many.regret)
    assert 5 < eight.speedup < 8
    assert many.utilisation < eight.utilisation < 1
    assert many.seconds * many.speedup == pytest.approx(one.seconds)
    (deaths,) = plan(config, table, [8], seeds=3, conditions=Conditions(deaths=0.5), processes=1)
    assert deaths.failed > 0
    assert plan(config, table, [1, 60], seeds=1, processes=2) == [one, many]
    with pytest.raises(InvalidInput, match=r"workers = \[0\] and seeds = 5 must be at least 1"):
        plan(config, table, [0])


def test_a_plan_that_the_clock_stops(tmp_path):
    """Trainings of ten seconds each: at 25 s three workers have done two each, and half of a third."""
    description = Description(
        "even",
        "",
        "hpobench_mlp",
        {"vector": {"features": 1}},
        "loss",
        (Metric("loss", "min", ""), Metric("train_time", "min", "seconds")),
        listed=True,
    )
    texts = [description.load_space().unrank(rank).text for rank in range(20)]
    columns = {"loss": np.arange(20.0), "train_time": np.full(20, 10.0)}
    Table.write(tmp_path / "even.arrow", description, columns, texts)
    config = parse(PLAN | {"budget": {"trials": 20, "steps": 1}})

    def planned(seconds):
        table = Table(tmp_path / "even.arrow")
        return plan(config, table, [3], seeds=1, conditions=Conditions(seconds=seconds), processes=1)[0]

    found = planned(25)
    assert (found.trials, found.seconds, found.utilisation, found.speedup) == (6, 25, 1, 3)
    found = planned(1000)
    assert (found.trials, found.seconds) == (20, 70)
    assert found.utilisation == pytest.approx(20 / 21)
    assert planned(69).utilisation == pytest.approx((18 * 10 + 2 * 9) / (3 * 69))
    with pytest.raises(
        InvalidInput, match="no trial ended on 3 workers; the shortest on the table takes longer"
    ):
        planned(5)
