"""Blocks of a user's own are held to what blocks are, before they are trained."""

import pytest
import torch
from torch import nn

import spaces
from spaces import Cost, Grammar, InvalidGrammar, choice, real
from spaces.blocks.base import Block, Whole


class Mixer(Block):
    """Blends each token with the one before it; `spoilt` changes what it gives."""

    def __init__(self, width, out=None, spoilt=lambda y: (y, None)):
        super().__init__()
        self.linear = nn.Linear(width, out or width, bias=False)
        self.spoilt = spoilt

    def forward(self, x_BLD, state=None, segments_BL=None):
        return self.spoilt(self.linear(x_BLD + nn.functional.pad(x_BLD, (0, 0, 1, -1))))


class Reverse(Mixer):
    def forward(self, x_BLD, state=None, segments_BL=None):
        return super().forward(x_BLD.flip(1))


class Normed(Mixer):
    """Its means over the batch know of later tokens, while it is trained."""

    def forward(self, x_BLD, state=None, segments_BL=None):
        y_BLD, _ = super().forward(x_BLD)
        return (y_BLD - y_BLD.mean((0, 1))), None


class Dropped(Mixer):
    def forward(self, x_BLD, state=None, segments_BL=None):
        return super().forward(nn.functional.dropout(x_BLD))


class All(Whole):
    def mixed(self, x_BLD):
        return x_BLD.flip(1)


class Refusing(Mixer):
    def forward(self, x_BLD):
        return super().forward(x_BLD)


class Summed(Mixer):
    """Adds up all tokens until each; `keep` says what is remembered of the sums."""

    def __init__(self, width, keep):
        super().__init__(width)
        self.keep = keep

    def init_state(self, batch):
        return (torch.zeros(batch, 1, 16),)

    def forward(self, x_BLD, state=None, segments_BL=None):
        (before,) = self.init_state(len(x_BLD)) if state is None else state
        sums_BLD = before + self.linear(x_BLD).cumsum(1)
        return sums_BLD, None if state is None else self.keep(sums_BLD)


def square(at, context, **choices):
    return Cost(at.width**2, at.width**2, 2 * at.width**2, 0)


def kept(at, context, **choices):
    return square(at, context) + Cost(0, 0, 0, 64)


def free(at, context, **choices):
    return Cost(0, 0, 0, 0)


def space(build, cost=square, **rules):
    grammar = Grammar("own", start="model")
    grammar.add("mine", ("model",), {"mult": choice(1, 2, 3)}, build=build, cost=cost, **rules)
    return spaces.GrammarSpace(grammar, spaces.tokens(vocab=7, width=16))


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda at, mult: 1 / 0,
            r"fails: ZeroDivisionError: division by zero \(test_own_blocks.py:\d+ in <lambda>\)",
        ),
        (lambda at, mult: None, "gives a NoneType, but must give a spaces.blocks.base.Block"),
        (lambda at, mult: nn.Linear(16, 16), "gives a Linear, but must give a spaces.blocks.base.Block"),
        (
            lambda at, mult: Mixer(16, 17),
            r"that makes \[2, 6, 17\] of x \[2, 6, 16\] \[batch, length, width\]",
        ),
        (
            lambda at, mult: Mixer(16, spoilt=lambda y: y),
            "that gives a Tensor, but must give a pair: y and a state",
        ),
        (
            lambda at, mult: Mixer(8),
            r"fails when it is called with x \[2, 6, 16\], no state and no segments: Runtime",
        ),
        (lambda at, mult: Refusing(16), "fails when it is called with .*: TypeError: Refusing.forward"),
        (
            lambda at, mult: Reverse(16),
            "a Reverse that reads ahead: another last token changes outputs before it",
        ),
        (lambda at, mult: Normed(16), "a Normed that reads ahead"),
        (
            lambda at, mult: Summed(16, lambda sums: (sums[:, :1],)),
            r"a Summed that decodes to something else: tokens by parts, from init_state\(batch\) on",
        ),
        (
            lambda at, mult: Summed(16, lambda sums: ()),
            "a Summed that fails where it goes on from a state: ValueError",
        ),
        (
            lambda at, mult: Summed(16, lambda sums: (sums[:, -1:],)),
            "a Summed whose state holds 64 bytes of a sequence after 6 tokens, but cost= says 0 at context=6",
        ),
        (lambda at, mult: All(), "gives 0 parameters, but cost= says 256"),
        (lambda at, mult: Mixer(16) if mult < 3 else None, r"\(mult=3\) gives a NoneType"),
    ],
)
def test_what_is_no_block_of_a_language_model_is_refused(build, message):
    with pytest.raises(InvalidGrammar, match=f"production 'mine': build= of mine.*{message}"):
        space(build).check_modules()


def test_blocks_pass_and_leave_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    space(lambda at, mult: Mixer(at.width)).check_modules()
    space(lambda at, mult: Dropped(at.width)).check_modules()
    space(lambda at, mult: All(), free).check_modules()
    space(lambda at, mult: Summed(at.width, lambda sums: (sums[:, -1:],)), kept).check_modules()
    assert torch.rand(1) == expected


def test_a_production_without_a_module_is_refused():
    with pytest.raises(
        InvalidGrammar, match="no module is known for production 'mine': declare it with build="
    ):
        space(None).check_modules()


def test_numbers_are_handed_on_and_what_an_own_parent_uses_is_left_to_it():
    grammar = Grammar("own", start="model")
    grammar.add(
        "scaled", ("model",), {"norm": spaces.child("norm")}, build=lambda at, norm: Mixer(16), cost=square
    )
    grammar.add("layer_norm", ("norm",), {}, build=lambda at: nn.LayerNorm(16), cost=free)
    spaces.GrammarSpace(grammar, spaces.tokens(vocab=7, width=16)).check_modules()
    grammar = Grammar("own", start="model")
    seen = []

    def build(at, scale):
        seen.append(scale)
        return Mixer(16)

    grammar.add(
        "mine",
        ("model",),
        {"scale": real(0.5, 2.0)},
        build=build,
        cost=lambda at, context: square(at, context),
    )
    spaces.GrammarSpace(grammar, spaces.tokens(vocab=7, width=16)).check_modules()
    assert set(seen) == {0.5}
