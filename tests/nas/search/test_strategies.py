import dataclasses

import pytest

import nas.search
import spaces
from nas.search.testing import strategy_checks
from nas.types import Ended, Fidelity, Finished, InvalidInput, Objective, Proposed, Trial

SPACE = spaces.load("hybrid", spaces.tokens(256, 64), parameters=500_000)
STRATEGIES = {
    "random": {},
    "evolution": {"population": 8, "tournament": 3},
    "evolution-crossed": {"population": 8, "tournament": 3, "crossover": 0.5},
    "evolution-composed": {
        "population": 6,
        "tournament": 3,
        "survival": "best",
        "crossover": 0.3,
        "mutation": 0.5,
        "adapt": True,
        "restart": 8,
    },
    "evolution-named": {"population": 8, "tournament": 3, "named": ["transformer++", "mamba-2"]},
}


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
def test_conformance(check, name):
    def make(space, objectives, seed):
        return nas.search.load(
            name.partition("-")[0], space=space, objectives=objectives, seed=seed, **STRATEGIES[name]
        )

    check(make, SPACE)


def strategy(name="evolution", space=SPACE, objectives=(Objective("loss"),), **options):
    return nas.search.load(name, space=space, objectives=objectives, **options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "evolutoin"}, "unknown strategy 'evolutoin', did you mean 'evolution'?"),
        ({"populaton": 3}, "unknown key 'strategy.populaton', did you mean 'strategy.population'?"),
        ({"population": 1}, "'strategy.population' must be an integer >= 2, got 1"),
        ({"population": 4, "tournament": 5}, "strategy.tournament = 5, but a population of 4"),
        (
            {"objectives": (Objective("a"), Objective("b"))},
            "strategy 'evolution' follows exactly one objective without a bound, but objectives has 2: a, b; give all",
        ),
        ({"objectives": (Objective("a", bound=1.0),)}, "but objectives has 0: none; leave one without"),
        ({"name": "auto", "objectives": (Objective("a", bound=1.0),)}, "all objectives have a bound (a)"),
        ({"objectives": ["loss"]}, "an objective is 'loss', but must be a nas.Objective"),
        (
            {"name": "asha", "rungs": [1], "fidelity": Fidelity(3), "sampler": "halvin"},
            "unknown sampler 'halvin'; allowed: random, evolution, bayesian",
        ),
        (
            {"name": "nsga2", "objectives": [Objective("a")] * 2},
            "Objective(metric='a', direction=None, bound=None) is given twice",
        ),
        ({"objectives": []}, "there are no objectives, but a strategy needs one"),
        ({"name": None}, "a strategy is asked for by its name, a string, not by None"),
        ({"space": "mlp"}, "space is 'mlp', but must be a space, as `spaces.load` gives"),
        ({"seed": -1}, "seed is -1, but must be a whole number of at least 0"),
        ({"seed": 1.5}, "seed is 1.5, but must be a whole number of at least 0"),
        ({"trials": 0}, "trials is 0, but must be a whole number of at least 1"),
        ({"fidelity": 3}, "fidelity is 3, but must be a nas.Fidelity"),
        ({"name": "bayesian", "initial": 10**9}, "'strategy.initial' must be an integer >= 2 and <= 10000"),
    ],
)
def test_errors(options, message):
    with pytest.raises(InvalidInput) as error:
        strategy(**options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "fields, message",
    [
        ((None,), "the metric of an objective is None, but must be its name"),
        (("acc", "maximize"), "objective 'acc' has the direction 'maximize', but it must be 'min' or 'max'"),
        (("acc", "max", float("nan")), "objective 'acc' has the bound nan, but it must be a finite number"),
        (("acc", "max", "5"), "objective 'acc' has the bound '5', but it must be a finite number"),
    ],
)
def test_wrong_objectives(fields, message):
    with pytest.raises(InvalidInput) as error:
        Objective(*fields)
    assert message in str(error.value)


def test_a_trial_ends_once_after_it_was_proposed():
    search = strategy("random")
    (proposal,) = search.ask(1)
    ended = Ended(Trial.done(proposal, {"loss": 1.0}))
    refused = pytest.raises(
        InvalidInput, match="told that trial 0 has ended, but of those proposed it does not run"
    )
    with refused:
        search.tell(ended)
    search.tell(Proposed(proposal))
    search.tell(ended)
    with refused:
        search.tell(ended)
    assert len(search.ended) == 1


def tell_done(evolution, loss, genome=None):
    """The next proposal of a strategy, or one of another genome in its place, done with a loss."""
    (proposal,) = evolution.ask(1)
    proposal = proposal if genome is None else dataclasses.replace(proposal, genome=genome)
    evolution.tell(Proposed(proposal))
    evolution.tell(Ended(Trial.done(proposal, {"loss": loss})))
    return proposal


def test_the_oldest_die_however_good_they_are():
    evolution = strategy(population=3, tournament=3)
    best = tell_done(evolution, 0.0)
    for loss in (3.0, 2.0):
        tell_done(evolution, loss)
    assert evolution.ask(1)[0].parents == (best.id,)
    tell_done(evolution, 4.0)  # the fourth trial pushes the first, the best, out of the population
    assert evolution.ask(1)[0].parents == (2,)


def test_a_child_is_one_mutation_of_the_best_of_its_tournament():
    evolution = strategy(population=4, tournament=4)
    for loss in (3.0, 1.0, 2.0, 5.0):
        tell_done(evolution, loss)
    (child,) = evolution.ask(1)
    assert child.parents == (1,)
    assert child.origin == "mutation of 1"


def test_the_worst_die_where_the_best_survive():
    evolution = strategy(population=3, tournament=3, survival="best")
    best = tell_done(evolution, 0.0)
    for loss in (3.0, 2.0, 4.0, 1.0, 5.0):
        tell_done(evolution, loss)
    assert evolution.ask(1)[0].parents == (best.id,)
    assert [trial.metrics["loss"] for trial in evolution.living] == [0.0, 2.0, 1.0]


def test_a_population_without_progress_makes_room_for_another():
    evolution = strategy(population=3, tournament=2, restart=3)
    for loss in (1.0, 2.0, 0.5, 0.5, 3.0):
        tell_done(evolution, loss)
    assert len(evolution.living) == 3
    tell_done(evolution, 4.0)  # the third in a row that is no better than the best
    assert evolution.living == []
    assert [tell_done(evolution, loss).origin for loss in (9.0, 9.5, 9.9, 9.9)] == ["random"] * 3 + [
        "mutation of 6"
    ]


def test_a_first_population_is_filled_before_another_begins():
    evolution = strategy(population=4, tournament=2, restart=2)
    told = [
        tell_done(evolution, loss).origin for loss in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 9.0, 9.0)
    ]
    assert [origin == "random" for origin in told] == [True] * 4 + [False] * 2 + [True] * 4 + [False]


def test_what_ran_when_a_population_died_is_not_of_the_next():
    evolution = strategy(population=2, tournament=2, restart=1)
    for loss in (1.0, 2.0):
        tell_done(evolution, loss)
    late, last = evolution.ask(2)
    for proposal in (late, last):
        evolution.tell(Proposed(proposal))
    evolution.tell(Ended(Trial.done(last, {"loss": 3.0})))
    assert evolution.living == []
    evolution.tell(Ended(Trial.done(late, {"loss": 0.0})))
    assert evolution.living == []
    first = [tell_done(evolution, loss).id for loss in (5.0, 4.0)]
    assert evolution.ask(1)[0].parents == (first[1],)


def test_mutations_that_do_good_are_drawn_more_often():
    large = spaces.load("star", spaces.tokens(256, 64))  # whose networks have many neighbours of each kind
    evolution = strategy(space=large, population=8, tournament=8, survival="best", adapt=True)
    for _ in range(80):
        (proposal,) = evolution.ask(1)
        evolution.tell(Proposed(proposal))
        good = proposal.origin.startswith("change")
        evolution.tell(Ended(Trial.done(proposal, {"loss": -float(proposal.id) if good else 0.0})))
    weights = evolution.variation.weights
    assert set(weights) == set(large.mutations)
    assert weights["change"] > 2 * max(weight for name, weight in weights.items() if name != "change")
    origins = [proposal.origin.partition(" of ")[0] for proposal in evolution.proposals]
    assert origins[50:].count("change") > 15


def test_some_crossed_children_are_mutated_too():
    def child(seed, mutation):
        evolution = strategy(population=4, tournament=2, crossover=1.0, mutation=mutation, seed=seed)
        for loss in (1.0, 2.0, 3.0, 4.0):
            tell_done(evolution, loss)
        return evolution.ask(1)[0]

    pairs = [(child(seed, 0.0), child(seed, 1.0)) for seed in range(10)]
    crossed = [(plain, mutated) for plain, mutated in pairs if len(plain.parents) == 2]
    assert len(crossed) > 3  # others have nothing to exchange
    for plain, mutated in crossed:
        assert mutated.parents == plain.parents
        assert mutated.genome != plain.genome


def test_failed_trials_are_no_parents():
    evolution = strategy(population=2, tournament=2)
    tell_done(evolution, 1.0)
    (proposal,) = evolution.ask(1)
    evolution.tell(Proposed(proposal))
    evolution.tell(Ended(Trial(proposal, "failed", {"loss": 0.0}, error="diverged")))
    assert evolution.ask(1)[0].parents == (0,)


def test_constraints_come_first():
    objectives = (Objective("loss"), Objective("parameters", bound=100.0))
    evolution = strategy(objectives=objectives, population=2, tournament=2)
    for loss, parameters in ((1.0, 200.0), (2.0, 50.0)):
        (proposal,) = evolution.ask(1)
        evolution.tell(Proposed(proposal))
        evolution.tell(Ended(Trial.done(proposal, {"loss": loss, "parameters": parameters})))
    assert evolution.ask(1)[0].parents == (1,)


def test_a_genome_may_stand_first_by_its_text():
    text = SPACE.architecture("mamba-2").text
    evolution = strategy(population=3, tournament=2, named=[text, "transformer++"])
    assert [(each.origin, each.genome.text == text) for each in evolution.ask(2)] == [
        ("given", True),
        ("transformer++", False),
    ]


@pytest.mark.parametrize(
    "name, options",
    [("evolution", {"population": 3, "tournament": 2}), ("random", {}), ("tree", {}), ("nsga2", {})],
)
def test_named_architectures_stand_first(name, options):
    origins = [each.origin for each in strategy(name, named=["mamba-2", "transformer++"], **options).ask(3)]
    assert origins == ["mamba-2", "transformer++", "random"]


def test_random_search_ends_where_the_space_does():
    grammar = spaces.Grammar("four", start="model")

    @grammar.production("model")
    def swiglu(mult=spaces.choice(1, 2, 3, 4)): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens(16, 8))
    search = nas.search.load("random", space=space, objectives=[Objective("loss")])
    for _ in range(4):
        tell_done(search, 1.0)
    with pytest.raises(Finished):
        search.ask(1)


@pytest.mark.parametrize(
    "metrics, message",
    [
        (
            {"parameters": 10},
            "trial 0 was told as done, but without the metric 'loss', only with 'parameters'; tell it as \"failed\"",
        ),
        ({"loss": 1.0}, "without the metric 'parameters', only with 'loss'"),
        ({"loss": float("nan"), "parameters": 1}, "with the metric 'loss' = nan, which is no finite number"),
        ({"loss": "0.5", "parameters": 1}, "with the metric 'loss' = '0.5', which is no finite number"),
    ],
)
def test_done_trials_have_what_objectives_speak_of(metrics, message):
    objectives = (Objective("loss"), Objective("parameters", bound=100.0))
    for name, options in (("random", {}), ("asha", {"rungs": [1], "fidelity": Fidelity(3)})):
        each = strategy(name, objectives=objectives, **options)
        (proposal,) = each.ask(1)
        each.tell(Proposed(proposal))
        with pytest.raises(InvalidInput) as error:
            each.tell(Ended(Trial.done(proposal, metrics)))
        assert message in str(error.value)
        each.tell(Ended(Trial(proposal, "failed", metrics)))
