import pytest
from made_up import DESCRIPTION, columns

from benchmarks import Table


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Tables are made once for these tests, and nothing is left in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def made_up(tmp_path_factory):
    """A small table of random numbers, in which some rows miss a seed and some were not measured at all."""
    path = tmp_path_factory.mktemp("table") / "cells.arrow"
    Table.write(path, DESCRIPTION, columns())
    return Table(path)
