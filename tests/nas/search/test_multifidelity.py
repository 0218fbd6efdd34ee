import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nas.search
import nas.search.screening
import spaces
from nas.search.rungs import Ladder
from nas.search.screening import Screening
from nas.search.testing import check_replay, strategy_checks
from nas.types import (
    Ended,
    Fidelity,
    Finished,
    InvalidInput,
    Measured,
    Measurement,
    Objective,
    Proposed,
    Trial,
)
from predictors import Prediction
from predictors.evaluate import TauEstimate
from tests.nas.search.multifidelity import SPACE, STRATEGIES, drive, make, of_network


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
def test_conformance(check, name):
    check(lambda space, objectives, seed: make(name, space, objectives, seed), SPACE)


@pytest.mark.slow
def test_a_model_is_replayed():
    given = {"sampler": {"name": "bayesian", "surrogate": "trees", "initial": 4}, "rungs": (1, 3)}
    check_replay(lambda space, objectives, seed: make("bohb", space, objectives, seed, **given), SPACE)


def changing(proposal):
    """A loss of which training on takes more from some networks than from others; some fail."""
    first, second = (int(proposal.genome.digest[k : k + 6], 16) / 2**24 for k in (0, 6))
    if first < 0.1:
        return Trial(proposal, "failed", error="made to fail")
    return Trial.done(proposal, {"loss": first + second / proposal.fidelity.amount})


def log_of(strategy, trials, workers, rng):
    """The events of a campaign whose trials end in random order."""
    events, running, made = [], [], 0

    def log(event):
        events.append(event)
        strategy.tell(event)

    while made < trials or running:
        asked = strategy.ask(min(workers - len(running), trials - made)) if len(running) < workers else []
        for proposal in asked:
            log(Proposed(proposal))
        running += asked
        made += len(asked)
        if not asked or len(running) == workers or made == trials:
            proposal = running.pop(int(rng.integers(len(running))))
            measurement = Measurement(1, {"loss": rng.random()})
            log(Measured(proposal.id, measurement, strategy.proceed(proposal.id, measurement)))
            log(Ended(changing(proposal)))
    return events


def check_cuts(new, events, cuts):
    """Told any beginning of a log, a new strategy goes on as the log did, and asking changes nothing."""
    asked = [
        k
        for k, event in enumerate(events)
        if isinstance(event, Proposed) and (k == 0 or not isinstance(events[k - 1], Proposed))
    ]
    for cut in cuts:
        at = asked[cut % len(asked)]
        replayed = new()
        for event in events[:at]:
            replayed.tell(event)
        following = itertools.takewhile(lambda event: isinstance(event, Proposed), events[at:])
        expected = [event.proposal for event in following]
        assert replayed.ask(len(expected)) == expected
        assert replayed.ask(1) == expected[:1]


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(sorted(STRATEGIES)),
    st.integers(1, 5),
    st.integers(0, 1000),
    st.lists(st.integers(0, 200), min_size=1, max_size=5),
)
def test_interrupted_anywhere_it_proposes_the_same(name, workers, seed, cuts):
    events = log_of(make(name, seed=seed), 40, workers, np.random.default_rng(seed))
    check_cuts(lambda: make(name, seed=seed), events, cuts)


class Sine:
    """A predictor that is quick, and whose every prediction changes with its labels."""

    best = 0.0

    def fit(self, genomes, y):
        self.mean = float(np.nanmean(y))
        return self

    def predict(self, genomes):
        mean = np.array([np.sin(1000 * self.mean * SPACE.rank(genome)) for genome in genomes])
        return Prediction(mean, np.ones(len(mean)), np.zeros(len(mean)))


def test_a_predictor_that_screens_learns_anew_what_promotions_have_changed(monkeypatch):
    monkeypatch.setattr(nas.search.screening, "out_of_fold_tau", lambda *_: TauEstimate(0.5, 0.4))

    def new():
        return make("asha-eta", screening=Screening(Sine, candidates=4, least=5))

    check_cuts(new, log_of(new(), 60, 3, np.random.default_rng(0)), range(0, 60, 3))


def amounts(trials):
    return [trial.proposal.fidelity.amount for trial in trials]


def test_brackets_are_hyperbands():
    """Table 1 of Li et al. 2018: R = 81, eta = 3."""
    ladder = Ladder((1, 3, 9, 27, 81))
    assert [ladder.sizes(start) for start in range(5)] == [
        [81, 27, 9, 3, 1],
        [34, 11, 3, 1],
        [15, 5, 1],
        [8, 2],
        [5],
    ]
    assert Ladder((1, 3, 9, 27, 81), eta=3.0).sizes(1) == [34, 11, 3, 1]
    assert Ladder((12, 200)).sizes(0) == [17, 1]


def test_halving_trains_the_best_of_each_rung_on():
    trials = drive(make("halving"), 26, of_network)
    assert amounts(trials[:13]) == [1] * 9 + [3] * 3 + [9]
    best = sorted(trials[:9], key=lambda trial: trial.metrics["loss"])
    assert [trial.proposal.resume_from for trial in trials[9:12]] == [trial.id for trial in best[:3]]
    assert trials[12].proposal.genome == best[0].proposal.genome
    assert trials[12].proposal.origin == "promotion of 9"
    assert trials[12].proposal.parents == (9,)
    assert amounts(trials[13:]) == [1] * 9 + [3] * 3 + [9]


def test_hyperband_begins_at_each_rung_in_turn():
    trials = drive(make("hyperband", sampler="random"), 35, of_network)
    assert amounts(trials) == [1] * 9 + [3] * 3 + [9] + [3] * 5 + [9] + [9] * 3 + [1] * 9 + [3] * 3 + [9]
    assert [trial.proposal.notes["bracket"] for trial in trials][12:20] == [0, 1, 1, 1, 1, 1, 1, 2]


def test_a_bracket_that_waits_lets_the_next_begin():
    strategy = make("halving")
    first = strategy.ask(12)
    assert [proposal.notes["bracket"] for proposal in first] == [0] * 9 + [1] * 3


def test_asha_trains_on_what_is_among_the_best_so_far():
    losses = iter([3.0, 2.0, 1.0, 9.0, 0.5, 8.0, 5.0, 0.7, 7.0, 6.0])
    trials = drive(make("asha", sampler="random"), 10, lambda proposal: next(losses))
    assert amounts(trials) == [1, 1, 1, 3, 1, 3, 1, 1, 3, 9]
    resumed = [trial.proposal.resume_from for trial in trials]
    assert resumed == [None, None, None, 2, None, 4, None, None, 7, 8], "of six trials the best two may go on"


def test_failed_trials_count_and_never_go_on():
    strategy = make("halving")
    for proposal in (proposals := strategy.ask(9)):
        strategy.tell(Proposed(proposal))
    for proposal in proposals:
        status = "done" if proposal.id == 4 else "failed"
        strategy.tell(Ended(Trial(proposal, status, {"loss": 1.0})))
    (first, second) = strategy.ask(2)
    assert first.resume_from == 4
    assert second.notes["bracket"] == 1, "there is no other to go on"


@pytest.mark.parametrize("name, lower", [("halving", 26), ("asha", 30)])
def test_a_greater_full_amount_trains_on_what_the_log_holds(name, lower):
    small = make(name, rungs=(1, 3), sampler="random")
    trials = drive(small, lower, of_network)
    large = make(name, rungs=(1, 3, 9), full=27, sampler="random")
    for trial in trials:
        large.tell(Proposed(trial.proposal))
        large.tell(Ended(trial))
    more = drive(large, 60, of_network)
    resumed = [trial.proposal.resume_from for trial in more if trial.proposal.resume_from is not None]
    old = [id for id in resumed if id < lower]
    assert old, "what ran is trained on"
    assert len(set(resumed)) == len(resumed)
    assert 27 in amounts(more)
    if name == "halving":  # the first bracket of the larger one, but for what has run
        first = [trial for trial in (*trials, *more) if trial.proposal.notes["bracket"] == 0]
        assert sorted(amounts(first)) == [1] * 27 + [3] * 9 + [9] * 3 + [27]


def test_the_sampler_sees_networks_as_they_would_be_in_the_end():
    seen = []

    class Spy:
        def __init__(self, inner):
            self.ask, self.tell_inner = inner.ask, inner.tell

        def tell(self, event):
            seen.append(event)
            self.tell_inner(event)

    strategy = make("asha", sampler={"name": "evolution", "population": 4, "tournament": 2})
    inner = strategy._make
    strategy._make = lambda: Spy(inner())
    strategy._made = None
    drive(strategy, 60, lambda proposal: 10 * of_network(proposal) + 1 / proposal.fidelity.amount)
    seen.clear()
    strategy._made = None
    strategy.ask(4)
    ended = [event.trial for event in seen if isinstance(event, Ended)]
    assert [trial.id for trial in ended] == list(range(len(ended)))
    for trial in ended:  # training on takes 1 - 1/3 and 1/3 - 1/9 off each loss
        assert trial.metrics["loss"] == pytest.approx(10 * of_network(trial.proposal) + 1 / 9)
        assert trial.proposal.fidelity == Fidelity(9, "epochs")
    origins = [event.proposal for event in seen if isinstance(event, Proposed) and event.proposal.parents]
    assert origins
    for proposal in origins:
        assert proposal.origin == f"mutation of {proposal.parents[0]}"


def test_parents_are_trials_of_the_campaign():
    strategy = make("asha-eta")
    trials = drive(strategy, 60, of_network)
    children = [trial.proposal for trial in trials if trial.proposal.origin.startswith("mutation")]
    assert len(children) > 10
    for child in children:
        assert child.origin == f"mutation of {child.parents[0]}"
        parent = trials[child.parents[0]].proposal
        assert parent.resume_from is None, "the first trial of its network"
        different = sum(
            a != b for a, b in zip(SPACE.code(parent.genome.text), SPACE.code(child.genome.text), strict=True)
        )
        assert different == 1


def test_of_several_objectives_the_front_goes_on():
    aims = (Objective("loss"), Objective("size"))
    strategy = make("halving", objectives=aims, sampler="nsga2")
    points = [(0, 9), (9, 0), (5, 5), (6, 6), (7, 7), (8, 8), (9, 9), (9, 8), (8, 9)]
    for proposal in (proposals := strategy.ask(9)):
        strategy.tell(Proposed(proposal))
    for proposal, (loss, size) in zip(proposals, points, strict=True):
        strategy.tell(Ended(Trial.done(proposal, {"loss": loss, "size": size})))
    assert {proposal.resume_from for proposal in strategy.ask(3)} == {0, 1, 2}


def test_of_several_objectives_no_trial_may_be_done():
    strategy = make("halving", objectives=(Objective("loss"), Objective("size")))
    for proposal in (proposals := strategy.ask(9)):
        strategy.tell(Proposed(proposal))
    for proposal in proposals:
        strategy.tell(Ended(Trial(proposal, "failed", error="diverged")))
    assert strategy.resumable() == set()
    assert strategy.ask(1)[0].notes["bracket"] == 1


def test_what_may_be_resumed():
    strategy = make("halving")
    trials = drive(strategy, 9, of_network)
    assert strategy.resumable() == set(range(9))
    trials += drive(strategy, 4, of_network)
    strategy.ask(1)
    assert strategy.resumable() == {12}, "the bracket is finished, but what reached the top"
    asha = make("asha", rungs=(1,), full=27, sampler="random")
    trials = drive(asha, 54, of_network)
    below = sorted((t for t in trials if t.proposal.fidelity.amount == 1), key=lambda t: t.metrics["loss"])
    resumed = {trial.proposal.resume_from for trial in trials}
    assert {t.id for t in below[:8]} - resumed <= asha.resumable()
    assert not asha.resumable() & {t.id for t in below[8:]}, "far from going on"


@pytest.mark.parametrize(
    "name, rungs, full", [("asha", (10, 25), 60), ("asha", (12,), 200), ("hyperband", (1, 3), 9)]
)
def test_what_goes_on_was_resumable_from_its_end_on(name, rungs, full):
    """What is not resumable at some time loses its checkpoint: nearly all that goes on has kept its own."""
    lost = promoted = 0
    for seed in range(10):
        strategy = make(name, rungs=rungs, full=full, seed=seed, sampler="random")
        kept = set()
        for _ in range(150):
            (proposal,) = strategy.ask(1)
            strategy.tell(Proposed(proposal))
            if proposal.resume_from is not None:
                promoted += 1
                lost += proposal.resume_from not in kept
            strategy.tell(Ended(Trial.done(proposal, {"loss": of_network(proposal)})))
            kept = (kept | {proposal.id}) & strategy.resumable()
    assert promoted > 50
    assert lost <= 0.02 * promoted


@pytest.mark.parametrize("name", ["halving", "hyperband", "asha"])
def test_a_small_space_is_trained_in_full_in_the_end(name):
    """Once all its networks were drawn, the best of the highest rung go on that the schedule would leave."""
    space = spaces.ProductSpace("five", {"x": spaces.choice(*range(5))}, spaces.vector(1))

    def loss(proposal):
        return float(proposal.genome.text[-2])

    strategy = make(name, space=space)
    trials = drive(strategy, 10, loss)
    while len(trials) < 15:
        (proposal,) = strategy.ask(1)
        strategy.tell(Proposed(proposal))
        assert strategy.ask(1) == [], "it runs, and could be trained on"
        trials.append(Trial.done(proposal, {"loss": loss(proposal)}))
        strategy.tell(Ended(trials[-1]))
    with pytest.raises(Finished, match="has no more networks, and all are trained in full"):
        strategy.ask(1)
    longest = {}
    for trial in trials:
        longest[trial.proposal.genome.text] = trial.proposal.fidelity.amount
    assert longest == {f"five(x={x})": 9 for x in range(5)}
    by_loss = [(trial.proposal.genome.text[-2], trial.proposal.fidelity.amount) for trial in trials]
    assert by_loss[-4:] == [("3", 3), ("3", 9), ("4", 3), ("4", 9)]
    new = functools.partial(make, name, space=space)
    events = log_of(new(), 12, 2, np.random.default_rng(0))
    check_cuts(new, events, range(12))


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("asha", {"rungs": ()}, "say after how much, as in 'budget.rungs' = [1, 3]"),
        (
            "asha",
            {"rungs": (), "full": 1},
            "but they are trained for 1 in full: say for how long in 'budget.steps'",
        ),
        ("asha", {"rungs": (1,), "full": 1}, "but they are trained for 1 in full"),
        ("halving", {"rungs": (3, 3)}, "'budget.rungs' is [3, 3], but must be amounts that ascend"),
        ("halving", {"rungs": (1, 9)}, "stay below 9"),
        ("halving", {"eta": 1.0}, "'strategy.eta' must be a number > 1, got 1.0"),
        (
            "evolution",
            {"rungs": (1, 3)},
            "knows nothing of 'budget.rungs' = [1, 3]: leave them out, or take one of asha",
        ),
        ("halving", {"sampler": "evolutoin"}, "unknown sampler 'evolutoin', did you mean 'evolution'?"),
        (
            "halving",
            {"sampler": {"name": "evolution", "populaton": 3}},
            "did you mean 'strategy.sampler.population'?",
        ),
        (
            "halving",
            {"sampler": "asha"},
            "'strategy.sampler' must be a strategy that says which networks 'halving'",
        ),
        ("halving", {"sampler": "pyglove"}, "'strategy.sampler' is {'name': 'pyglove', "),
        (
            "halving",
            {"sampler": "gradient"},
            "'strategy.sampler' must be a strategy that says which networks",
        ),
        ("halving", {"sampler": {"population": 3}}, "'strategy.sampler' must be a strategy that says"),
        (
            "halving",
            {"sampler": {"name": "evolution", "population": -4}},
            "'strategy.sampler.population' must be an integer >= 2, got -4",
        ),
    ],
)
def test_errors(name, options, message):
    with pytest.raises(InvalidInput) as error:
        make(name, **options)
    assert message in str(error.value)


def test_options_hold_those_of_the_sampler():
    found = nas.search.options("asha", {"sampler": "evolution"})
    assert found["sampler"]["population"] == 20
    assert nas.search.options("asha", found) == found
