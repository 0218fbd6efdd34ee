"""Reinforcement learning by small steps (Zhou et al. 2019, Auto-GNN, arXiv 1909.03184)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from nas.search.history import TRIES, HistoryStrategy, product_of
from nas.search.losses import label
from nas.search.random_search import draw
from nas.types import Ended, Event, Fidelity, Objective, Proposal, Trial
from spaces import Space
from spaces.fields import spell


class Controller(HistoryStrategy):
    """A policy that changes the best architecture so far, a component at a time, and learns which changes helped.

    As in Auto-GNN, parts of the best architecture are decided anew where the policy is least sure: a field is drawn
    by the entropy of its policy, and its value by the policy; the rest stays. The reward is by how much the trial is
    better than the one that it changed, in standard deviations of all losses, and REINFORCE (Williams 1992) follows it.
    Each field has a softmax of its own in place of Auto-GNN's recurrent encoders, and trials share no weights.

    Args:
        initial: random trials before the first change.
        lr: the step of the logits for a reward of one.

    Raises:
        InvalidInput: the space is no product of choices.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        initial: Annotated[int, Ge(1)] = 10,
        lr: Annotated[float, Gt(0)] = 0.5,
    ) -> None:
        super().__init__(space, objectives, seed, fidelity)
        self._space, self.initial, self.lr = product_of(space, "controller"), initial, lr
        self.logits = {key: np.zeros(len(field.values)) for key, field in self._space.fields.items()}
        self._losses: dict[int, float] = {}
        self._mean = self._squares = 0.0
        """Of all losses, and the sum of their squared distances from it."""
        self._best: Trial | None = None

    def tell(self, event: Event) -> None:
        super().tell(event)
        if isinstance(event, Ended):
            self._learn(event.trial)

    def _learn(self, trial: Trial) -> None:
        loss = label(trial, self.objectives)
        parents = trial.proposal.parents
        if parents and parents[0] in self._losses:  # or it failed when it was trained on, and says nothing
            spread = math.sqrt(self._squares / len(self._losses)) or 1.0
            gain = (
                -1.0 if np.isnan(loss) else float(np.clip((self._losses[parents[0]] - loss) / spread, -1, 1))
            )
            before = self._space.values(self.proposals[parents[0]].genome)
            for key, value in self._space.values(trial.proposal.genome).items():
                if value != before[key]:
                    chosen = self._space.fields[key].index[spell(value)]
                    gradient = -self.policy(key)
                    gradient[chosen] += 1
                    self.logits[key] += self.lr * gain * gradient
        if not np.isnan(loss):
            self._losses[trial.id] = loss
            away = loss - self._mean
            self._mean += away / len(self._losses)
            self._squares += away * (loss - self._mean)  # Welford 1962
            if self._best is None or loss < self._losses[self._best.id]:
                self._best = trial

    def policy(self, key: str) -> np.ndarray:
        """The probabilities of the values of a field, [K]."""
        shares = np.exp(self.logits[key] - self.logits[key].max())
        return shares / shares.sum()

    def propose(
        self, k: int, rng: np.random.Generator, taken: set[str], running: Sequence[Proposal]
    ) -> Proposal:
        best = self._best
        if k < self.initial or best is None:
            return draw(self, k, rng, taken)
        policies = {key: self.policy(key) for key, logits in self.logits.items() if len(logits) > 1}
        entropies = np.array([-(p * np.log(p + 1e-300)).sum() for p in policies.values()]) + 1e-9
        names, values = list(policies), self._space.values(best.proposal.genome)
        for attempt in range(TRIES):
            # Steps grow where the small ones are used up.
            step = min(1 + attempt * len(names) // TRIES, len(names))
            changed = rng.choice(len(names), step, replace=False, p=entropies / entropies.sum())
            drawn = dict(values)
            for key in (names[place] for place in changed):
                options = self._space.fields[key].values
                others = policies[key] * [option != values[key] for option in options] + 1e-12
                drawn[key] = options[rng.choice(len(options), p=others / others.sum())]
            genome = self._space.genome(**drawn)
            if self.is_open(genome, taken):
                return self.proposal(k, genome, f"change of {best.id}", (best.id,))
        return draw(self, k, rng, taken)
