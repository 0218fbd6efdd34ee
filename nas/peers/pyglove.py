"""PyGlove's algorithms (Peng et al. 2020, arXiv 2101.08809)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyglove as pg

from benchmarks import Table
from nas.peers.base import Peer


class RegularizedEvolution(Peer):
    """Regularised evolution with PyGlove's own population and tournament."""

    def __init__(self, table: Table, seed: int) -> None:
        super().__init__(table, seed)
        program = pg.Dict(
            {key: pg.oneof(range(len(field.values))) for key, field in self.space.fields.items()}
        )
        self._template = pg.template(program)
        mutator = pg.evolution.mutators.Uniform(seed=seed)
        self._algorithm = pg.evolution.regularized_evolution(mutator, seed=seed)
        self._algorithm.setup(pg.dna_spec(program))

    def suggest(self) -> tuple[Any, Mapping[str, Any]]:
        dna = self._algorithm.propose()
        places = self._template.decode(dna)
        return dna, {key: field.values[places[key]] for key, field in self.space.fields.items()}

    def report(self, trial: Any, loss: float | None) -> None:
        self._algorithm.feedback(trial, float("-inf") if loss is None else -loss)
