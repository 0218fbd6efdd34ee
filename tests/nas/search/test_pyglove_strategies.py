import math

import pyglove as pg
import pytest

import nas.search
import spaces
from nas.search.pyglove import ALGORITHMS, Searcher
from nas.search.testing import outcome, strategy_checks
from nas.types import Ended, Finished, InvalidInput, Objective, Proposed, Trial
from spaces import symbolic
from tests.nas.search import sequential

CELLS = spaces.load("nasbench201")
HYBRID = spaces.load("hybrid", spaces.tokens(64, 32), parameters=300_000)
PROGRAM = symbolic.space(
    pg.Dict(op=pg.oneof([pg.Dict(rate=pg.floatv(0.0, 1.0)), "pool"]), two=pg.manyof(2, range(8)))
)
SMALL = symbolic.space(pg.Dict(x=pg.oneof(range(3)), y=pg.oneof(range(2))))


def strategy(space=CELLS, seed=0, objectives=(Objective("loss"),), **options):
    return nas.search.load("pyglove", space=space, objectives=objectives, seed=seed, **options)


def small_evolution(seed):
    mutator = pg.evolution.mutators.Uniform(seed=seed)
    return pg.evolution.regularized_evolution(mutator, population_size=8, tournament_size=4, seed=seed)


@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
@pytest.mark.parametrize("space", [CELLS, PROGRAM], ids=["cells", "program"])
def test_conformance(check, space):
    here = f"{__name__}:small_evolution"
    check(lambda space, objectives, seed: strategy(space, seed, objectives, algorithm=here), space)


@pytest.mark.slow
@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "sweeping"])
def test_conformance_of_all(check, algorithm):
    check(lambda space, objectives, seed: strategy(space, seed, objectives, algorithm=algorithm), HYBRID)


def test_what_was_asked_for_in_vain_leaves_no_trace():
    """The algorithm is asked for more than the log shows, and results come between."""
    greedy, modest = (strategy(algorithm=f"{__name__}:small_evolution") for _ in range(2))
    for _ in range(20):
        greedy.ask(5)
        (proposal,) = greedy.ask(1)
        assert modest.ask(1) == [proposal]
        for one in (greedy, modest):
            one.tell(Proposed(proposal))
            one.tell(Ended(outcome(proposal)))


def test_a_repeated_network_counts_for_the_algorithm_and_is_not_trained_again():
    told = []

    class Told(pg.geno.Random):
        def _feedback(self, dna, reward):
            told.append((dna.to_json_str(), reward))

    def losses(proposal):
        return {"loss": float(SMALL.rank(proposal.genome))}

    one = strategy(SMALL, algorithm=f"{__name__}:small_evolution")
    one._make = lambda seed: Told(seed=seed)
    for _ in range(SMALL.size):
        (proposal,) = one.ask(1)
        one.tell(Proposed(proposal))
        one.tell(Ended(Trial.done(proposal, losses(proposal))))
    with pytest.raises(Finished, match="repeated networks that were proposed 100 times in a row"):
        one.ask(1)
    assert len(told) > 6
    assert len({text for text, _ in told}) == 6
    assert {reward for _, reward in told} == {-float(rank) for rank in range(6)}


def test_sweeping_ends():
    one = strategy(SMALL, algorithm="sweeping")
    proposals = one.ask(10)
    assert sorted(SMALL.rank(p.genome) for p in proposals) == list(range(6))


def test_an_algorithm_that_does_not_follow_from_its_seed_is_told_of():
    one = strategy(algorithm=f"{__name__}:small_evolution")
    (other,) = strategy(seed=1, algorithm=f"{__name__}:small_evolution").ask(1)
    one.tell(Proposed(other))
    with pytest.raises(InvalidInput, match=r"proposal 0 of the log is .*must follow from its seed alone"):
        one.ask(1)


def test_wrong_algorithms():
    with pytest.raises(InvalidInput, match=r"unknown algorithm 'hill_climbing', did you mean 'hill_climb'"):
        strategy(algorithm="hill_climbing")
    with pytest.raises(InvalidInput, match=r"gives no pg\.DNAGenerator for a seed"):
        strategy(algorithm="builtins:str")
    with pytest.raises(
        InvalidInput, match=r"'sweeping', which cannot propose of space 'settings': .* no ranks"
    ):
        strategy(spaces.settings(lr=spaces.real(0.1, 1.0)), algorithm="sweeping")
    with pytest.raises(InvalidInput, match="follows exactly one objective"):
        strategy(objectives=(Objective("loss"), Objective("size")))


@pytest.mark.parametrize("algorithm", ["neat", "regularized_evolution", "hill_climb"])
def test_algorithms_go_on_after_failed_trials(algorithm):
    search = strategy(algorithm=algorithm)
    for k in range(130):  # infinite rewards ended "neat" between the 70th and the 90th trial
        try:
            (proposal,) = search.ask(1)
        except Finished:
            break
        search.tell(Proposed(proposal))
        done = Trial.done(proposal, {"loss": int(proposal.genome.digest[:8], 16) / 2**32})
        search.tell(Ended(done if k % 8 else Trial(proposal, "failed", error="made up")))
    assert len(search.ended) > 20


def small_nsga2(seed):
    mutator = pg.evolution.mutators.Uniform(seed=seed)
    return pg.evolution.nsga2(mutator, population_size=8, seed=seed)


def test_several_objectives_are_a_tuple_of_rewards():
    def values(proposal):
        x = CELLS.values(proposal.genome)
        ones = sum(value == "nor_conv_1x1" for value in x.values())
        return {"loss": -float(ones), "size": float(ones and sum(v != "none" for v in x.values()))}

    def new():
        objectives = (Objective("loss"), Objective("size", "max"), Objective("size", bound=6))
        return strategy(objectives=objectives, algorithm=f"{__name__}:small_nsga2")

    one = new()
    trials = sequential.run(
        one,
        120,
        lambda proposal: (
            Trial(proposal, "failed", error="made to fail")
            if proposal.id % 7 == 6
            else Trial.done(proposal, values(proposal))
        ),
    )
    losses = [trial.metrics.get("loss", 0.0) for trial in trials]
    assert sum(losses[-40:]) < 2 * sum(losses[:40]), "more of what is asked for"
    again = new()
    for trial in trials[:60]:
        again.tell(Proposed(trial.proposal))
        again.tell(Ended(trial))
    assert again.ask(1) == [trials[60].proposal]


@pytest.mark.parametrize("space", [CELLS, PROGRAM, HYBRID], ids=["cells", "program", "hybrid"])
def test_strategies_drive_pyglove(space):
    found = []
    searcher = Searcher("evolution", space, seed=3, options={"population": 5, "tournament": 2})
    for _, feedback in pg.sample(symbolic.hyper(space), searcher, num_examples=15):
        genome = symbolic.genome(space, feedback.dna)
        found.append(genome)
        feedback(-float(int(genome.digest[:6], 16)))
    ours = nas.search.load(
        "evolution", space=space, objectives=[Objective("reward", "max")], seed=3, population=5, tournament=2
    )
    for genome in found:
        (proposal,) = ours.ask(1)
        assert proposal.genome == genome
        ours.tell(Proposed(proposal))
        ours.tell(Ended(Trial.done(proposal, {"reward": -float(int(genome.digest[:6], 16))})))


def test_a_searcher_recovers_from_a_history():
    def make():
        searcher = Searcher("evolution", CELLS, options={"population": 4, "tournament": 2})
        searcher.setup(pg.dna_spec(symbolic.hyper(CELLS)))
        return searcher

    searcher, history = make(), []
    for k in range(12):
        dna = searcher.propose()
        reward = None if k % 5 == 4 else float(k % 3)
        history.append((dna, reward))
        if reward is not None:
            searcher.feedback(dna, reward)
    again = make()
    again.recover(history)
    assert [again.propose() for _ in range(5)] == [searcher.propose() for _ in range(5)]


def test_a_searcher_follows_several_metrics():
    searcher = Searcher("nsga2", CELLS, metrics=["accuracy", "speed"], options={"population": 4})
    for example, feedback in pg.sample(
        symbolic.hyper(CELLS), searcher, num_examples=12, metrics_to_optimize=["accuracy", "speed"]
    ):
        ones = sum(value == "nor_conv_1x1" for value in example.values())
        feedback(metrics={"accuracy": ones, "speed": -ones})
    assert {tuple(trial.metrics) for trial in searcher._strategy.ended} == {("accuracy", "speed")}
    assert any(trial.proposal.parents for trial in searcher._strategy.ended)


def test_a_searcher_leaves_the_length_of_trials_alone():
    with pytest.raises(
        InvalidInput, match=r"'asha' decides for how long .*pg\.sample's early_stopping_policy"
    ):
        next(iter(pg.sample(symbolic.hyper(CELLS), Searcher("asha", CELLS))))


def test_a_searcher_of_another_space_is_refused():
    with pytest.raises(InvalidInput, match="what is sampled has other decisions than space 'nasbench201'"):
        next(iter(pg.sample(pg.Dict(x=pg.oneof([1, 2])), Searcher("random", CELLS))))


@pytest.mark.parametrize("reward", [math.nan, -math.inf])
def test_a_reward_that_is_no_finite_number_is_a_failed_trial(reward):
    searcher = Searcher("evolution", CELLS, options={"population": 4, "tournament": 2})
    searcher.setup(pg.dna_spec(symbolic.hyper(CELLS)))
    searcher.feedback(searcher.propose(), reward)
    (trial,) = searcher._strategy.ended
    assert (trial.status, trial.error) == ("failed", f"a reward of {reward}")
