from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.search.survival import Selection, along_directions, directions, survivors
from spaces.pareto import fronts


def test_survivors_are_whole_fronts_and_then_the_best_spread():
    losses = np.array([[0.0, 10.0], [5.0, 5.0], [5.1, 4.9], [10.0, 0.0], [11.0, 11.0]])
    assert sorted(survivors(losses, np.zeros(5), 3).tolist()) in ([0, 1, 3], [0, 2, 3])
    assert survivors(losses, np.zeros(5), 9).tolist()[-1] == 4
    assert sorted(survivors(losses, np.array([0, 0, 0, 0, -0.0]), 4).tolist()) == [0, 1, 2, 3]
    assert survivors(losses, np.array([1.0, 1.0, 1.0, 1.0, 0.0]), 1).tolist() == [4]


@settings(max_examples=40)
@given(st.data(), st.integers(1, 4), st.integers(1, 6), st.sampled_from(get_args(Selection)))
def test_what_lives_is_of_the_best_fronts(data, objectives, number, by):
    row = st.tuples(*[st.integers(0, 6)] * objectives)
    losses = np.array(data.draw(st.lists(row, min_size=1, max_size=7)), dtype=float)
    kept = survivors(losses, np.zeros(len(losses)), number, by)
    front = fronts(losses)
    assert len(set(kept.tolist())) == min(number, len(losses))
    assert sorted(front[kept]) == sorted(front)[: len(kept)]


def test_by_hypervolume_the_knee_lives():
    losses = np.array([[0.0, 1.0], [0.1, 0.1], [0.5, 0.09], [1.0, 0.0]])
    assert sorted(survivors(losses, np.zeros(4), 3, "hypervolume").tolist()) == [0, 1, 3]


@pytest.mark.parametrize(
    "objectives, most, number",
    # The last five are those of Deb and Jain 2014, table I.
    [
        (1, 9, 1),
        (2, 20, 20),
        (3, 2, 3),
        (4, 29, 24),
        (3, 92, 91),
        (5, 212, 210),
        (8, 156, 156),
        (10, 276, 275),
        (15, 136, 135),
    ],
)
def test_directions_are_as_many_as_there_is_room_for(objectives, most, number):
    found = directions(objectives, most)
    assert len(found) == number == len({tuple(row) for row in found.round(9)})
    assert (found >= 0).all()
    assert np.allclose((found**2).sum(axis=1), 1)
    assert {tuple(row) for row in np.eye(objectives)} <= {tuple(row) for row in found}


def niched(losses, kept, room, population):
    """Twin of `along_directions`, of finite losses whose plane of extreme points meets all axes."""
    axes = range(losses.shape[1])
    losses = losses - losses.min(axis=0)
    extremes = []
    for axis in axes:
        stretched = [max(value / (1 if k == axis else 1e-6) for k, value in enumerate(row)) for row in losses]
        extremes.append(losses[int(np.argmin(stretched))])
    scaled = losses * np.linalg.solve(np.array(extremes), np.ones(len(extremes)))
    lines = directions(losses.shape[1], population)
    off = np.array([[np.linalg.norm(row - (row @ line) * line) for line in lines] for row in scaled])
    nearest = off.argmin(axis=1)
    followers = [sum(nearest[place] == line for place in range(kept)) for line in range(len(lines))]
    waiting, found = list(range(kept, len(losses))), []
    while len(found) < room:
        least = min(followers[nearest[place]] for place in waiting)
        chosen = min((p for p in waiting if followers[nearest[p]] == least), key=lambda p: off[p].min())
        waiting.remove(chosen)
        followers[nearest[chosen]] += 1
        found.append(chosen - kept)
    return found


@pytest.mark.parametrize("kept, room", [(0, 1), (0, 15), (6, 10), (10, 30)])
@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_the_least_followed_directions_come_first(objectives, kept, room):
    rng = np.random.default_rng(objectives)
    around = np.abs(rng.standard_normal((40 - objectives, objectives)))
    losses = np.concatenate([np.eye(objectives), around / np.linalg.norm(around, axis=1, keepdims=True)])
    losses = rng.permutation(losses) * 10.0 ** np.arange(objectives) + 5  # of no common unit, nor from zero
    found = along_directions(losses, kept, room, 20)
    assert found.tolist() == niched(losses, kept, room, 20)


def test_directions_of_a_population_are_followed_where_units_differ():
    rng = np.random.default_rng(0)
    lines = directions(3, 15)
    others = np.abs(rng.standard_normal((200, 3)))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    order = rng.permutation(215)
    losses = np.concatenate([lines, others])[order] * [1.0, 1e6, 1e-3]
    kept = survivors(losses, np.zeros(215), 15, "directions")
    assert sorted(order[kept].tolist()) == list(range(15))


def test_points_without_extremes_or_with_infinite_losses_live_by_directions_too():
    for losses in (
        np.zeros((5, 3)),
        np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.5, 0.5, 1.0]]),
        np.array([[0.0, 1.0], [1.0, 0.0], [0.5, np.inf]]),
    ):
        kept = survivors(losses, np.zeros(len(losses)), 2, "directions")
        assert len(set(kept.tolist())) == 2


@pytest.mark.filterwarnings("error")
def test_a_plane_along_an_axis_is_replaced_by_the_worst_of_the_front():
    """Of the extreme points (1, 1) and (0, 1) the plane never meets the first axis."""
    losses = np.array([[1.0, 1.0], [0.0, 1.0], [2e6, 0.0]])
    assert sorted(along_directions(losses, 0, 2, 2).tolist()) == [1, 2]
