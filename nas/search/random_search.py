"""Random search: draws from the space, without repeats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.search.history import TRIES, HistoryStrategy
from nas.types import Fidelity, Finished, Objective, Proposal
from spaces import Space


class RandomSearch(HistoryStrategy):
    """Draws genomes at random, again where they are known to cost too much; a network is proposed once.

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
    """A random proposal of a new network, which keeps the bounds on what it costs, if one of 100 draws does.

    Raises:
        Finished: 100 draws in a row gave networks that were proposed before.
    """
    drawn = ((strategy.space.sample(rng), "random", ()) for _ in range(TRIES))
    child = strategy.first_within(drawn, taken)
    if child is None:
        raise Finished(
            f"{TRIES} draws in a row from space {strategy.space.name!r} repeat networks that were proposed"
        )
    return strategy.proposal(k, *child)
