import numpy as np
import pytest

from nas.search.trust_region import FIRST, LONGEST, TrustRegion

HALVES = np.array([0.5, 0.5, 1.0])


def told(region, losses, sides=HALVES):
    """The region after trials of these losses, each told before the next is proposed."""
    for number, value in enumerate(losses, 1):
        region = region.tell((0.0, value), sides, number)
    return region


def test_a_region_doubles_after_successes_and_halves_after_failures():
    spread = [5.0, 4.0]
    assert told(TrustRegion(2), spread).length == FIRST
    assert told(TrustRegion(2), [*spread, 3.0, 2.0]).length == FIRST
    assert told(TrustRegion(2), [*spread, 3.0, 2.0, 1.0]).length == min(2 * FIRST, LONGEST)
    assert told(TrustRegion(2), [*spread, 3.0, 9.0, 2.0, 1.0]).length == FIRST  # not in a row
    assert told(TrustRegion(2), [*spread, *[6.0] * 3]).length == FIRST
    assert told(TrustRegion(2), [*spread, *[6.0] * 4], np.full(3, 0.1)).length == FIRST / 2
    assert (
        told(TrustRegion(2), [*spread, *[6.0] * 5], np.full(6, 0.1)).length == FIRST
    )  # six coordinates decide


def test_a_region_that_holds_nothing_else_makes_room_for_another():
    region = TrustRegion(2)
    after = told(region, [5.0, 4.0, *[6.0] * 4])
    assert after is not region  # 0.4 is shorter than the boxes
    assert (after.since, after.length) == (6, FIRST)
    assert after.improves((0.0, 9.0))


def test_a_region_is_a_box_around_the_best_that_length_scales_shape():
    region = TrustRegion(2)
    region.length = 0.4
    low, high = region.box(np.array([0.5, 0.5, 0.1]), np.array([0.25, 1.0, 1.0]))
    sides = np.array([*(high - low)[:2], 2 * (high[2] - 0.1)])
    assert np.prod(sides) == pytest.approx(0.4**3)
    assert sides[1:] == pytest.approx(4 * sides[0])
    assert low[2] == 0.0
