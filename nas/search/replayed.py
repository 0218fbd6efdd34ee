"""Algorithms that change whenever they are asked, as strategies that follow from the log."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.search.history import TRIES, HistoryStrategy
from nas.search.losses import label
from nas.types import Ended, Event, Fidelity, Finished, InvalidInput, Objective, Proposal, Proposed, Trial
from spaces import Genome, Space


@dataclass(slots=True)
class _Suggested:
    """A genome, and what the algorithm calls it, once for each time that it suggested its network."""

    genome: Genome
    handles: list[Any]


class Replayed(HistoryStrategy):
    """A strategy around an algorithm with a state of its own, which other libraries' algorithms have.

    The algorithm begins anew as a function of the seed, and is asked and told in the order of the log. Suggestions that
    were asked for but did not become the next proposals of the log are taken back by beginning anew, as the state
    has moved on; campaigns log all that they ask for. A network that is suggested again is not
    trained again: the algorithm is told what its trial gave, as soon as that is known.

    Subclasses give `begin`, `suggest` and `report`, and where that is not the loss, what is `learned` of a trial.
    """

    screenable = False

    def __init__(self, space: Space, objectives: Sequence[Objective], seed: int, fidelity: Fidelity) -> None:
        super().__init__(space, objectives, seed, fidelity)
        self._log: list[Event] = []
        self._begun = False
        self._seen = 0
        self._ahead: list[_Suggested] = []
        self._suggested: dict[str, _Suggested] = {}
        self._learned: dict[str, Any] = {}

    @abstractmethod
    def begin(self) -> None:
        """Makes the algorithm, as if nothing had been asked or told."""

    @abstractmethod
    def suggest(self) -> tuple[Any, Genome]:
        """A genome, and what to call it in `report`.

        Raises:
            Finished: the algorithm has no more.
        """

    @abstractmethod
    def report(self, handle: Any, loss: Any) -> None:
        """Tells the algorithm what was `learned` of a suggestion."""

    def learned(self, trial: Trial) -> Any:
        """What the algorithm is told of a trial, its loss; None: it failed, or breaks a constraint."""
        value = label(trial, self.objectives)
        return None if np.isnan(value) else value

    def tell(self, event: Event) -> None:
        super().tell(event)
        self._log.append(event)

    def propose(
        self, k: int, rng: np.random.Generator, taken: set[str], running: Sequence[Proposal]
    ) -> Proposal:
        self._catch_up()
        ahead = k - len(self.proposals)
        while len(self._ahead) <= ahead:
            try:
                self._ahead.append(self._next())
            except Finished:  # the log has no trace of what was asked in vain
                self._begun = False
                raise
        return self.proposal(k, self._ahead[ahead].genome, type(self).__name__)

    def _catch_up(self) -> None:
        """Brings the algorithm to the end of the log."""
        while not self._begun or self._seen < len(self._log):
            if not self._begun:
                self.begin()
                self._begun, self._seen = True, 0
                self._ahead, self._suggested, self._learned = [], {}, {}
                continue
            event = self._log[self._seen]
            self._seen += 1
            if isinstance(event, Proposed):
                self._proposed(event.proposal)
            elif isinstance(event, Ended):
                if self._ahead:
                    self._begun = False
                else:
                    self._ended(event.trial)

    def _proposed(self, proposal: Proposal) -> None:
        suggested = self._ahead.pop(0) if self._ahead else self._next()
        if suggested.genome.digest != proposal.genome.digest:
            raise InvalidInput(
                f"proposal {proposal.id} of the log is {proposal.genome.text}, but {type(self).__name__} suggests "
                f"{suggested.genome.text}: its algorithm must follow from its seed alone, and the log from the same "
                "versions"
            )

    def _ended(self, trial: Trial) -> None:
        digest = trial.proposal.genome.digest
        self._learned[digest] = self.learned(trial)
        for handle in self._suggested[digest].handles:
            self.report(handle, self._learned[digest])

    def _next(self) -> _Suggested:
        """The next suggestion of a new network."""
        for _ in range(TRIES):
            handle, genome = self.suggest()
            known = self._suggested.get(genome.digest)
            if known is None:
                known = self._suggested[genome.digest] = _Suggested(genome, [handle])
                return known
            if genome.digest in self._learned:
                self.report(handle, self._learned[genome.digest])
            else:
                known.handles.append(handle)
        raise Finished(f"{type(self).__name__} repeated networks that were proposed {TRIES} times in a row")
