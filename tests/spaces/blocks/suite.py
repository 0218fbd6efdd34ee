"""Cases × checks, the costly repeats of which are slow tests."""

import pytest

from spaces.blocks.testing import CHECKS, BlockCase, compiles, exports


def suite(cases: list[BlockCase], checks: tuple[object, ...] = CHECKS) -> list[object]:
    """One parameter a case and check; a block is exported and compiled in its first setting, the others are slow."""
    seen: set[str] = set()
    parameters = []
    for case in cases:
        block = case.name.partition("(")[0].partition(" ")[0]
        for check in checks:
            slow = [pytest.mark.slow] if check in (compiles, exports) and block in seen else []
            parameters.append(pytest.param(case, check, id=f"{case}-{check.__name__}", marks=slow))
        seen.add(block)
    return parameters
