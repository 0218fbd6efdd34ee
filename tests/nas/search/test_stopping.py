import dataclasses

import pytest

from nas.types import Ended, Measured, Measurement, Proposed, Trial
from tests.nas.search.multifidelity import drive, make, of_network


def reported(strategy, proposal, curve, metric="loss"):
    """Tells a trial that reports until it is stopped; at which step that was."""
    strategy.tell(Proposed(proposal))
    for step, loss in enumerate(curve, start=1):
        measurement = Measurement(step, {metric: loss})
        proceed = strategy.proceed(proposal.id, measurement)
        strategy.tell(Measured(proposal.id, measurement, proceed))
        if not proceed:
            strategy.tell(Ended(Trial(proposal, "stopped", {metric: loss})))
            return step
    strategy.tell(Ended(Trial.done(proposal, {"loss": curve[-1]})))
    return None


@pytest.mark.parametrize("metric", ["loss", "train_loss"])
def test_the_median_rule_stops_what_is_worse_than_most(metric):
    strategy = make("stopping", sampler="random", grace=0.3, least=3, full=9)
    for level in (1.0, 2.0, 3.0):
        (proposal,) = strategy.ask(1)
        assert reported(strategy, proposal, [level + 1 / step for step in range(1, 10)], metric) is None
    (good, bad, late) = strategy.ask(3)
    assert reported(strategy, good, [2.9, 2.8, 2.0, 1.9], metric) is None
    assert reported(strategy, bad, [9.0] * 9, metric) == 3, "the first report after the grace"
    # the running means at step 4 of the five that came so far are 1.5, 2.4, 2.5, 3.5: better than the median
    assert reported(strategy, late, [9.0, 9.0, 2.4, 2.4, 9.0, 9.0], metric) is None


def test_evolution_under_stopping_is_evolution_where_none_is_stopped():
    given = {"population": 4, "tournament": 2}
    plain = drive(make("evolution", **given), 20, of_network)
    stopped = drive(make("stopping", sampler={"name": "evolution", **given}), 20, of_network)
    assert [dataclasses.replace(trial) for trial in stopped] == plain
