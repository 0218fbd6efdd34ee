import pickle
from collections import Counter
from unittest.mock import Mock

import numpy as np
import pytest
from scipy.stats import chisquare

import nas.search
import spaces
from nas.search.decision_tree import DecisionTree, Made
from nas.search.testing import strategy_checks
from nas.search.tree_search import TRUST, _drawn
from nas.types import Finished, InvalidInput, Objective, Trial
from spaces.decisions import Decision
from tests.nas.search import sequential

GRID = spaces.load("mlp")
HYBRID = spaces.load("hybrid", spaces.tokens(256, 64), parameters=500_000)
SPACES = {
    "product": spaces.load("nasbench201"),
    "grammar": HYBRID,
    "flow": spaces.load("einspace", spaces.image(3, 8, 8, classes=4), nodes=30),
}


def tree(space, seed=0, **options):
    return nas.search.load("tree", space=space, objectives=[Objective("loss")], seed=seed, **options)


def run(strategy, trials, loss):
    def outcome(proposal):
        return Trial.done(proposal, {"loss": loss(proposal.genome)})

    return [trial.metrics["loss"] for trial in sequential.run(strategy, trials, outcome)]


@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_conformance(check, space):
    check(lambda space, objectives, seed: tree(space, seed, initial=5), space)


@pytest.mark.slow
@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
def test_conformance_with_a_surrogate(check):
    check(
        lambda space, objectives, seed: tree(space, seed, surrogate="gaussian", leaves=32), spaces.load("mlp")
    )


def attention(genome):
    """How much of a network is not attention."""
    operators = HYBRID.graph(genome).operators
    return 1 - sum(name.startswith("attention") for name in operators) / len(operators)


@pytest.mark.parametrize(
    "surrogate", [None, pytest.param("gaussian", marks=pytest.mark.slow)], ids=["alone", "surrogate"]
)
def test_it_learns_which_beginnings_are_good(surrogate):
    rng = np.random.default_rng(0)
    drawn = np.mean([attention(HYBRID.sample(rng)) for _ in range(200)])
    losses = run(tree(HYBRID, initial=5, surrogate=surrogate, leaves=32), 60, attention)
    assert np.mean(losses[-20:]) < drawn - 0.1


def test_the_tree_counts_every_trial_on_its_way():
    made = [[Made(what, option, option) for what, option in zip("ab", way, strict=False)] for way in WAYS]
    tree = DecisionTree()
    for way in made:
        tree.add(way)
    root = tree.valued(np.array([1.0, 2 / 3, 0.0, 0.5]))
    assert (root.visits, root.merit) == (4, pytest.approx(2 + 1 / 6))
    assert [(place, child.visits, child.merit) for place, child in root.children.items()] == [
        (1, 3, pytest.approx(2 + 1 / 6)),
        (0, 1, 0.0),
    ]
    assert [(node.visits, node.merit) for node in root.way(made[1])[1:]] == [
        (3, pytest.approx(2 + 1 / 6)),
        (2, pytest.approx(1 + 1 / 6)),
    ]
    assert root.way([Made("a", 2, 2)])[1].mean == 0.5, "nothing is known of it"
    assert 2 not in tree.valued(np.zeros(4)).children, "what an ask looks at is not kept"


WAYS = [(1, 0), (1, 2), (0, 0), (1, 2)]


def test_options_are_counted_in_the_order_in_which_the_best_took_them():
    tree = DecisionTree()
    for way in WAYS:
        tree.add([Made(what, option, option) for what, option in zip("ab", way, strict=True)])
    options = tree.options([2, 3, 1])
    assert {what: [*counts.items()] for what, counts in options.items()} == {
        "a": [(0, 1), (1, 2)],
        "b": [(0, 1), (2, 2)],
    }
    assert tree.options([]) == {}


def test_a_trial_is_followed_once(monkeypatch):
    strategy = tree(GRID, initial=5)
    followed = Mock(wraps=GRID.decisions)
    monkeypatch.setattr(GRID, "decisions", followed, raising=False)
    run(strategy, 30, lambda genome: len(genome.text))
    strategy.ask(3)
    strategy.ask(3)
    assert followed.call_count <= 30 + 2, "all trials, and what was asked for and not told"


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_pickled_it_proposes_the_same(space):
    strategy = tree(space, initial=5)
    run(strategy, 20, lambda genome: int(genome.digest[:8], 16))
    (expected,) = strategy.ask(1)
    copy = pickle.loads(pickle.dumps(strategy))
    (proposal,) = copy.ask(1)
    assert (proposal.genome.text, proposal.origin) == (expected.genome.text, "tree")
    run(copy, 3, lambda genome: 1.0)


def test_the_prior_mixes_the_law_of_the_grammar_with_what_was_taken():
    decision = Decision("which", ("a", "b", "c"), (0, 1, 2, 4))
    taken = Counter({"a": 3, "gone": 9})
    rng = np.random.default_rng(0)
    drawn = Counter(_drawn(decision, taken, rng) for _ in range(4000))
    shares = (TRUST * np.array([0.25, 0.25, 0.5]) + [3, 0, 0]) / (TRUST + 3)
    assert chisquare([drawn[place] for place in range(3)], 4000 * shares).pvalue > 1e-3


def test_it_ends_where_the_space_does():
    space = spaces.ProductSpace("six", {"a": spaces.choice(1, 2, 3), "b": spaces.choice(1, 2)}, GRID.io)
    strategy = tree(space, initial=5)
    run(strategy, 6, lambda genome: len(genome.text))
    with pytest.raises(Finished):
        strategy.ask(1)


def test_spaces_without_decisions_are_refused():
    with pytest.raises(
        InvalidInput, match=r"'tree' searches spaces whose genomes are derived by .* a NASBenchNLP"
    ):
        tree(spaces.load("nasbench_nlp"))
