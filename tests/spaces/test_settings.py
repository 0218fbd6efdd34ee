"""Spaces of choices and ranges without a network."""

import numpy as np
import pytest

import nas
from spaces import InvalidGenome, InvalidSpace, ProductSpace, SettingsSpace, choice, real, settings

SPACE = settings(
    alpha=real(1e-4, 1.0, log=True), degree=choice(1, 2, 3, ordered=True), kind=choice("a", None)
)


def test_choices_alone_are_a_product():
    space = settings(degree=choice(1, 2, 3))
    assert isinstance(space, ProductSpace)
    assert space.size == 3
    assert isinstance(SPACE, SettingsSpace)
    assert SPACE.size is None


def test_genomes_are_values():
    genome = SPACE.genome(degree=np.int64(2), alpha=0.5, kind=None)
    assert list(SPACE.values(genome).items()) == [("alpha", 0.5), ("degree", 2), ("kind", None)]
    assert SPACE.parse(genome.text) == genome
    for wrong in ({"alpha": 2.0, "degree": 2, "kind": None}, {"alpha": 0.5, "degree": 2}):
        with pytest.raises(InvalidGenome):
            SPACE.genome(**wrong)


def test_a_child_has_each_field_of_either_parent():
    rng = np.random.default_rng(0)
    a, b = SPACE.genome(alpha=0.1, degree=1, kind="a"), SPACE.genome(alpha=0.2, degree=2, kind=None)
    children = [SPACE.crossover(a, b, rng) for _ in range(100)]
    seen = {tuple(SPACE.values(child).values()) for child in children if child is not None}
    assert len(seen) == 7
    assert tuple(SPACE.values(a).values()) not in seen
    assert seen < {(x, y, z) for x in (0.1, 0.2) for y in (1, 2) for z in ("a", None)}


@pytest.mark.parametrize("fields", [{}, {"x": 3}])
def test_fields_that_are_none(fields):
    with pytest.raises(InvalidSpace):
        settings(**fields)


@pytest.mark.parametrize("strategy", ["tree", "evolution"])
def test_strategies_find_the_best(strategy):
    found = nas.search.load(strategy, space=SPACE, objectives=[nas.Objective("loss", "min")], seed=0)
    losses = []
    for _ in range(40):
        (proposal,) = found.ask(1)
        values = SPACE.values(proposal.genome)
        loss = np.log10(values["alpha"] / 0.02) ** 2 + (values["degree"] - 2) ** 2 + (values["kind"] == "a")
        found.tell(nas.Proposed(proposal))
        found.tell(nas.Ended(nas.Trial.done(proposal, {"loss": float(loss)})))
        losses.append(loss)
    assert min(losses) < 0.3
