"""A default that needs no choice: which strategy suits a campaign, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.types import Fidelity, InvalidInput, Objective
from spaces import Space

MANY = 5_000
"""Trials from which on a surrogate, which learns from 512 of them, is no help any more."""

FOLLOWED = 5
"""Objectives up to which the hypervolume is searched by: of seven, 30 trials take it gigabytes."""


@dataclass(frozen=True)
class Pick:
    """A strategy by name, the options that differ from its defaults, and the reason."""

    name: str
    because: str
    options: Mapping[str, Any] = field(default_factory=dict)


def pick(
    space: Space,
    objectives: Sequence[Objective],
    trials: int,
    screened: bool = False,
    rungs: Sequence[int] = (),
    fidelity: Fidelity = Fidelity(1),
) -> Pick:
    """The strategy for so many trials on a space; the same whenever it is asked.

    Where a space has fewer genomes, these are the trials that there can be.

    Args:
        screened: whether a predictor ranks candidates, of which evolution makes any number.
        rungs: amounts of training, smaller than the full fidelity, after which trials may be compared.

    Raises:
        InvalidInput: every objective has a bound.
    """
    if rungs:
        inner = pick(space, objectives, trials, screened)
        told = ", ".join(map(str, rungs))
        because = (
            f"many networks train to rungs at {told} of {fidelity}, and the best of them on; the sampler is "
            f"{inner.name}, as {inner.because}"
        )
        return Pick("asha", because, {"sampler": {"name": inner.name, **inner.options}})
    aims = [objective.metric for objective in objectives if objective.bound is None]
    if not aims:
        bounded = ", ".join(objective.metric for objective in objectives)
        raise InvalidInput(
            f"all objectives have a bound ({bounded}), so that nothing is searched: leave one without"
        )
    size = getattr(space, "size", None)
    if size is not None and size < trials:
        trials, many = size, f"{size:,} genome{'s' * (size > 1)} in all"
    else:
        many = f"{trials:,} trial{'s' * (trials > 1)}"
    one = len(aims) == 1
    told = "one objective" if one else f"{', '.join(aims[:-1])} and {aims[-1]} as objectives"
    evolution, sized = (
        ("evolution", _sized(trials)) if one else ("nsga2", {"population": _population(trials)})
    )
    if screened:
        return Pick(evolution, f"a predictor is given, which ranks the candidates of {evolution}", sized)
    if not (hasattr(space, "operators") and hasattr(space, "graph")):
        because = (
            f"space {space.name!r} does not say what stands in its graphs, from which a surrogate would learn"
        )
        return Pick(evolution, because, sized)
    if len(aims) > FOLLOWED:
        because = f"the volume that {len(aims)} objectives dominate is of too many pieces for a surrogate"
        return Pick(evolution, because, {**sized, "selection": "directions"})
    if trials > MANY:
        because = f"{many} are so many that mutations find what a surrogate would, at no cost"
        return Pick(evolution, because, sized)
    because = f"with {told} and {many} a surrogate makes the most of each"
    return Pick("bayesian", because, {"initial": max(2, min(10, trials // 4))})


def _population(trials: int) -> int:
    """At most a fifth of the trials."""
    return max(4, min(100, trials // 5))


def _sized(trials: int) -> dict[str, Any]:
    """Evolution's population and tournament."""
    population = _population(trials)
    return {"population": population, "tournament": max(2, population // 4 if population < 100 else 10)}
