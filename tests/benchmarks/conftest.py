import pytest
from made_up import DESCRIPTION, columns

from benchmarks import Table


@pytest.fixture(scope="session")
def made_up(tmp_path_factory):
    """A small table of random numbers, in which some rows miss a seed and some were not measured at all."""
    path = tmp_path_factory.mktemp("table") / "cells.arrow"
    Table.write(path, DESCRIPTION, columns())
    return Table(path)
