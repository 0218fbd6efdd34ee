import pytest
from made_up import CURVED, DESCRIPTION, columns, curved_columns, curves

from benchmarks import Table


@pytest.fixture(scope="session")
def made_up(tmp_path_factory):
    """A small table of random numbers, in which some rows miss a seed and some were not measured at all."""
    path = tmp_path_factory.mktemp("table") / "cells.arrow"
    Table.write(path, DESCRIPTION, columns())
    return Table(path)


@pytest.fixture(scope="session")
def curved(tmp_path_factory):
    """The same with curves of two of its metrics."""
    path = tmp_path_factory.mktemp("table") / "curves.arrow"
    Table.write(path, CURVED, curved_columns(), curves=curves())
    return Table(path)
