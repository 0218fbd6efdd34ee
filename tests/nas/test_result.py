import numpy as np
import pytest

from nas.config import parse
from nas.result import Result
from nas.store import Concluded
from nas.types import Ended, Fidelity, Proposal, Proposed, Trial
from spaces.genome import Genome


def config(*objectives):
    return parse(
        {
            "name": "made",
            "space": {"name": "hybrid"},
            "task": {"name": "bytes"},
            "strategy": {"name": "random"},
            "budget": {"trials": 4, "steps": 1},
            "objectives": list(objectives),
        }
    )


def records(rows):
    """A log of done trials: their metrics and origins."""
    made = []
    for i, (metrics, origin) in enumerate(rows):
        proposal = Proposal(i, Genome.restore(f"g{i}()", f"{i:032x}"), Fidelity(1), 0, origin=origin)
        made += [Proposed(proposal), Ended(Trial.done(proposal, metrics))]
    return made


def test_the_front_of_two_objectives():
    aims = config({"metric": "a"}, {"metric": "b", "direction": "max"})
    rows = [
        ({"a": 1.0, "b": 1.0}, ""),
        ({"a": 2.0, "b": 5.0}, ""),
        ({"a": 2.0, "b": 4.0}, ""),
        ({"a": 3.0, "b": 5.0}, ""),
    ]
    result = Result(aims, records(rows))
    assert [trial.id for trial in result.pareto()] == [0, 1]
    assert result.best().id == 0


def test_equal_trials_are_all_on_the_front():
    result = Result(config({"metric": "a"}), records([({"a": 1.0}, ""), ({"a": 1.0}, ""), ({"a": 2.0}, "")]))
    assert [trial.id for trial in result.pareto()] == [0, 1]


def test_constraints_rank_first():
    aims = config({"metric": "a"}, {"metric": "size", "bound": 10.0})
    rows = [({"a": 1.0, "size": 30.0}, ""), ({"a": 2.0, "size": 20.0}, ""), ({"a": 3.0, "size": 10.0}, "")]
    result = Result(aims, records(rows))
    assert [trial.id for trial in result.ranking()] == [2, 1, 0]
    assert [trial.id for trial in result.pareto()] == [2]


@pytest.mark.parametrize("direction, sign", [("min", 1), ("max", -1)])
def test_gain_is_positive_where_the_best_is_better(direction, sign):
    losses = [5.0, 6.0, 7.0, 6.0]
    rows = [({"a": sign * loss}, "random") for loss in losses] + [({"a": sign * 2.0}, "mutation of 0")]
    log = [*records(rows), Concluded(4, (1, 2), ({"a": sign * 2.5}, {"a": sign * 3.5}), 0.0)]
    gain = Result(config({"metric": "a", "direction": direction}), log).gain()
    assert gain.mean == pytest.approx(6.0 - 3.0)
    assert gain.low < 3.0 < gain.high
    assert gain.low > 6.0 - 3.5 - 1.0
    assert (gain.random, gain.seeds) == (4, 2)


def test_the_interval_covers_the_true_gain():
    """Of 300 made-up campaigns with 12 random architectures and 4 seeds, about 95 % cover it (bootstrap: a bit fewer)."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        rows = [({"a": value}, "random") for value in rng.normal(3.0, 0.3, 12)]
        confirmed = tuple({"a": value} for value in rng.normal(2.5, 0.02, 4))
        campaign = Result(
            config({"metric": "a"}), [*records(rows), Concluded(0, tuple(range(4)), confirmed, 0.0)]
        )
        gain = campaign.gain()
        covered += gain.low <= 0.5 <= gain.high
    assert 0.85 * 300 <= covered <= 0.99 * 300


def test_a_conclusion_counts_only_for_the_trials_before_it():
    rows = [({"a": 5.0}, "random"), ({"a": 4.0}, "random"), ({"a": 3.0}, "random")]
    log = records(rows)
    early = Concluded(1, (1,), ({"a": 4.0},), 0.0)
    assert Result(config({"metric": "a"}), [*log[:4], early]).conclusion == early
    assert Result(config({"metric": "a"}), [*log[:4], early, *log[4:]]).conclusion is None


def test_without_random_architectures_there_is_no_gain():
    log = [*records([({"a": 5.0}, "mamba-2")]), Concluded(0, (1,), ({"a": 4.0},), 0.0)]
    assert Result(config({"metric": "a"}), log).gain() is None
