"""PyGlove's algorithms as strategies, and strategies as PyGlove's algorithms (Peng et al. 2020, arXiv 2101.08809).

nas.search.load("pyglove", space=space, objectives=[...], algorithm="hill_climb")
pg.sample(symbolic.hyper(space), Searcher("evolution", space), num_examples=100)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyglove as pg

import nas.search
from nas.search.replayed import Replayed
from nas.types import Ended, Fidelity, Finished, InvalidInput, Objective, Proposal, Proposed, Trial
from spaces import Genome, Space, symbolic
from spaces.lookup import resolve

ALGORITHMS = {
    name: f"nas.search.pyglove:{name}"
    for name in ("regularized_evolution", "hill_climb", "neat", "nsga2", "random", "sweeping")
}
"""PyGlove's algorithms by name, with PyGlove's own settings."""

FAILED = 1e300
"""The loss of a failed trial: worse than all others, but finite, as "neat" takes means."""


def regularized_evolution(seed: int) -> pg.DNAGenerator:
    """Regularised evolution (Real et al. 2019, arXiv 1802.01548), of a population of 100 and tournaments of 10."""
    return pg.evolution.regularized_evolution(pg.evolution.mutators.Uniform(seed=seed), seed=seed)


def hill_climb(seed: int) -> pg.DNAGenerator:
    """The best so far is mutated."""
    return pg.evolution.hill_climb(pg.evolution.mutators.Uniform(seed=seed), seed=seed)


def neat(seed: int) -> pg.DNAGenerator:
    """Evolution of species (Stanley and Miikkulainen 2002, Evolving Neural Networks through Augmenting Topologies)."""
    return pg.evolution.neat(pg.evolution.mutators.Uniform(seed=seed), seed=seed)


def nsga2(seed: int) -> pg.DNAGenerator:
    """NSGA-II (Deb et al. 2002) of several objectives, of a population of 100."""
    return pg.evolution.nsga2(pg.evolution.mutators.Uniform(seed=seed), seed=seed)


def random(seed: int) -> pg.DNAGenerator:
    """Random draws, which may repeat."""
    return pg.geno.Random(seed=seed)


def sweeping(seed: int) -> pg.DNAGenerator:
    """All of a finite space, one after the other; the seed does not matter."""
    return pg.geno.Sweeping()


class PyGlove(Replayed):
    """An algorithm of PyGlove, on any space: see `spaces.symbolic.hyper` for how it sees the genomes.

    Its reward is the loss negated, that of what failed or breaks a constraint `FAILED` negated; a tuple of them where
    the algorithm takes several.

    Args:
        algorithm: a name of `ALGORITHMS`, or "package.module:attribute": a function that gives a `pg.DNAGenerator`
            for a seed, and that gives one that proposes the same for the same seed.

    Raises:
        InvalidInput: the algorithm is unknown or none, or cannot propose of the space, or there are several objectives
            and it follows one.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        algorithm: str = "regularized_evolution",
    ) -> None:
        self._make = resolve(algorithm, ALGORITHMS, "algorithm", InvalidInput)
        if not isinstance(made := self._make(seed), pg.DNAGenerator):
            raise InvalidInput(
                f"'strategy.algorithm' is {algorithm!r}, which gives no pg.DNAGenerator for a seed, but {made!r}"
            )
        self.several = made.multi_objective
        super().__init__(space, objectives, seed, fidelity)
        self._spec = symbolic.spec(space)
        made.setup(self._spec)
        try:
            made.propose()
        except (NotImplementedError, ValueError) as error:  # as Sweeping, where there is no order
            raise InvalidInput(
                f"'strategy.algorithm' is {algorithm!r}, which cannot propose of space {space.name!r}: {error}"
            ) from None

    def begin(self) -> None:
        self._algorithm = self._make(self.seed)
        self._algorithm.setup(self._spec)

    def suggest(self) -> tuple[Any, Genome]:
        try:
            dna = self._algorithm.propose()
        except StopIteration:
            raise Finished(
                f"{type(self._algorithm).__name__} has no more genomes of {self.space.name!r}"
            ) from None
        return dna, symbolic.genome(self.space, dna)

    def learned(self, trial: Trial) -> Any:
        if not self.several:
            return super().learned(trial)
        if super().learned(trial) is None:
            return None
        return tuple(aim.loss(trial.merits) for aim in self.aims)

    def report(self, handle: Any, loss: Any) -> None:
        if self.several:
            self._algorithm.feedback(handle, tuple(-each for each in loss or [FAILED] * len(self.aims)))
        else:
            self._algorithm.feedback(handle, -FAILED if loss is None else -loss)


@pg.members(
    [
        ("strategy", pg.typing.Str(), "A name of `nas.search.STRATEGIES`, or a user's own."),
        (
            "space",
            pg.typing.Any(),
            "What is sampled is its `symbolic.hyper`; `symbolic.space` gives that of a program.",
        ),
        (
            "metrics",
            pg.typing.List(pg.typing.Str(), min_size=1).set_default(["reward"]),
            "A name for each reward; several are those of `metrics_to_optimize`, in order.",
        ),
        ("seed", pg.typing.Int(0), "What everything random follows from."),
        ("options", pg.typing.Dict().set_default({}), "The strategy's own options."),
    ],
    init_arg_list=["strategy", "space"],
)
class Searcher(pg.DNAGenerator):
    """A strategy as an algorithm of PyGlove, for `pg.sample`; rewards are maximised.

    Recovers from the history that a backend of `pg.tuning` kept. That tells in which order trials were proposed, not
    when each ended: where several ran, it goes on from all that is known, but not always as it would have otherwise.

    Raises:
        InvalidInput: the strategy or an option is unknown, it decides for how long trials are trained, or what is
            sampled is not the space.
    """

    @property
    def multi_objective(self) -> bool:
        """Whether several rewards are followed."""
        return len(self.metrics) > 1

    def _setup(self) -> None:
        nas.search.check_in_full(self.strategy, "pg.sample's early_stopping_policy")
        if pg.ne(symbolic.spec(self.space), self.dna_spec):
            raise InvalidInput(
                f"what is sampled has other decisions than space {self.space.name!r}: sample its `symbolic.hyper`"
            )
        self._strategy = nas.search.load(
            self.strategy,
            space=self.space,
            objectives=[Objective(metric, "max") for metric in self.metrics],
            seed=self.seed,
            **self.options,
        )
        self._open: dict[str, list[Proposal]] = {}

    def _propose(self) -> pg.DNA:
        try:
            (proposal,) = self._strategy.ask(1)
        except Finished:
            raise StopIteration from None
        dna = symbolic.dna(self.space, proposal.genome)
        self._proposed(dna, proposal)
        return dna.clone(deep=True).use_spec(self.dna_spec)

    def _proposed(self, dna: pg.DNA, proposal: Proposal) -> None:
        self._strategy.tell(Proposed(proposal))
        self._open.setdefault(_key(dna), []).append(proposal)

    def _feedback(self, dna: pg.DNA, reward: float | tuple[float, ...]) -> None:
        if waiting := self._open.get(_key(dna)):
            proposal = waiting.pop(0)
            numbers = [float(each) for each in (reward if isinstance(reward, tuple) else (reward,))]
            done = Trial.done(proposal, dict(zip(self.metrics, numbers, strict=True)))
            failed = Trial(proposal, "failed", error=f"a reward of {', '.join(map(str, numbers))}")
            self._strategy.tell(Ended(done if all(map(math.isfinite, numbers)) else failed))

    def _replay(self, trial_id: int, dna: pg.DNA, reward: float | tuple[float, ...] | None) -> None:
        (proposal,) = self._strategy.ask(1)
        if symbolic.dna(self.space, proposal.genome) != dna:
            genome = symbolic.genome(self.space, dna)
            proposal = Proposal(proposal.id, genome, proposal.fidelity, proposal.seed, (), "history")
        self._proposed(dna, proposal)
        if reward is not None:
            self._feedback(dna, reward)


def _key(dna: pg.DNA) -> str:
    return str(dna.to_json_str())
