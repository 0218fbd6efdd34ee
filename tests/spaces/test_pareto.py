import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spaces.pareto import contributions, crowding, fronts, hypervolume, lowest, undominated

NUMBERS = st.integers(0, 6)


@st.composite
def points(draw, most=9):
    number = draw(st.integers(1, 4))
    rows = draw(st.lists(st.tuples(*[NUMBERS] * number), min_size=1, max_size=most))
    return np.array(rows, dtype=float)


def dominates(a, b):
    return all(a <= b) and any(a < b)


def cells(losses, top=7):
    """Twin of the hypervolume: unit cells of the grid that some point is at or below, counted one by one."""
    corners = np.stack(np.meshgrid(*[np.arange(top)] * losses.shape[1], indexing="ij"), axis=-1)
    corners = corners.reshape(-1, losses.shape[1])
    return (losses[:, None] <= corners).all(axis=-1).any(axis=0).sum()


@settings(max_examples=60)
@given(points())
def test_hypervolume_counts_cells(losses):
    assert hypervolume(losses, [7] * losses.shape[1]) == cells(losses)


@settings(max_examples=40)
@given(points())
def test_a_cell_that_no_point_dominates_is_in_one_box(losses):
    lower, upper = undominated(losses, [7] * losses.shape[1])
    corners = np.stack(np.meshgrid(*[np.arange(7)] * losses.shape[1], indexing="ij"), axis=-1)
    corners = corners.reshape(-1, losses.shape[1])
    boxes = ((lower[:, None] <= corners) & (corners < upper[:, None])).all(axis=-1).sum(axis=0)
    dominated = (losses[:, None] <= corners).all(axis=-1).any(axis=0)
    assert boxes.tolist() == (~dominated).tolist()


def test_where_there_is_no_point_all_is_one_box():
    lower, upper = undominated(np.empty((0, 2)), [1, 2])
    assert lower.tolist() == [[-np.inf, -np.inf]]
    assert upper.tolist() == [[1, 2]]


def test_hypervolume_of_fractions_and_of_nothing():
    assert hypervolume(np.array([[0.25, 0.5], [0.5, 0.25]]), [1, 1]) == pytest.approx(0.375 + 0.125)
    assert hypervolume(np.array([[1.0, 0.0], [np.inf, 0.0]]), [1, 1]) == 0.0
    assert hypervolume(np.empty((0, 2)), [1, 1]) == 0.0


@settings(max_examples=30)
@given(points())
def test_contributions_are_what_is_lost(losses):
    reference = [7] * losses.shape[1]
    lost = [cells(losses) - cells(np.delete(losses, k, axis=0)) for k in range(len(losses))]
    assert contributions(losses, reference).tolist() == lost


@given(st.sets(st.integers(0, 6), min_size=1), st.data())
def test_contributions_to_a_front_of_two_objectives_are_rectangles(first, data):
    second = data.draw(st.sets(st.integers(0, 6), min_size=len(first), max_size=len(first)))
    front = [*zip(sorted(first), sorted(second, reverse=True), strict=True)]
    losses = np.array(data.draw(st.permutations(front)), dtype=float)
    lost = [cells(losses) - cells(np.delete(losses, k, axis=0)) for k in range(len(losses))]
    assert contributions(losses, [7, 7]).tolist() == lost


@settings(max_examples=60)
@given(points(), st.data())
def test_fronts_peel_off_what_nothing_dominates(losses, data):
    broken = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(losses), max_size=len(losses))))
    found = fronts(losses, broken)

    def beats(i, j):
        return broken[i] < broken[j] or (broken[i] == broken[j] and dominates(losses[i], losses[j]))

    left, front = set(range(len(losses))), 0
    while left:
        now = {j for j in left if not any(beats(i, j) for i in left)}
        assert set(np.flatnonzero(found == front).tolist()) == now
        left, front = left - now, front + 1


@settings(max_examples=60)
@given(points(30))
def test_lowest_are_the_first_front(losses):
    first = {tuple(row) for row in losses[fronts(losses) == 0].tolist()}
    assert lowest(map(tuple, losses.tolist())) == sorted(first)


def test_crowding_is_the_sum_of_gaps():
    losses = np.array([[0.0, 10.0], [1.0, 6.0], [2.0, 5.0], [10.0, 0.0]])
    assert crowding(losses).tolist() == [np.inf, pytest.approx(0.2 + 0.5), pytest.approx(0.9 + 0.6), np.inf]
    assert crowding(np.array([[1.0, np.inf], [2.0, 3.0], [3.0, 3.0]]))[0] == np.inf
