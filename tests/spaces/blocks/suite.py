"""Cases × checks, the costly repeats of which are slow tests."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from spaces.blocks.base import Block
from spaces.blocks.costs import COSTS
from spaces.blocks.testing import CHECKS, BlockCase, compiles, exports, exports_states_and_documents

WIDTH = 16
AT = SimpleNamespace(width=WIDTH)


def case(block: type[Block], twin: Callable[[Any, Tensor], Tensor], **choices: Any) -> BlockCase:
    """A block in one setting, whose twin and cost entry have the name of its production."""
    name = twin.__name__
    return BlockCase(
        name=f"{name}({', '.join(f'{key}={value}' for key, value in choices.items())})",
        make=lambda width: block(width, **choices),
        twin=twin,
        cost=lambda context: COSTS[name](AT, context, **choices),
        width=WIDTH,
        columns=choices.get("columns") or 1,
    )


def suite(cases: list[BlockCase], checks: tuple[object, ...] = CHECKS) -> list[object]:
    """One parameter a case and check; a block is exported and compiled in its first setting, the others are slow,
    as are exports with states and documents.
    """
    seen: set[str] = set()
    parameters = []
    for case in cases:
        block = case.name.partition("(")[0].partition(" ")[0]
        for check in checks:
            again = block in seen and check in (compiles, exports)
            slow = [pytest.mark.slow] if again or check is exports_states_and_documents else []
            parameters.append(pytest.param(case, check, id=f"{case}-{check.__name__}", marks=slow))
        seen.add(block)
    return parameters
