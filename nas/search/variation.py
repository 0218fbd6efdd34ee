"""How children come of parents: crossings of two, mutations of one, or both, in shares that may adapt themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from nas.search.history import Child
from nas.types import Trial
from spaces import Genome, NoNeighbour, Space


class Variation:
    """Makes children of trials.

    With `adapt`, mutations are drawn in proportion to how often each gave a child better than its parent, of a uniform
    prior: (1 + successes) / (2 + children) (probability matching: Thierens 2005, An Adaptive Pursuit Strategy for
    Allocating Operator Probabilities, section 2). Which one made a child stands in its origin, hence in the log.

    Args:
        crossover: the share of children that cross two parents; all others are mutated.
        mutation: the share of crossed children that are mutated too.
        adapt: whether mutations are drawn by their success, not as the space draws them.
    """

    def __init__(self, space: Space, crossover: float, mutation: float, adapt: bool = False) -> None:
        self.space, self.crossover, self.mutation, self.adapt = space, crossover, mutation, adapt
        self._children: Counter[str] = Counter()
        self._successes: Counter[str] = Counter()

    @property
    def weights(self) -> dict[str, float]:
        """How often each mutation is drawn, before those that cannot be made are left out."""
        return {
            name: (1 + self._successes[name]) / (2 + self._children[name]) for name in self.space.mutations
        }

    def learn(self, origin: str, better: bool) -> None:
        """Takes a child that has ended, and whether it was better than its parent."""
        name = origin.partition(" of ")[0]
        if name in self.space.mutations:
            self._children[name] += 1
            self._successes[name] += better

    def child(self, parent: Callable[[], Trial], rng: np.random.Generator) -> Child | None:
        """A child of parents that are drawn one at a time; None where it would be its parent, or nothing can change."""
        first = parent()
        genome = first.proposal.genome
        try:
            if self.crossover and rng.random() < self.crossover:
                second = parent()
                crossed = self.space.crossover(genome, second.proposal.genome, rng)
                if crossed is not None:
                    if self.mutation and rng.random() < self.mutation:
                        crossed = self._mutated(crossed, rng)[0]
                    return crossed, f"crossover of {first.id} and {second.id}", (first.id, second.id)
            mutated, name = self._mutated(genome, rng)
            return mutated, f"{name} of {first.id}", (first.id,)
        except NoNeighbour:
            return None

    def _mutated(self, genome: Genome, rng: np.random.Generator) -> tuple[Genome, str]:
        """Another network, and what changed it.

        Raises:
            NoNeighbour: nothing can be changed.
        """
        if not self.adapt:
            return self.space.mutate(genome, rng), "mutation"
        weights = self.weights
        while weights:
            names, chances = [*weights], np.array([*weights.values()])
            name = names[int(rng.choice(len(names), p=chances / chances.sum()))]
            new = self.space.mutations[name](genome, rng)
            if new is not None and new.digest != genome.digest:
                return new, name
            del weights[name]
        raise NoNeighbour(f"no mutation of space {self.space.name!r} changes {genome.text}")
