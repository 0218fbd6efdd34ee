"""Campaign files made small, and a user's modules that no test leaves to the next."""

import sys

import pytest

from nas.config import parse, to_dict
from nas.setup import configure, prepare

SMALL = {
    "space": {"width": 32},
    "strategy": {"population": 5, "tournament": 2},
    "predictor": {"least": 5, "candidates": 2},
    "budget": {"trials": 8, "steps": 2, "epochs": 1, "confirm": 1, "rungs": [1]},
}
"""What is changed of a campaign, where it has it."""

SMALL_TASKS = {
    "bytes": {"length": 16, "batch": 2, "valid_tokens": 64, "test_tokens": 64},
    "recall": {"length": 16, "batch": 2, "train": 8, "valid": 4, "test": 4},
}


@pytest.fixture
def reduced():
    """Reads a campaign file, which has to be valid as it stands, and gives the campaign at a reduced size."""

    def reduce(file, engine):
        full = to_dict(prepare(configure(file, engine=engine)).config)
        full["task"] |= SMALL_TASKS.get(full["task"]["name"], {})
        for table, changes in SMALL.items():
            options = full.get(table, {})
            options |= {key: value for key, value in changes.items() if key in options}
        return parse(full)

    return reduce


@pytest.fixture(autouse=True)
def users_modules(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("my_space", "my_task", "my_table", "ridge", "descent"):
        sys.modules.pop(name, None)
