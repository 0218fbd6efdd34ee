"""Options, checked by the annotations of what they are for: what comes out, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le

from nas.options import call_options
from nas.types import InvalidInput

if TYPE_CHECKING:
    from decimal import Decimal


def refusal(*arguments: Any) -> str:
    with pytest.raises(InvalidInput) as error:
        call_options(*arguments)
    return str(error.value)


class Strategy:
    """With annotations left as strings by the future import above."""

    def __init__(
        self,
        space: object,
        population: Annotated[int, Ge(2), Le(100)],
        rate: Annotated[float, Gt(0)] = 0.5,
        *,
        mode: Literal["fast", "good"] = "fast",
        elite: int | None = None,
        names: tuple[str, ...] = ("a",),
        pair: tuple[int, float] = (1, 2.0),
        greedy: bool = False,
        anything: Any = None,
        weights: dict[str, float] | None = None,
        inner: Strategy | None = None,
        seed: int = 0,
    ) -> None: ...


GIVEN = ("space", "seed")
ALLOWED = "population, rate, mode, elite, names, pair, greedy, anything, weights, inner"


def checked(**options: Any) -> dict[str, Any]:
    return call_options(Strategy, options, "strategy", given=GIVEN)


def test_options_are_resolved_with_defaults() -> None:
    assert checked(population=8) == {
        "population": 8,
        "rate": 0.5,
        "mode": "fast",
        "elite": None,
        "names": ("a",),
        "pair": (1, 2.0),
        "greedy": False,
        "anything": None,
        "weights": None,
        "inner": None,
    }


def test_options_come_out_as_their_types() -> None:
    resolved = checked(
        population=8, rate=1, names=["x", "y"], pair=[3, 4], elite=2, anything={"k": 1}, weights={"a": 1}
    )
    assert isinstance(resolved["rate"], float)
    assert resolved["names"] == ("x", "y")
    assert resolved["pair"] == (3, 4.0)
    assert resolved["anything"] == {"k": 1}
    assert resolved["weights"] == {"a": 1.0}


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "missing key 'strategy.population', it must be an integer >= 2 and <= 100"),
        (
            {"populaton": 3},
            f"unknown key 'strategy.populaton', did you mean 'strategy.population'? allowed: {ALLOWED}",
        ),
        ({"space": 3}, f"unknown key 'strategy.space'; allowed: {ALLOWED}"),
        ({"population": 1}, "'strategy.population' must be an integer >= 2 and <= 100, got 1"),
        ({"population": True}, "'strategy.population' must be an integer >= 2 and <= 100, got true"),
        ({"population": 2, "rate": "0.1"}, "'strategy.rate' must be a number > 0, got \"0.1\""),
        ({"population": 2, "mode": "slow"}, '\'strategy.mode\' must be "fast" or "good", got "slow"'),
        ({"population": 2, "elite": 1.5}, "'strategy.elite' must be an integer, got 1.5"),
        ({"population": 2, "names": "x"}, "'strategy.names' must be a list, each item a string, got \"x\""),
        ({"population": 2, "names": [1]}, "'strategy.names' must be a list, each item a string, got [1]"),
        (
            {"population": 2, "pair": [1]},
            "'strategy.pair' must be a list of 2: an integer, a number, got [1]",
        ),
        ({"population": 2, "greedy": 1}, "'strategy.greedy' must be true or false, got 1"),
        ({"population": 2, "weights": {"a": "b"}}, '\'strategy.weights\' must be a table, got {"a": "b"}'),
        ({"population": 2, "inner": 1}, "'strategy.inner' cannot be set here: it takes a Strategy object"),
        ({"population": {1}}, "'strategy.population' must be an integer >= 2 and <= 100, got \"{1}\""),
    ],
)
def test_which_options_are_refused(options: dict[str, Any], message: str) -> None:
    assert refusal(Strategy, options, "strategy", GIVEN) == message


def test_options_of_functions_and_dataclasses() -> None:
    def function(lr: float = 1.0, **others: Any) -> None: ...

    @dataclass(frozen=True)
    class Recipe:
        lr: Annotated[float, Gt(0)] = 1e-3
        steps: int | None = None

    assert call_options(function, {"lr": 2, "free": [1]}, "x") == {"lr": 2.0, "free": [1]}
    assert call_options(Recipe, {"steps": 4}, "recipe") == {"lr": 1e-3, "steps": 4}
    assert refusal(Recipe, {"lr": 0}, "recipe") == "'recipe.lr' must be a number > 0, got 0"
    assert refusal(lambda: None, {"a": 0}, "x") == "unknown key 'x.a'; allowed: none"


def test_an_option_whose_type_is_not_there_at_run_time() -> None:
    def mine(amount: Decimal) -> None: ...

    assert refusal(mine, {"amount": 1}, "x") == (
        "the options of 'mine' cannot be read: name 'Decimal' is not defined; "
        "the types of options must be imported at run time"
    )


def test_a_key_of_any_kind_that_is_missing() -> None:
    with pytest.raises(InvalidInput, match=r"^missing key 'task\.depth'$"):
        call_options(lambda depth: depth, {}, "task")
