"""Monte Carlo tree search over the decisions that derive a genome.

A node of the tree is what the decisions so far came to: which production, which choices, how many children. All
genomes derived by way of it speak for it, so that a search learns which beginnings are worth finishing (Negrinho and
Gordon 2017, DeepArchitect: Automatically Designing and Training Deep Architectures).
"""

from __future__ import annotations

import math
from bisect import bisect
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le

from nas.search.decision_tree import DecisionTree, Made, Node, Options
from nas.search.history import TRIES, HistoryStrategy
from nas.search.initial import spread_out
from nas.search.random_search import draw
from nas.search.surrogate import Surrogate
from nas.types import Fidelity, InvalidInput, Objective, Proposal
from spaces import Genome, Space
from spaces.decisions import Decision
from spaces.protocol import Coded

LEARNED, TRUST = 4, 4.0
"""The prior is learned from so large a part of the trials (one in four, the best); what the grammar says counts as so
many of their decisions."""

ROUNDS = 4
"""In which leaves are derived, each after the surrogate has told of those before."""


class TreeSearch(HistoryStrategy):
    """Descends the tree of decisions to a genome that was not proposed before.

    At a node, the option with the greatest mean merit and bonus for being little known is taken (PUCT: Rosin 2011,
    Multi-Armed Bandits with Episode Context). Options come in as a node is visited, so that those of many do not drown
    it (progressive widening: Coulom 2007, Computing Elo Ratings of Move Patterns in the Game of Go), drawn by a prior
    that is learned: each is as likely as the grammar says and the best trials took it, wherever they decided the same.
    Below the tree the prior decides alone. The merit of a trial is the share of trials that are no better; those that
    run count as visits of no other merit than the node's.

    With a surrogate, leaves are derived many at a time, and count as visits by the share of trials that they are
    predicted to be better than; the one that promises most is proposed.

    Args:
        surrogate: a predictor by name, as in `predictors.PREDICTORS`; None: the first new leaf is proposed.
        initial: trials before the tree is asked, spread over the space where it is a cube, else random.
        leaves: how many are derived for the surrogate.
        exploration: how much being little known counts.
        widening: a node has options for its visits to this power, and one more.
        named: architectures of the space, by name or text, that stand first.

    Raises:
        InvalidInput: the genomes of the space are not derived by decisions.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        surrogate: str | None = None,
        initial: Annotated[int, Ge(2), Le(10_000)] = 10,
        leaves: Annotated[int, Ge(ROUNDS)] = 256,
        exploration: Annotated[float, Ge(0)] = 0.5,
        widening: Annotated[float, Gt(0), Le(1)] = 0.5,
        named: tuple[str, ...] = (),
    ) -> None:
        super().__init__(space, objectives, seed, fidelity)
        self.begin_with(named)
        if not isinstance(space, Coded):
            raise InvalidInput(
                f"strategy 'tree' searches spaces whose genomes are derived by decisions, as those of grammars "
                f"and of products of choices are, but {space.name!r} is a {type(space).__name__}"
            )
        self.coded: Coded = space
        self.initial = max(initial, len(named) + 2)
        self.leaves, self.exploration, self.widening = leaves, exploration, widening
        self.points = spread_out(space, initial, seed)
        self.screenable = surrogate is None
        self._surrogate = None if surrogate is None else Surrogate(surrogate, space, seed)
        self._tree = DecisionTree()
        self._derived: dict[str, list[Made]] = {}
        """Of networks that have not ended, by digest."""

    def __getstate__(self) -> dict[str, Any]:
        """Without the tree, which is grown again: what it decided about belongs to this process's space."""
        return {**self.__dict__, "_tree": DecisionTree(), "_derived": {}}

    def propose(
        self, k: int, rng: np.random.Generator, taken: set[str], running: Sequence[Proposal]
    ) -> Proposal:
        if k < self.initial or not self.ended:
            if k < len(self.points) and self.is_open(self.points[k], taken):
                return self.proposal(k, self.points[k], "spread")
            return draw(self, k, rng, taken)
        losses = self.losses
        self._grow()
        root, options = self._valued(losses, running), self._learned(losses)
        if self._surrogate is None:
            leaves = self._leaves(root, options, 1, taken, rng)
            chosen = leaves[0][0] if leaves else None
        else:
            chosen = self._most_promising(self._surrogate, root, options, losses, running, taken, rng)
        return draw(self, k, rng, taken) if chosen is None else self.proposal(k, chosen, "tree")

    def _most_promising(
        self,
        surrogate: Surrogate,
        root: Node,
        options: Options,
        losses: np.ndarray,
        running: Sequence[Proposal],
        taken: set[str],
        rng: np.random.Generator,
    ) -> Genome | None:
        genomes = [trial.proposal.genome for trial in self.ended]
        surrogate.learn(genomes, losses, [proposal.genome for proposal in running], rng)
        known = np.sort(surrogate.mean(genomes))
        seen: dict[str, tuple[float, Genome]] = {}
        for _ in range(ROUNDS):
            leaves = self._leaves(root, options, self.leaves // ROUNDS, taken | seen.keys(), rng)
            if not leaves:
                break
            new = [genome for genome, _ in leaves]
            better = 1 - np.searchsorted(known, surrogate.mean(new)) / len(known)
            for (genome, path), promise, merit in zip(
                leaves, surrogate.promise(new, rng).tolist(), better.tolist(), strict=True
            ):
                seen[genome.digest] = (promise, genome)
                for node in path:
                    node.merit += merit - node.mean  # what it was believed to have
        return max(seen.values(), key=lambda found: found[0])[1] if seen else None

    def _leaves(
        self, root: Node, options: Options, number: int, taken: set[str], rng: np.random.Generator
    ) -> list[tuple[Genome, list[Node]]]:
        """So many new genomes, fewer where few are found, each with the nodes on the way to it, which were visited."""
        found: dict[str, tuple[Genome, list[Node]]] = {}
        for _ in range(number + TRIES):
            path = [root]

            def decide(decision: Decision, path: list[Node] = path) -> int:
                place = self._decided(path[-1], decision, options, rng)
                path.append(path[-1].below(place))
                return place

            genome = self.coded.derive(decide)
            for node in path:
                node.merit += node.mean
                node.visits += 1
            if genome.digest not in found and self.is_open(genome, taken):
                found[genome.digest] = (genome, path)
                if len(found) == number:
                    break
        return list(found.values())

    def _decided(self, node: Node, decision: Decision, options: Options, rng: np.random.Generator) -> int:
        """The place of the option to take."""
        many = len(decision.options)
        taken = options.get(decision.what, Counter())
        children = node.children
        if len(children) < min(many, 1 + math.floor(node.visits**self.widening)):
            return _drawn(decision, taken, rng)
        bounds, total = decision.bounds, TRUST + taken.total()

        def worth(place: int) -> float:
            child = children[place]
            share = (bounds[place + 1] - bounds[place]) / bounds[many]
            likely = (TRUST * share + taken[decision.options[place]]) / total
            return child.mean + self.exploration * likely * math.sqrt(node.visits) / (1 + child.visits)

        return max(children, key=worth)

    def _grow(self) -> None:
        """Takes the trials into the tree that have ended since the last time."""
        for trial in self.ended[len(self._tree) :]:
            self._tree.add(self._made(trial.proposal.genome))
            self._derived.pop(trial.proposal.genome.digest)

    def _valued(self, losses: np.ndarray, running: Sequence[Proposal]) -> Node:
        """The tree of all trials."""
        behind = np.where(np.isfinite(losses), losses, np.inf)
        merits = 1 - np.searchsorted(np.sort(behind), behind) / len(behind)
        root = self._tree.valued(np.where(np.isfinite(losses), merits, 0.0))
        for proposal in running:
            for node in root.way(self._made(proposal.genome)):
                node.merit += node.mean
                node.visits += 1
        return root

    def _learned(self, losses: np.ndarray) -> Options:
        """What the best trials decided."""
        measured = int(np.isfinite(losses).sum())
        order = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")
        return self._tree.options(order[: measured // LEARNED].tolist())

    def _made(self, genome: Genome) -> list[Made]:
        """What was decided on the way to a genome."""
        made = self._derived.get(genome.digest)
        if made is None:
            decisions = self.coded.decisions(genome)
            made = [Made(decision.what, decision.options[place], place) for decision, place in decisions]
            self._derived[genome.digest] = made
        return made


def _drawn(decision: Decision, taken: Counter[Hashable], rng: np.random.Generator) -> int:
    """An option by the grammar's law, or one that was taken, by how often it was."""
    allowed = [option for option in taken if option in decision.options]
    counts = [taken[option] for option in allowed]
    at = rng.random() * (TRUST + sum(counts))
    for option, count in zip(allowed, counts, strict=True):
        if at < count:
            return decision.options.index(option)
        at -= count
    bounds = decision.bounds
    return min(bisect(bounds, int(rng.random() * bounds[-1])), len(decision.options)) - 1
