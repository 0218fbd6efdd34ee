import pytest

import nas
from nas.setup import configure, prepare
from nas.training.loop import Optimization
from nas.types import InvalidInput
from spaces import JointSpace


def test_a_campaign_trains_each_genome_with_its_own_hyperparameters(campaign_file, tmp_path, monkeypatch):
    trained = []
    step = Optimization.step

    def watched(self, batch):
        loss = step(self, batch)
        if self.done == 1:
            decays = {group["weight_decay"] for group in self.optimizer.param_groups}
            trained.append((self.optimizer.param_groups[0]["lr"], max(decays)))
        return loss

    monkeypatch.setattr(Optimization, "step", watched)
    said = "{lr = [0.001, 0.003], weight_decay = {low = 0.01, high = 1.0, log = true}}"
    path = campaign_file(**{"space.hyperparameters": said, "budget.trials": 16, "strategy.population": 12})
    path.write_text(path.read_text() + "\n[recipe]\nwarmup = 0.0\ndecay_to = 1.0\n")
    result = nas.run(path, dir=tmp_path / "run")
    space = prepare(configure(path)).space
    assert isinstance(space, JointSpace)
    values = [space.values(trial.proposal.genome) for trial in [*result.trials, result.best()]]
    assert trained == [(value["lr"], value["weight_decay"]) for value in values]
    assert len(set(trained)) > 3
    assert {lr for lr, _ in trained} == {0.001, 0.003}
    again = nas.run(path, dir=tmp_path / "again")
    assert [trial.proposal.genome for trial in again.trials] == [
        trial.proposal.genome for trial in result.trials
    ]
    assert nas.load(tmp_path / "run").config.space.options["hyperparameters"]["lr"] == [0.001, 0.003]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "{learning_rate = [0.001]}",
            "hyperparameter 'learning_rate' of space 'hybrid' is no setting of the recipe; allowed: lr, warmup, ",
        ),
        (
            "{weigth_decay = [0.1]}",
            "hyperparameter 'weigth_decay' of space 'hybrid' is no setting of the recipe, did you mean 'weight_decay'?",
        ),
        (
            "{lr = [0.1, 7]}",
            "hyperparameter 'lr' of space 'hybrid': 'recipe.lr' must be a number above 0, at most 1, got 7",
        ),
        (
            '{lr = ["fast"]}',
            "hyperparameter 'lr' of space 'hybrid': 'recipe.lr' must be a number, got \"fast\"",
        ),
        ("{lr = [0.1, 0.1]}", "'space.hyperparameters.lr': a choice offers the same value twice: 0.1, 0.1"),
        ("{lr = []}", "'space.hyperparameters.lr': a choice needs at least one value"),
        ("{lr = 0.1}", "'space.hyperparameters.lr' must be a list of values, or a range such as "),
        ("{lr = {low = 0.1}}", "missing key 'space.hyperparameters.lr.high', it must be a number"),
        (
            "{lr = {low = 0.1, high = 0.01}}",
            "'space.hyperparameters.lr': real(0.1, 0.01) needs finite low < high",
        ),
        ("0.1", "'space.hyperparameters' must be a table, got 0.1"),
    ],
)
def test_hyperparameters_that_cannot_be_are_refused(campaign_file, said, message):
    with pytest.raises(InvalidInput) as error:
        prepare(configure(campaign_file(**{"space.hyperparameters": said})))
    assert message in str(error.value)
