"""Search strategies: functions of the ordered list of events, one algorithm a file."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from nas.options import call_options
from nas.search.screening import Screening
from nas.types import Fidelity, InvalidInput, Objective, Strategy
from spaces import Space
from spaces.lookup import resolve

STRATEGIES = {
    "random": "nas.search.random_search:RandomSearch",
    "evolution": "nas.search.evolution:RegularisedEvolution",
    "bayesian": "nas.search.bayesian:BayesianOptimisation",
    "pyglove": "nas.search.pyglove:PyGlove",
    "tune": "nas.cluster.tune:TuneStrategy",
}
"""The strategies known by name, and where they are."""

GIVEN = ("space", "objectives", "seed", "fidelity", "screening")
"""What strategies are made from (`screening` for those that take it); all else that one takes is an option."""


def options(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options of a strategy, validated, with its defaults filled in.

    Raises:
        InvalidInput: the strategy or an option is unknown, or a value does not fit.
    """
    return call_options(
        resolve(name, STRATEGIES, "strategy", InvalidInput), given, where="strategy", given=GIVEN
    )


def load(
    name: str,
    *,
    space: Space,
    objectives: Sequence[Objective],
    seed: int = 0,
    fidelity: Fidelity = Fidelity(1),
    screening: Screening | None = None,
    **given: Any,
) -> Strategy:
    """A strategy by name, or a user's own as "package.module:attribute".

    Args:
        fidelity: what each of its trials spends, where the strategy does not choose.
        screening: ranks the strategy's candidates by a predictor.
        given: the strategy's own options.

    Raises:
        InvalidInput: the strategy or an option is unknown, a value does not fit, or it cannot be screened.
    """
    factory = resolve(name, STRATEGIES, "strategy", InvalidInput)
    chosen = call_options(factory, given, where="strategy", given=GIVEN)
    if screening is not None:
        if "screening" not in inspect.signature(factory).parameters:
            raise InvalidInput(
                f"strategy {name!r} makes no candidates that a predictor could rank: leave the predictor out"
            )
        chosen["screening"] = screening
    return factory(space=space, objectives=tuple(objectives), seed=seed, fidelity=fidelity, **chosen)


__all__ = ["STRATEGIES", "Screening", "load", "options"]
