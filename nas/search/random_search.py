"""Random search: draws from the space, without repeats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.search.history import TRIES, HistoryStrategy
from nas.types import Fidelity, Finished, Objective, Proposal
from spaces import Space


class RandomSearch(HistoryStrategy):
    """Draws genomes at random; a network is proposed once. What the objectives are does not matter.

    Args:
        named: architectures of the space, by name or text, that stand first.
    """

    several = True

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        named: tuple[str, ...] = (),
    ) -> None:
        super().__init__(space, objectives, seed, fidelity)
        self.begin_with(named)

    def propose(
        self, k: int, rng: np.random.Generator, taken: set[str], running: Sequence[Proposal]
    ) -> Proposal:
        return draw(self, k, rng, taken)


def draw(strategy: HistoryStrategy, k: int, rng: np.random.Generator, taken: set[str]) -> Proposal:
    """A random proposal of a new network.

    Raises:
        Finished: 100 draws in a row gave networks that were proposed before.
    """
    for _ in range(TRIES):
        genome = strategy.space.sample(rng)
        if genome.digest not in taken:
            return strategy.proposal(k, genome, "random")
    raise Finished(
        f"{TRIES} draws in a row from space {strategy.space.name!r} repeat networks that were proposed"
    )
