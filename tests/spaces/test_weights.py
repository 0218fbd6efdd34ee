import pickle
from collections import Counter

import numpy as np
import pytest

import spaces
from spaces import Grammar, InvalidGrammar, InvalidSpace, choice, many
from spaces.weights import learned_weights


def pairs():
    grammar = Grammar("pairs", start="model")

    @grammar.production("model")
    def stack(layers=many("layer", 8, 8)): ...

    @grammar.production("layer", weight=3)
    def swiglu(mult=choice(1)): ...

    @grammar.production("layer")
    def gated_conv(kernel=choice(2)): ...

    return grammar


def shares(space, draws=300):
    rng = np.random.default_rng(0)
    counts = Counter(
        layer.production.name for _ in range(draws) for layer in space.tree(space.sample(rng)).children[0]
    )
    return {name: count / counts.total() for name, count in counts.items()}


def test_weights_in_place_of_those_of_the_grammar():
    io = spaces.tokens(16, 8)
    assert shares(spaces.GrammarSpace(pairs(), io))["swiglu"] == pytest.approx(0.75, abs=0.03)
    space = spaces.GrammarSpace(pairs(), io, weights={"gated_conv": 27})
    assert shares(space)["swiglu"] == pytest.approx(0.1, abs=0.03)
    assert space.at(spaces.tokens(16, 4)).grammar.productions["gated_conv"].weight == 27


def test_spaces_by_name_keep_their_weights():
    space = spaces.load("hybrid", weights={"attention": 0.01})
    copy = pickle.loads(pickle.dumps(space))
    assert copy.grammar.productions["attention"].weight == 0.01
    assert spaces.load("hybrid").grammar.productions["attention"].weight == 2
    rng = np.random.default_rng(0)
    drawn = " ".join(space.sample(rng).text for _ in range(200))
    assert drawn.count("body=attention(") < drawn.count("body=mamba2(") / 20


def test_weights_are_learned():
    space = spaces.GrammarSpace(pairs(), spaces.tokens(16, 8))
    layers = ["gated_conv(kernel=2)"] * 6 + ["swiglu(mult=1)"] * 2
    genomes = [space.parse(f"stack(layers=[{', '.join(layers)}])")] * 4
    weights = learned_weights(space, genomes, prior=8)
    # 24 of 32 layers are convolutions; the prior counts as 2 of 8 more. Weights keep their sum, 4.
    assert weights["gated_conv"] == pytest.approx(4 * (24 + 2) / 40)
    assert weights["swiglu"] == pytest.approx(4 * (8 + 6) / 40)
    learned = spaces.GrammarSpace(pairs(), spaces.tokens(16, 8), weights=weights)
    assert shares(learned)["gated_conv"] == pytest.approx(0.65, abs=0.03)
    assert learned_weights(space, []) == pytest.approx({"stack": 1, "swiglu": 3, "gated_conv": 1})


def test_what_a_space_draws_hardly_changes_its_weights():
    space = spaces.GrammarSpace(pairs(), spaces.tokens(16, 8))
    rng = np.random.default_rng(0)
    weights = learned_weights(space, [space.sample(rng) for _ in range(1000)])
    assert weights == pytest.approx({"stack": 1, "swiglu": 3, "gated_conv": 1}, rel=0.05)


def test_one_weight_for_several_nonterminals():
    """A model is a stack, and one in eleven layers of hybrid is: the weight follows both, by how often they occur."""
    space = spaces.load("hybrid")
    flat = space.parse(
        "stack(layers=[residual(body=swiglu(mult=1)), residual(body=swiglu(mult=1))], repeat=1)"
    )
    weights = learned_weights(space, [flat] * 50, prior=1)
    assert weights["stack"] < 0.5
    assert weights["parallel"] < 0.1
    assert weights["residual"] > 5


def test_refused():
    with pytest.raises(InvalidGrammar) as caught:
        spaces.load("hybrid", weights={"atention": 1.0})
    assert str(caught.value).startswith(
        "grammar 'hybrid': no production 'atention' to weigh, did you mean 'attention'? allowed: stack, "
    )
    with pytest.raises(InvalidGrammar) as caught:
        spaces.load("hybrid", weights={"attention": 0})
    assert str(caught.value) == (
        "grammar 'hybrid': weight of 'attention' is 0, but must be a number above 0 and at most 1e9"
    )
    for weight in ("x", True, 1e308, float("nan")):
        with pytest.raises(InvalidGrammar, match="must be a number above 0 and at most 1e9"):
            spaces.load("hybrid", weights={"attention": weight})
    with pytest.raises(InvalidGrammar) as caught:
        spaces.load("hybrid", weights=[1, 2])
    assert str(caught.value) == "grammar 'hybrid': weights are [1, 2], but must be numbers by production"
    with pytest.raises(InvalidSpace, match="prior = 0, but it must be above 0"):
        learned_weights(spaces.load("hybrid"), [], prior=0)
    with pytest.raises(
        InvalidSpace, match="weights are learned for a GrammarSpace or a FlowSpace, but 'mlp' is a MLP"
    ):
        learned_weights(spaces.load("mlp"), [])


def test_forms_of_a_flow_grammar_are_learned():
    """As many nodes of each form as there are, and eight more by the present weights."""
    space = spaces.load("einspace")
    genome = space.parse("sequential(first=computation(op=norm), second=computation(op=linear_64))")
    learned = learned_weights(space, [genome] * 10)
    rest = 8 * 0.68 / 3
    assert learned == {
        "sequential": pytest.approx((10 + rest) / 38),
        "branching": pytest.approx(rest / 38),
        "routing": pytest.approx(rest / 38),
        "computation": pytest.approx((20 + 8 * 0.32) / 38),
    }
    again = learned_weights(spaces.load("einspace", weights=learned), [])
    assert again == pytest.approx(learned)
