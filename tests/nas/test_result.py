import numpy as np
import pytest

from nas.config import parse
from nas.display import constraint, count, duration, number, ranking_cells
from nas.report.tables import console, print_ranking
from nas.result import Result, student_quantile, welch_half_width
from nas.store import Concluded, Confirmed
from nas.types import Ended, Fidelity, Objective, Proposal, Proposed, Trial
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


def test_the_front_is_told_with_the_ranking(capsys):
    aims = config({"metric": "a"}, {"metric": "b", "direction": "max"})
    rows = [({"a": float(i), "b": float(i)}, "") for i in range(23)]
    print_ranking(Result(aims, records([*rows, ({"a": 30.0, "b": 0.0}, "")])), console())
    shown = ", ".join(map(str, range(20)))
    out = capsys.readouterr().out
    assert f"Pareto front of a and b, first in the table: trials {shown} and 3 more\n" in out
    assert [line.split()[1] for line in out.splitlines()[1:21]] == [str(k) for k in range(20)]
    print_ranking(
        Result(
            aims,
            records([({"a": float(i), "b": -float(i)}, "") for i in (0, 2)] + [({"a": 3.0, "b": 1.0}, "")]),
        ),
        console(),
        top=2,
    )
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:3]] == ["0", "2"]
    print_ranking(Result(config({"metric": "a"}), records(rows)), console())
    assert "front" not in capsys.readouterr().out


def test_the_front_comes_before_what_ranks_above_it():
    aims = config({"metric": "a"}, {"metric": "b"})
    rows = [({"a": 1.0, "b": 3.0}, ""), ({"a": 2.0, "b": 4.0}, ""), ({"a": 3.0, "b": 1.0}, "")]
    result = Result(aims, records(rows))
    assert [trial.id for trial in result.ranking()] == [0, 1, 2]
    assert [trial.id for trial in result.leading(1)] == [0, 2]
    assert [trial.id for trial in result.leading(3)] == [0, 2, 1]


def test_equal_trials_are_all_on_the_front():
    result = Result(config({"metric": "a"}), records([({"a": 1.0}, ""), ({"a": 1.0}, ""), ({"a": 2.0}, "")]))
    assert [trial.id for trial in result.pareto()] == [0, 1]


def test_constraints_rank_first():
    aims = config({"metric": "a"}, {"metric": "size", "bound": 10.0})
    rows = [({"a": 1.0, "size": 30.0}, ""), ({"a": 2.0, "size": 20.0}, ""), ({"a": 3.0, "size": 10.0}, "")]
    result = Result(aims, records(rows))
    assert [trial.id for trial in result.ranking()] == [2, 1, 0]
    assert [trial.id for trial in result.pareto()] == [2]


@pytest.mark.parametrize("most, told", [(10.0, False), (5.0, True)])
def test_constraints_that_no_trial_meets_are_told(capsys, most, told):
    aims = config({"metric": "a"}, {"metric": "size", "bound": most})
    rows = [({"a": 1.0, "size": 30.0}, ""), ({"a": 3.0, "size": 10.0}, "")]
    print_ranking(Result(aims, records(rows)), console())
    assert ("No trial meets the constraints: size at most 5" in capsys.readouterr().out) == told


def test_trials_that_break_a_constraint_are_told(capsys):
    aims = config({"metric": "a"}, {"metric": "size", "bound": 10.0})
    rows = [({"a": a, "size": 10.0 * a}, "") for a in (3.0, 1.0, 2.0)]
    print_ranking(Result(aims, records(rows)), console())
    assert "Trials 2, 0 do not meet the constraints: size at most 10\n" in capsys.readouterr().out
    print_ranking(Result(aims, records(rows[1:])), console())
    assert "Trial 1 does not meet the constraints" in capsys.readouterr().out
    print_ranking(Result(config({"metric": "a"}), records(rows)), console())
    assert "constraints" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "value, shown",
    [
        (None, "-"),
        (3, "3"),
        (0.0, "0.0000"),
        (2.55676, "2.5568"),
        (0.00123, "0.0012"),
        (-3.19113e-05, "-3.19e-05"),
    ],
)
def test_small_metrics_keep_their_digits(value, shown):
    assert number(value) == shown


def test_networks_without_a_decode_state_have_no_column_for_it():
    heads, _ = ranking_cells(
        [{"rank": 1, "trial": 0, "a": 1.0, "flops_per_token": 9, "state_bytes": 0, "origin": ""}]
    )
    assert heads == ["#", "trial", "a", "FLOPs", "origin"]


def confirmed(trial_id, *values):
    """A trial on fresh seeds, with these values of metric a; None: it failed."""
    return [
        Confirmed(
            trial_id,
            seed,
            "failed" if value is None else "done",
            {} if value is None else {"a": value},
            None,
            None,
            0.0,
            1.0,
        )
        for seed, value in enumerate(values, start=1)
    ]


@pytest.mark.parametrize("direction, sign", [("min", 1), ("max", -1)])
def test_gain_is_positive_where_the_best_is_better(direction, sign):
    losses = [5.0, 6.0, 7.0, 6.0]
    rows = [({"a": sign * loss}, "random") for loss in losses] + [({"a": sign * 2.0}, "mutation of 0")]
    log = [*records(rows), *confirmed(4, sign * 2.5, None, sign * 3.5)]
    gain = Result(config({"metric": "a", "direction": direction}), log).gain()
    assert gain.mean == pytest.approx(6.0 - 3.0)
    # Welch: variances 2/3 of 4 and 1/2 of 2 seeds, 2.419 degrees of freedom, where SciPy's t.ppf(0.975) is 3.66136.
    assert gain.high - gain.mean == pytest.approx(3.66136 * (2 / 3 / 4 + 1 / 2 / 2) ** 0.5, rel=1e-5)
    assert gain.mean - gain.low == pytest.approx(gain.high - gain.mean)
    assert (gain.random, gain.unfinished, gain.seeds) == (4, 0, 2)


@pytest.mark.parametrize(
    "freedom, quantile", [(1, 12.7062), (2, 4.30265), (3, 3.18245), (10, 2.22814), (200, 1.97190)]
)
def test_quantiles_of_student(freedom, quantile):
    """Against the printed tables."""
    assert student_quantile(0.975, freedom) == pytest.approx(quantile, rel=1e-5)


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.15])
def test_the_interval_covers_the_true_gain(spread):
    """95 % of 600 made-up campaigns with 12 random architectures, within three standard errors of that share.

    Three seeds, the default, that spread up to half as much as architectures do.
    """
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(600):
        random, best = rng.normal(3.0, 0.3, 12), rng.normal(2.5, spread, 3)
        covered += abs(random.mean() - best.mean() - 0.5) <= welch_half_width(random, best)
    assert abs(covered / 600 - 0.95) < 3 * (0.95 * 0.05 / 600) ** 0.5


def test_failed_random_architectures_are_told():
    log = records([({"a": 5.0}, "random"), ({"a": 4.0}, "random"), ({"a": 1.0}, "mutation of 0")])
    failed = Proposal(3, Genome.restore("g3()", "3" * 32), Fidelity(1), 0, origin="random")
    log += [Proposed(failed), Ended(Trial(failed, "failed", error="diverged")), *confirmed(2, 1.0, 1.1)]
    gain = Result(config({"metric": "a"}), log).gain()
    assert (gain.random, gain.unfinished) == (2, 1)


def test_a_conclusion_counts_only_for_the_trials_before_it():
    log = records([({"a": 5.0}, "random"), ({"a": 4.0}, "random"), ({"a": 3.0}, "random")])
    early = Concluded(1, "budget", 0.0)
    assert Result(config({"metric": "a"}), [*log[:4], early]).conclusion == early
    assert Result(config({"metric": "a"}), [*log[:4], early, *log[4:]]).conclusion is None


def test_confirmations_are_those_of_the_best():
    log = records([({"a": 5.0}, "random"), ({"a": 4.0}, "random"), ({"a": 3.0}, "mutation of 1")])
    runs = [*confirmed(1, 4.5), *confirmed(2, None), *confirmed(2, 3.5, 3.6)]
    assert Result(config({"metric": "a"}), [*log, *runs]).confirmed("a") == [3.5, 3.6]


def test_without_random_architectures_there_is_no_gain():
    assert (
        Result(config({"metric": "a"}), [*records([({"a": 5.0}, "mamba-2")]), *confirmed(0, 4.0)]).gain()
        is None
    )


@pytest.mark.parametrize(
    "number, shown",
    [
        (None, "uncounted or infinitely many"),
        (0, "0"),
        (31_250, "31,250"),
        (10**15 - 1, "999,999,999,999,999"),
        (10**15, "1.000e+15"),
        (3 * 10**400, "3.000e+400"),
    ],
)
def test_counts(number, shown):
    assert count(number) == shown


@pytest.mark.parametrize(
    "bounded, said",
    [
        (Objective("parameters", "min", 1e6), "parameters at most 1,000,000"),
        (Objective("valid_accuracy", "max", 0.125), "valid_accuracy at least 0.125"),
    ],
)
def test_constraints_in_words(bounded, said):
    assert constraint(bounded) == said


@pytest.mark.parametrize(
    "seconds, told", [(0, "0 s"), (0.26, "0.3 s"), (0.6, "1 s"), (61.2, "1 min 01 s"), (7260, "2 h 01 min")]
)
def test_durations(seconds, told):
    assert duration(seconds) == told
