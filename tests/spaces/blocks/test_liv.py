"""Linear input-varying operators through the conformance suite of blocks: every structure, alone and sharing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from spaces.blocks.liv import Backbone
from spaces.blocks.operators import BANDED, SOFTMAX, Layer, Operator, backbone_cost, shapes
from spaces.blocks.reference.liv import backbone
from spaces.blocks.testing import BlockCase, survives_bfloat16
from tests.spaces.blocks.suite import suite

WIDTH = 16


def layer(
    operator: Operator, number: int = 0, leader: int = 0, taken: str = "", owner: int | None = None
) -> Layer:
    """A layer that applies all weights that it needs, those of `owner` where one is given."""
    letters = [letter for letter in shapes(operator, WIDTH) if letter not in taken]
    if operator.featurizer_token_mixing == 3:
        letters.append("T")
    weights = "".join(sorted(letters))
    return Layer(operator, leader, taken, weights, (number if owner is None else owner,) * len(weights))


def case(name: str, *layers: Layer) -> BlockCase:
    return BlockCase(
        name,
        lambda width: Backbone(width, layers),
        backbone,
        lambda context: backbone_cost(layers, WIDTH, context),
        WIDTH,
        # Scores under other functions than a softmax are written out whole.
        square=any(
            at.operator.remembers_scores
            and at.operator.sparsity != BANDED
            and at.operator.nonlinearity != SOFTMAX
            for at in layers
        ),
    )


def op(text: str) -> Operator:
    """An operator of its numbers: four of the operator, four of its featurizer, a trailing d for a difference."""
    return Operator(*map(int, text[:8]), text[8:] == "d")


ALONE = {
    "softmax attention": "21231211",
    "banded softmax, one value head for two": "22231212",
    "relu scores, dense": "21321221",
    "banded swish scores, by channel": "22411311",
    "linear attention, repeated": "21131212",
    "banded linear attention": "22121211",
    "short convolution": "32111211",
    "long convolution behind a short one": "31133221",
    "gated convolution, swish, by channel": "32421111",
    "recurrence": "41113241",
    "recurrence, relu, repeated": "41331232",
    "gated linear unit": "11421231",
    "gate by channel, repeated": "11331222",
    "difference of attentions": "21231211d",
    "difference of linear attentions": "21123321d",
    "difference of short convolutions": "32111211d",
    "difference of long convolutions": "31133222d",
    "difference of recurrences": "41113242d",
    "attention by channel, doubled and repeated": "21231122",
    "recurrence by channel": "41131142",
}


def shared(text: str, taken: str) -> tuple[Layer, ...]:
    """A leader, another operator between, and two that take from the leader."""
    operator = op(text)
    return (
        layer(operator),
        layer(op("11421211"), 1, 1),
        layer(operator, 2, 0, taken),
        layer(operator, 3, 0, taken),
    )


SHARING = {
    "keys and values": shared("21231211", "BV"),
    "keys of a band": shared("22231212", "B"),
    "values": shared("21333211", "V"),
    "linear attention's state": shared("21131212", "BV"),
    "a convolution": shared("32113211d", "BKV"),
    "a long convolution": shared("31111211", "BKV"),
    "what a convolution reads": shared("32111211", "B"),
    "a recurrence": shared("41113241d", "ABV"),
    "gated values": shared("11421231", "V"),
    "weights": tuple(layer(op("41113241"), number, number, owner=0) for number in range(3)),
}

CASES = [
    *(case(name, layer(op(text))) for name, text in ALONE.items()),
    *(case(f"sharing {name}", *layers) for name, layers in SHARING.items()),
]


@pytest.mark.parametrize("case, check", suite(CASES))
def test_block(case: BlockCase, check: Callable[[BlockCase], None]) -> None:
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_long_sequences_survive_bfloat16(case: BlockCase) -> None:
    survives_bfloat16(case, length=4096)


def test_an_operator_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="repeat factor 4 does not divide the 2 heads of width 16"):
        Backbone(WIDTH, [layer(op("21231214"))])
