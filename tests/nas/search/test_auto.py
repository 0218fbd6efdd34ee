import dataclasses

import pytest

import nas
import nas.search
import spaces
from nas.config import Section
from nas.report.data import status
from nas.report.tables import console, print_status
from nas.search.auto import FOLLOWED, MANY, pick
from nas.search.testing import strategy_checks
from nas.setup import configure, prepare
from nas.types import Fidelity, InvalidInput, Objective

SPACE = spaces.load("nasbench201")
SMALL = spaces.ProductSpace("small", {"a": spaces.choice(1, 2), "b": spaces.choice(1, 2, 3)}, SPACE.io)
LOSS = (Objective("loss", "min"),)
AIMS = (*LOSS, Objective("size", "min"))
MANY_AIMS = tuple(Objective(str(number), "min") for number in range(FOLLOWED + 1))


class Opaque:
    """A space that does not say what stands in its graphs."""

    def __init__(self, space):
        self.sample, self.mutate, self.name = space.sample, space.mutate, "opaque"


def auto(space=SPACE, objectives=LOSS, seed=0, **options):
    return nas.search.load("auto", space=space, objectives=objectives, seed=seed, **options)


@pytest.mark.slow
@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
def test_conformance(check):
    check(lambda space, objectives, seed: auto(space, objectives, seed, trials=40), SPACE)


@pytest.mark.parametrize(
    "asked, name, because",
    [
        ({}, "bayesian", "one objective and 100 trials a surrogate"),
        ({"trials": 1}, "bayesian", "one objective and 1 trial a"),
        ({"trials": MANY + 1}, "evolution", "5,001 trials are so many"),
        ({"space": SMALL, "trials": MANY + 1}, "bayesian", "one objective and 6 genomes in all a surrogate"),
        ({"trials": 100_000}, "evolution", "15,625 genomes in all are so many"),
        ({"objectives": AIMS}, "bayesian", "loss and size as objectives and 100 trials a surrogate"),
        ({"objectives": AIMS, "trials": MANY + 1}, "nsga2", "5,001 trials are so many"),
        ({"objectives": AIMS, "space": Opaque(SPACE)}, "nsga2", "space 'opaque' does not say"),
        (
            {"objectives": MANY_AIMS[:FOLLOWED]},
            "bayesian",
            "3 and 4 as objectives and 100 trials a surrogate",
        ),
        ({"objectives": MANY_AIMS}, "nsga2", "the volume that 6 objectives dominate"),
        ({"screened": True}, "evolution", "a predictor is given"),
        ({"space": Opaque(SPACE)}, "evolution", "space 'opaque' does not say"),
    ],
)
def test_what_is_picked_and_why(asked, name, because):
    picked = pick(**{"space": SPACE, "objectives": LOSS, "trials": 100, **asked})
    assert picked.name == name
    assert because in picked.because
    assert nas.search.options(name, picked.options)["initial" if name == "bayesian" else "population"] >= 2


@pytest.mark.parametrize("trials", [1, 4, 5, 19, 20, 100, 100_000])
def test_every_number_of_trials_makes_a_strategy(trials):
    for space in (SPACE, Opaque(SPACE)):
        assert len(auto(space, trials=trials).ask(1)) == 1


def test_many_objectives_are_followed_by_directions():
    assert auto(objectives=MANY_AIMS).selection == "directions"


def test_what_was_chosen_is_taken():
    given = {"chosen": {"name": "evolution", "population": 7}, "because": "it was"}
    assert auto(**given).population == 7
    found = nas.search.settled("auto", given, space=SPACE, objectives=LOSS)
    assert found["chosen"] == {"name": "evolution", **nas.search.options("evolution", {"population": 7})}
    assert found["because"] == "it was"


@pytest.mark.parametrize(
    "chosen, message",
    [
        (
            {"name": "auto"},
            '\'strategy.chosen.name\' must be the name of a strategy other than "auto", got "auto"',
        ),
        ({}, "'strategy.chosen.name' must be the name of a strategy"),
        ({"name": "evolutoin"}, "unknown strategy 'evolutoin', did you mean 'evolution'?"),
        ({"name": "evolution", "populaton": 3}, "did you mean 'strategy.population'?"),
    ],
)
def test_errors(chosen, message):
    with pytest.raises(InvalidInput) as error:
        auto(chosen=chosen)
    assert message in str(error.value)


def test_options_of_a_strategy_that_is_not_named():
    with pytest.raises(InvalidInput, match=r"unknown key 'strategy\.population': \"auto\" chooses"):
        auto(population=3)


@pytest.fixture
def left_to_auto(campaign_file):
    """A campaign file without [strategy]."""
    path = campaign_file(**{"strategy.name": None, "strategy.population": None, "strategy.tournament": None})
    path.write_text(path.read_text().replace("[strategy]\n", ""))
    return path


def test_a_campaign_freezes_and_tells_what_was_chosen(left_to_auto, tmp_path, capsys):
    folder = tmp_path / "run"
    result = nas.run(left_to_auto, dir=folder)
    facts = status(result)
    assert facts["strategy"] == "bayesian"
    assert facts["because"] == "with one objective and 6 trials a surrogate makes the most of each"
    print_status(nas.load(folder), console())
    assert f"strategy bayesian: {facts['because']}" in capsys.readouterr().out
    frozen = nas.load(folder).config.strategy
    assert frozen.options["chosen"]["name"] == "bayesian"
    assert frozen.options["chosen"]["initial"] == 2

    # With more trials another choice would be made; the campaign goes on with the one that it began with.
    left_to_auto.write_text(left_to_auto.read_text().replace("trials = 6", "trials = 8"))
    more = configure(left_to_auto)
    assert prepare(more).config.strategy != frozen
    assert prepare(more, folder).config.strategy == frozen
    assert len(nas.run(left_to_auto, dir=folder).trials) == 8
    assert nas.load(folder).config.strategy == frozen


def test_a_frozen_configuration_is_a_campaign(left_to_auto):
    config = prepare(configure(left_to_auto)).config
    assert prepare(config).config == config
    changed = dataclasses.replace(
        config, strategy=Section("auto", {**config.strategy.options, "because": "I say so"})
    )
    assert prepare(changed).config.strategy.options["because"] == "I say so"


def test_the_fidelity_is_handed_on():
    assert auto(fidelity=Fidelity(3, "epochs")).ask(1)[0].fidelity == Fidelity(3, "epochs")
