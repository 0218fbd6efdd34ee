"""What is compared: strategies with their default options, and methods of other libraries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import nas.search as search
import predictors
from benchmarks import Table
from nas.cluster.simulated import rungs, whole
from nas.peers import LIGHT, PEERS
from nas.types import InvalidInput, Objective, Strategy
from spaces import ProductSpace
from spaces.errors import suggest
from spaces.lookup import resolve

SHORT = {"screened": "evolution+trees"}
"""Contestants with a name of their own."""

WITH_RUNGS = {"nasbench201": "nasbench201_epochs"}
"""By space, a format of files that tells of less training, where the table of the catalogue does not."""


@dataclass(frozen=True)
class Contestant:
    """A strategy with its default options, alone or with a predictor that screens its candidates; or a peer.

    A multi-fidelity strategy may have another sampler than its own; its rungs are those of the table, see `rungs`.
    """

    name: str
    strategy: str
    predictor: str | None = None
    sampler: str | None = None

    @classmethod
    def parse(cls, name: str) -> Contestant:
        """From "strategy", "strategy/sampler", either with "+predictor", the name of a peer, or a name of its own."""
        strategy, plus, predictor = SHORT.get(name, name).partition("+")
        strategy, slash, sampler = strategy.partition("/")
        return cls(name, strategy, predictor if plus else None, sampler if slash else None)

    def make(self, table: Table, seed: int, trials: int = search.TRIALS) -> Strategy:
        """The strategy, in search of the table's objective.

        Args:
            trials: how many there will be, which strategies may go by, as "auto" does.

        Raises:
            InvalidInput: the strategy or the predictor is unknown, or they do not go together, or the peer's library
                is not installed.
        """
        if self.strategy in PEERS:
            return self._peer(table, seed)
        if self.strategy not in search.STRATEGIES and ":" not in self.strategy:
            known = [*search.STRATEGIES, *SHORT, *PEERS]
            raise InvalidInput(
                f"unknown strategy {self.name!r}{suggest(self.name, known)}, or strategy+predictor, strategy/sampler"
            )
        if self.sampler is not None and "sampler" not in search.options(self.strategy, {}):
            those = ", ".join(sorted((*search.RUNGS, "stopping")))
            raise InvalidInput(
                f"strategy {self.name!r}: {self.strategy!r} takes no sampler; allowed: {those}"
            )
        options: dict[str, Any] = {} if self.sampler is None else {"sampler": self.sampler}
        steps = rungs(table) if search.takes_rungs(self.strategy) else ()
        if self.strategy in search.RUNGS and not steps:
            other = WITH_RUNGS.get(table.description.space)
            hint = (
                f"; one of its space does: nas bench add FILE --as {other} --out TABLE.arrow" if other else ""
            )
            raise InvalidInput(
                f"strategy {self.name!r} compares trials after less training first, but table {table.name!r} tells of "
                f"no such{hint}"
            )
        space, screening = table.candidates, None
        if self.predictor is not None:
            make = partial(predictors.load, self.predictor, space=space, seed=seed)
            try:
                made = make()
            except predictors.InvalidPredictor as error:
                raise InvalidInput(f"strategy {self.name!r}: {error}") from error
            if not hasattr(made, "fit") or not hasattr(made, "predict"):
                raise InvalidInput(
                    f"strategy {self.name!r}: {self.predictor!r} gives a {type(made).__name__}, which is no predictor"
                )
            screening = search.Screening(make)
        objective = Objective(table.objective.name, table.objective.direction)
        return search.load(
            self.strategy,
            space=space,
            objectives=[objective],
            seed=seed,
            fidelity=whole(table),
            screening=screening,
            trials=trials,
            rungs=steps,
            **options,
        )

    def _peer(self, table: Table, seed: int) -> Strategy:
        if self.predictor is not None:
            raise InvalidInput(
                f"strategy {self.name!r}: a peer makes no candidates that a predictor could rank"
            )
        if self.sampler is not None:
            raise InvalidInput(f"strategy {self.name!r}: a peer takes no sampler")
        if not isinstance(table.candidates, ProductSpace):
            raise InvalidInput(
                f"strategy {self.name!r}: peers need a row for all values of the fields, but table "
                f"{table.name!r} lists {len(table):,} genomes"
            )
        try:
            peer = resolve(self.strategy, PEERS, "peer", InvalidInput)
        except InvalidInput as error:
            if isinstance(error.__cause__, ModuleNotFoundError):
                extra = "peers" if self.strategy in LIGHT else "more-peers"
                raise InvalidInput(
                    f"strategy {self.name!r} needs {error.__cause__.name}, which is not installed: "
                    f"pip install 'grammar-nas[{extra}]'"
                ) from error
            raise
        return peer(table, seed)
