"""A small text, a small space, and what an evaluator is given."""

import math
from pathlib import Path

import pytest

import spaces
from nas.training.evaluator import TrainingEvaluator
from nas.training.recipe import Recipe
from nas.training.tasks.bytes import ByteText
from nas.types import Context, Fidelity, Proposal


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> str:
    """Thirty files of simple, different sentences."""
    folder: Path = tmp_path_factory.mktemp("text")
    for i in range(30):
        lines = [f"{i} plus {j} makes {i + j}, and {i} times {j} makes {i * j}.\n" for j in range(20)]
        (folder / f"{i}.txt").write_text("".join(lines))
    return str(folder)


@pytest.fixture(scope="session")
def task(text) -> ByteText:
    return ByteText(text, length=32, batch=4, valid_tokens=1024, test_tokens=1024)


@pytest.fixture(scope="session")
def space() -> spaces.Space:
    return spaces.load("hybrid", io=spaces.tokens(256, 16), parameters=20_000, context=32)


@pytest.fixture(scope="session")
def evaluator(space, task) -> TrainingEvaluator:
    return TrainingEvaluator(space, task, Recipe(lr=1e-2))


@pytest.fixture
def propose(space):
    def make(amount: int = 3, unit: str = "steps", seed: int = 0, **given) -> Proposal:
        return Proposal(7, space.architecture("transformer++"), Fidelity(amount, unit), seed, **given)

    return make


@pytest.fixture
def context():
    def make(report=lambda step, metrics: None, check_deadline=lambda: None, **given) -> Context:
        return Context(7, None, "cpu", math.inf, report, check_deadline, **given)

    return make
