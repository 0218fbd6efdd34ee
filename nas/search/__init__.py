"""Search strategies: functions of the ordered list of events, one algorithm a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nas.config import call_options, resolve
from nas.types import Fidelity, Objective, Strategy
from spaces import Space

STRATEGIES = {
    "random": "nas.search.random_search:RandomSearch",
    "evolution": "nas.search.evolution:RegularisedEvolution",
}
"""The strategies known by name, and where they are."""

GIVEN = ("space", "objectives", "seed", "fidelity")
"""What every strategy is made from; all else that it takes is an option of its own."""


def options(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options of a strategy, validated, with its defaults filled in.

    Raises:
        InvalidInput: the strategy or an option is unknown, or a value does not fit.
    """
    return call_options(resolve(name, STRATEGIES, "strategy"), given, where="strategy", given=GIVEN)


def load(
    name: str,
    *,
    space: Space,
    objectives: Sequence[Objective],
    seed: int = 0,
    fidelity: Fidelity = Fidelity(1),
    **given: Any,
) -> Strategy:
    """A strategy by name, or a user's own as "package.module:attribute".

    Args:
        fidelity: what each of its trials spends, where the strategy does not choose.
        given: the strategy's own options.

    Raises:
        InvalidInput: the strategy or an option is unknown, or a value does not fit.
    """
    factory = resolve(name, STRATEGIES, "strategy")
    chosen = call_options(factory, given, where="strategy", given=GIVEN)
    return factory(space=space, objectives=tuple(objectives), seed=seed, fidelity=fidelity, **chosen)


__all__ = ["STRATEGIES", "load", "options"]
