"""Multi-fidelity strategies on a small table's space, and campaigns of them without a campaign."""

import nas.search
import spaces
from nas.types import Ended, Fidelity, Objective, Proposed, Trial

SPACE = spaces.load("nasbench201")
LOSS = (Objective("loss"),)
STRATEGIES = {
    "halving": {"rungs": (1, 3)},
    "hyperband": {"rungs": (1, 3), "sampler": {"name": "evolution", "population": 4, "tournament": 2}},
    "asha": {"rungs": (1, 3)},
    "asha-eta": {
        "rungs": (2, 5),
        "eta": 2.0,
        "sampler": {"name": "evolution", "population": 4, "tournament": 2},
    },
    "asha-controller": {"rungs": (1, 3), "sampler": {"name": "controller", "initial": 3}},
    "stopping": {"sampler": {"name": "evolution", "population": 4, "tournament": 2}, "least": 2},
}


def make(name, space=SPACE, objectives=LOSS, seed=0, full=9, **more):
    options = {**STRATEGIES.get(name, {}), **more}
    return nas.search.load(
        name.partition("-")[0],
        space=space,
        objectives=objectives,
        seed=seed,
        fidelity=Fidelity(full, "epochs"),
        **options,
    )


def drive(strategy, trials, loss, workers=1):
    """Trials of a strategy that end in the order in which they were proposed; `loss` gives that of a proposal."""
    ended, running = [], []
    while len(ended) < trials:
        for proposal in strategy.ask(workers - len(running)) if len(running) < workers else []:
            strategy.tell(Proposed(proposal))
            running.append(proposal)
        proposal = running.pop(0)
        trial = Trial.done(proposal, {"loss": loss(proposal)})
        strategy.tell(Ended(trial))
        ended.append(trial)
    return ended


def of_network(proposal):
    """A loss that follows from the network, whatever its training."""
    return int(proposal.genome.digest[:8], 16) / 2**32
