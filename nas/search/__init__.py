"""Search strategies: functions of the ordered list of events, one algorithm a file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

from nas.options import call_options, refuse
from nas.search.auto import pick
from nas.search.history import HistoryStrategy
from nas.search.screening import Screening
from nas.types import Fidelity, InvalidInput, Objective, Strategy
from spaces import Space
from spaces.lookup import resolve

STRATEGIES = {
    "auto": "nas.search:auto",
    "random": "nas.search.random_search:RandomSearch",
    "evolution": "nas.search.evolution:RegularisedEvolution",
    "bayesian": "nas.search.bayesian:BayesianOptimisation",
    "botorch": "nas.search.continuous:ContinuousSearch",
    "tree": "nas.search.tree_search:TreeSearch",
    "nsga2": "nas.search.nsga2:NSGA2",
    "star": "nas.search.nsga2:star",
    "halving": "nas.search.halving:SuccessiveHalving",
    "hyperband": "nas.search.halving:Hyperband",
    "asha": "nas.search.asha:ASHA",
    "bohb": "nas.search.halving:bohb",
    "stopping": "nas.search.stopping:MedianStopping",
    "gradient": "nas.search.gradient:GradientSearch",
    "controller": "nas.search.controller:Controller",
    "pyglove": "nas.search.pyglove:PyGlove",
    "tune": "nas.cluster.tune:TuneStrategy",
}
"""The strategies known by name, and where they are."""

GIVEN = ("space", "objectives", "seed", "fidelity", "screening", "trials", "task", "rungs")
"""What strategies are made from (the last four where they take them); all else that one takes is an option."""

RUNGS = ("asha", "bohb", "halving", "hyperband")
"""The strategies that compare trials after less training first."""

SAMPLERS = {
    name: place for name, place in STRATEGIES.items() if name not in ("auto", "stopping", "gradient", *RUNGS)
}
"""The strategies that say which networks another trains."""

CHOICE = ("chosen", "because")
"""What "auto" keeps of its choice, as options of its own."""

TRIALS = 100
"""What a strategy counts on where nobody says."""


def options(name: str, given: Mapping[str, Any], where: str = "strategy") -> dict[str, Any]:
    """The options of a strategy, validated, with its defaults filled in; `where` they stand, for the errors.

    Raises:
        InvalidInput: the strategy or an option is unknown, or a value does not fit.
    """
    factory = resolve(name, STRATEGIES, "strategy", InvalidInput)
    if name == "auto" and (unknown := [key for key in given if key not in CHOICE]):
        raise InvalidInput(
            f"unknown key '{where}.{unknown[0]}': \"auto\" chooses a strategy and its options; name one to give it some"
        )
    found = call_options(factory, given, where=where, given=GIVEN)
    if name in STRATEGIES and "sampler" in found:
        found["sampler"] = _sampler(name, found["sampler"])
    return found


def _sampler(strategy: str, given: str | Mapping[str, Any]) -> dict[str, Any]:
    """The name of a strategy that says which networks another trains, and all its options."""
    chosen = {"name": given} if isinstance(given, str) else dict(given)
    name = chosen.pop("name", None)
    if not isinstance(name, str) or (name in STRATEGIES and name not in SAMPLERS):
        refuse("strategy.sampler", given, f"a strategy that says which networks {strategy!r} trains")
    resolve(name, SAMPLERS, "sampler", InvalidInput)
    return {"name": name, **options(name, chosen, where="strategy.sampler")}


def settled(
    name: str,
    given: Mapping[str, Any],
    *,
    space: Space,
    objectives: Sequence[Objective],
    trials: int = TRIALS,
    screened: bool = False,
    rungs: Sequence[int] = (),
    fidelity: Fidelity = Fidelity(1),
) -> dict[str, Any]:
    """The same, and "auto" has chosen: `chosen` is the name of a strategy and all its options, `because` the reason.

    Raises:
        InvalidInput: as `options` does.
    """
    found = options(name, given)
    if name != "auto":
        return found
    if found["chosen"] is None:
        picked = pick(space, objectives, trials, screened, rungs, fidelity)
        return {
            "chosen": {"name": picked.name, **options(picked.name, picked.options)},
            "because": picked.because,
        }
    chosen = dict(found["chosen"])
    inner = chosen.pop("name", None)
    if not isinstance(inner, str) or inner == "auto":
        refuse("strategy.chosen.name", inner, 'the name of a strategy other than "auto"')
    return {"chosen": {"name": inner, **options(inner, chosen)}, "because": found["because"]}


def check_in_full(name: str, instead: str) -> None:
    """Holds a strategy for loops of another library to proposing what is trained in full.

    Raises:
        InvalidInput: it decides for how long each trial is trained, which such loops do not ask; `instead` advises.
    """
    if name in (*RUNGS, "stopping"):
        raise InvalidInput(
            f"strategy {name!r} decides for how long each trial is trained, which is not asked here: take the strategy "
            f"that says which networks, and {instead}"
        )


def takes_rungs(name: str) -> bool:
    """Whether a strategy, ours or a user's, may compare trials after less training.

    Raises:
        InvalidInput: it is unknown.
    """
    return "rungs" in inspect.signature(resolve(name, STRATEGIES, "strategy", InvalidInput)).parameters


def load(
    name: str,
    *,
    space: Space,
    objectives: Sequence[Objective],
    seed: int = 0,
    fidelity: Fidelity = Fidelity(1),
    screening: Screening | None = None,
    trials: int = TRIALS,
    task: Any = None,
    rungs: Sequence[int] = (),
    **given: Any,
) -> Strategy:
    """A strategy by name, or a user's own as "package.module:attribute".

    Args:
        fidelity: what each of its trials spends, where the strategy does not choose.
        screening: ranks the strategy's candidates by a predictor.
        trials: how many there will be, which strategies may go by and need not.
        task: what trials learn, a `nas.training.tasks.base.Task`; None on a table.
        rungs: smaller amounts than the fidelity, of its unit, ascending, after which trials are compared first.
        given: the strategy's own options.

    Raises:
        InvalidInput: the strategy or an option is unknown, a value does not fit, it cannot be screened, or it knows
            nothing of rungs.
    """
    _check(space, objectives, seed, fidelity, trials)
    factory = resolve(name, STRATEGIES, "strategy", InvalidInput)
    chosen = options(name, given)
    takes = inspect.signature(factory).parameters
    if "trials" in takes:
        chosen["trials"] = trials
    if "task" in takes:
        chosen["task"] = task
    if "rungs" in takes:
        chosen["rungs"] = tuple(rungs)
    elif rungs:
        raise InvalidInput(
            f"strategy {name!r} trains every trial for {fidelity}, and knows nothing of 'budget.rungs' = "
            f"{list(rungs)}: leave them out, or take one of {', '.join(sorted(RUNGS))} with sampler = {name!r}"
        )
    if "screening" in takes:
        chosen["screening"] = screening
    made: Strategy = factory(
        space=space, objectives=tuple(objectives), seed=seed, fidelity=fidelity, **chosen
    )
    if screening is not None and "screening" not in takes:
        if not isinstance(made, HistoryStrategy) or not made.screenable:
            raise InvalidInput(
                f"strategy {name!r} makes no candidates that a predictor could rank, but chooses by a model or an "
                "algorithm of its own: leave the predictor out"
            )
        made.screening = screening
    return made


def _check(space: Any, objectives: Sequence[Any], seed: Any, fidelity: Any, trials: Any) -> None:
    """Raises InvalidInput if one of these is not what strategies are made of."""
    if not hasattr(space, "sample"):
        raise InvalidInput(f"space is {space!r}, but must be a space, as `spaces.load` gives")
    if not objectives:
        raise InvalidInput("there are no objectives, but a strategy needs one to be made small or large")
    for objective in objectives:
        if not isinstance(objective, Objective):
            raise InvalidInput(f"an objective is {objective!r}, but must be a nas.Objective")
    for place, objective in enumerate(objectives):
        if objective in objectives[:place]:
            raise InvalidInput(f"{objective} is given twice, but an objective counts once")
    for what, number, least in (("seed", seed, 0), ("trials", trials, 1)):
        if not isinstance(number, Integral) or isinstance(number, bool) or number < least:
            raise InvalidInput(f"{what} is {number!r}, but must be a whole number of at least {least}")
    if not isinstance(fidelity, Fidelity):
        raise InvalidInput(f"fidelity is {fidelity!r}, but must be a nas.Fidelity")


def auto(
    space: Space,
    objectives: Sequence[Objective],
    seed: int,
    fidelity: Fidelity,
    trials: int = TRIALS,
    screening: Screening | None = None,
    rungs: Sequence[int] = (),
    chosen: dict[str, Any] | None = None,
    because: str = "",
) -> Strategy:
    """The strategy that `nas.search.auto.pick` finds suited, or the one that was chosen before.

    Args:
        chosen: the name of a strategy and its options, as a campaign's frozen configuration holds them.
        because: why it was chosen, to be read.
    """
    told = {"chosen": chosen, "because": because}
    found = settled(
        "auto",
        told,
        space=space,
        objectives=objectives,
        trials=trials,
        screened=screening is not None,
        rungs=rungs,
        fidelity=fidelity,
    )
    return load(
        space=space,
        objectives=objectives,
        seed=seed,
        fidelity=fidelity,
        screening=screening,
        trials=trials,
        rungs=rungs,
        **found["chosen"],
    )


__all__ = [
    "STRATEGIES",
    "TRIALS",
    "Screening",
    "auto",
    "check_in_full",
    "load",
    "options",
    "settled",
    "takes_rungs",
]
