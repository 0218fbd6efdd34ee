"""The rows of a table that lists genomes, as a space that strategies search."""

import numpy as np
import pytest
from test_listed_tables import LISTED, listed  # noqa: F401 (a fixture)

import nas.compare
import spaces
from benchmarks import InvalidTable, Table
from nas.types import InvalidInput
from spaces.testing import space_checks


@pytest.mark.parametrize("check", space_checks, ids=lambda check: check.__name__)
def test_conformance_of_a_pool(check, listed):  # noqa: F811
    check(listed.candidates)


def test_mutations_are_among_the_nearest_rows(listed):  # noqa: F811
    pool, rng = listed.candidates, np.random.default_rng(0)
    genome = pool.unrank(7)
    near = {each.row for each in listed.nearest(7, 9)} - {7}
    assert {pool.rank(pool.mutate(genome, rng)) for _ in range(200)} == near


def test_a_crossing_is_the_row_nearest_to_one_around(listed):  # noqa: F811
    pool = listed.candidates
    a, b = pool.unrank(3), pool.unrank(11)
    for seed in range(20):
        around = listed.space.crossover(a, b, np.random.default_rng(seed))
        child = pool.crossover(a, b, np.random.default_rng(seed))
        distances = listed.distances(around)
        distances[[3, 11]] = 1 << 30
        assert child.digest not in (a.digest, b.digest)
        assert pool.rank(child) == distances.argmin()


def test_a_pool_is_of_its_rows_and_its_input(listed):  # noqa: F811
    pool = listed.candidates
    stranger = listed.space.sample(np.random.default_rng(99))
    with pytest.raises(spaces.InvalidGenome, match="has no row of the genome"):
        pool.parse(stranger.text)
    with pytest.raises(InvalidTable, match=r"was measured at .*, not"):
        pool.at(spaces.tokens(64, 64))
    with pytest.raises(spaces.InvalidSpace, match="30 genomes, so 31 different ones"):
        pool.sample_uniform(np.random.default_rng(0), 31)


def test_networks_that_stand_in_several_rows_are_no_neighbours(tmp_path):
    texts = ["stack(layers=[residual(body=swiglu(mult=1))], repeat=2)"]
    texts += ["stack(layers=[residual(body=swiglu(mult=1)), residual(body=swiglu(mult=1))], repeat=1)"]
    Table.write(tmp_path / "twice.arrow", LISTED, {"loss": np.array([1.0, 2.0])}, texts)
    pool = Table(tmp_path / "twice.arrow").candidates
    with pytest.raises(spaces.NoNeighbour):
        pool.mutate(pool.unrank(0), np.random.default_rng(0))


def test_strategies_find_the_best_of_a_list_and_peers_are_refused(listed):  # noqa: F811
    rows = nas.compare.compare(
        [str(listed.path)], ["random", "evolution", "bayesian"], evaluations=30, seeds=1, processes=1
    )
    regret = np.array(rows["regret"]).reshape(3, 30)
    assert (regret[:, -1] == 0).all()
    assert all(len(set(rows["text"].to_pylist()[i : i + 30])) == 30 for i in (0, 30, 60))
    with pytest.raises(InvalidInput, match="lists 30 genomes"):
        nas.compare.compare([str(listed.path)], ["optuna-tpe"], evaluations=5, seeds=1, processes=1)
