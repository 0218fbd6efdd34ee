import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.search.lines import Line


@given(st.floats(-1, 2), st.floats(-5, 5), st.lists(st.floats(-10, 10), min_size=3, max_size=8, unique=True))
def test_lines_recover_lines(slope, intercept, values):
    line = Line.through([(value, intercept + slope * value) for value in values])
    if 0 <= slope <= 1 and np.ptp(values) > 1e-3:
        assert line.slope == pytest.approx(slope, abs=1e-6)
        assert line(3.0) == pytest.approx(intercept + slope * 3, abs=1e-4)
    assert 0 <= line.slope <= 1
    assert line(np.mean(values)) == pytest.approx(intercept + slope * np.mean(values), abs=1e-6), (
        "through the means"
    )


def test_lines_of_few_points():
    assert Line.through([])(2.0) == 2.0
    assert Line.through([(1.0, 0.5), (3.0, 1.5)])(2.0) == 1.0
    assert Line.through([(1.0, np.nan), (3.0, 1.5)])(2.0) == 0.5


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1e-300, 1e-170, 1e170, 1e300, 1.5 * 2.0**1023])
def test_lines_go_through_values_of_any_size(size):
    line = Line.through([(0.0, 0.5 * size), (0.5 * size, 0.75 * size), (size, size)])
    assert (line.slope, line.intercept) == (pytest.approx(0.5), pytest.approx(0.5 * size))
    small = Line.through([(1.0, 1.0), (1.0 + 2.0**-52, 1.0), (1.0, 1.0), (1.0, size)])
    assert 0 <= small.slope <= 1
