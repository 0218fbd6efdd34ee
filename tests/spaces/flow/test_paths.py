import numpy as np
import pytest
import torch

import spaces
from spaces.flow.build import build
from spaces.flow.paths import blocked

SPACE = spaces.load("einspace", spaces.image(3, 8, 4, classes=3), parameters=300_000, activations=300_000)


def difference(root):
    """By how much the outputs for two inputs differ, relative to them."""
    torch.manual_seed(0)
    model = build(root, SPACE.grammar, 3).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        one, two = model(3 * torch.randn(2, 3, 8, 4, dtype=torch.float64))
    return float((one - two).abs().max() / (one.abs().max() + two.abs().max()))


def test_blocked_networks_compute_the_same_for_every_input():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(3000):
        root = SPACE._drawer.free(
            SPACE.shape, None, SPACE._drawer.sizes.draw(40, rng, least=5), SPACE._changer.limit, (0, 1), rng
        )
        if blocked(root):
            found += 1
            assert difference(root) < 1e-12, root.text
    assert found > 40


SOFTMAX = "computation(op=softmax)"


@pytest.mark.parametrize(
    "pre, inner, post, expected",
    [
        ("identity", SOFTMAX, "identity", True),
        ("identity", SOFTMAX, "permute_132", True),
        ("identity", SOFTMAX, "permute_312", False),  # the axis of the softmax is now that of channels
        ("permute_321", SOFTMAX, "permute_321", False),
        ("im2col_1_1_0", SOFTMAX, "identity", False),  # over channels
        ("im2col_1_1_0", SOFTMAX, "permute_21", True),
        ("identity", "computation(op=linear_16)", "identity", False),
        ("identity", f"sequential(first={SOFTMAX}, second=computation(op=norm))", "identity", True),
        ("identity", f"sequential(first={SOFTMAX}, second=computation(op=linear_16))", "identity", False),
        (
            "permute_132",
            f"sequential(first={SOFTMAX}, second=routing(pre=permute_132, inner=computation(op=linear_16), post=identity))",
            "identity",
            True,
        ),
        ("identity", f"branching(fork=group_4_2, branches=[{SOFTMAX}], join=cat_4_1)", "identity", True),
        (
            "identity",
            f"branching(fork=clone_2, branches=[{SOFTMAX}, computation(op=identity)], join=add)",
            "identity",
            False,
        ),
        ("im2col_1_2_0", f"routing(pre=identity, inner={SOFTMAX}, post=col2im)", "permute_321", True),
        ("im2col_1_1_0", f"routing(pre=permute_21, inner={SOFTMAX}, post=permute_21)", "col2im", True),
    ],
)
def test_what_is_blocked(pre, inner, post, expected):
    root = SPACE.tree(SPACE.parse(f"routing(pre={pre}, inner={inner}, post={post})"))
    assert blocked(root) == expected
    assert (difference(root) < 1e-12) == expected


def test_draws_are_never_blocked_and_mutants_no_more_than_their_parents():
    rng = np.random.default_rng(1)
    for _ in range(500):
        genome = SPACE.sample(rng, size=30)
        assert not blocked(SPACE.tree(genome))
        assert not blocked(SPACE.tree(SPACE.mutate(genome, rng)))
    assert SPACE.discarded > 0


def test_limits_that_leave_no_parameters_before_the_head_are_told():
    head = 4 * (3 + 1)
    space = spaces.load("einspace", spaces.image(3, 16, 16, classes=4), nodes=5, parameters=head)
    with pytest.raises(spaces.InvalidSpace) as error:
        space.sample(np.random.default_rng(0))
    assert str(error.value) == (
        "space 'einspace': 1,000 draws of 5 nodes in a row had no parameters before the head, or none that learns of "
        "the input, or nested deeper than 150; change the limits (nodes = 5, parameters = 16, activations = 16,777,216, "
        "operators = 1,024)"
    )
    assert space.discarded == 1000
    space = spaces.load("einspace", space.io, nodes=5, parameters=head + 6)  # a norm has so many
    assert space.cost(space.sample(np.random.default_rng(0))).parameters == head + 6
