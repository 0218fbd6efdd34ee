import numpy as np
import pytest
from scipy.stats import chisquare

import spaces
from spaces import Grammar, InvalidGrammar, child, choice, many
from spaces.trees import TreeSpace, uncosted


def space(grammar, nodes=8):
    return TreeSpace(uncosted(grammar, nodes), spaces.tokens())


def test_a_grammar_may_be_declared_by_calls():
    by_calls, by_functions = Grammar("g", start="model"), Grammar("g", start="model")
    by_calls.add("stack", ("model",), {"layers": many("layer", 1, 2)})
    by_calls.add("mlp", ("layer",), {"mult": choice(1, 2)}, where=lambda at, mult: mult < 2)

    @by_functions.production("model")
    def stack(layers=many("layer", 1, 2)): ...

    @by_functions.production("layer", where=lambda at, mult: mult < 2)
    def mlp(mult=choice(1, 2)): ...

    a, b = space(by_calls), space(by_functions)
    assert a.size == b.size == 2
    assert [a.unrank(rank).digest for rank in range(2)] == [b.unrank(rank).digest for rank in range(2)]


@pytest.mark.parametrize(("name", "field"), [("a-b", "x"), ("a", "x y"), ("", "x"), ("a", "1")])
def test_names_that_a_text_could_not_have_are_refused(name, field):
    with pytest.raises(InvalidGrammar, match="is no name, and could not be read back"):
        Grammar("g", start="model").add(name, ("model",), {field: choice(1)})


def test_shares_weigh_by_what_is_inherited():
    grammar = Grammar("g", start="list", attributes={"left": 2})
    less = {"attributes": lambda at: {"left": at.left - 1}, "where": lambda at: at.left > 0}
    grammar.add("a", ("list",), {"rest": child("list")}, share=lambda at: at.left, **less)
    grammar.add("b", ("list",), {"rest": child("list")}, weight=2, share=lambda at: 1 / at.left, **less)
    grammar.add("end", ("list",), {}, where=lambda at: at.left == 0)
    made = space(grammar)
    # With two left a weighs 2 and b 1, with one left a 1 and b 2.
    expected = {"aa": 2 / 9, "ab": 4 / 9, "ba": 1 / 9, "bb": 2 / 9}
    rng = np.random.default_rng(0)
    for draw in (made.sample, lambda rng: made.decode(rng.random(made.dimensions))):
        drawn = ["".join(letter for letter in draw(rng).text if letter in "ab") for _ in range(4000)]
        counts = [drawn.count(word) for word in expected]
        assert chisquare(counts, [4000 * part for part in expected.values()]).pvalue > 0.001


def test_a_production_may_say_what_is_equal():
    grammar = Grammar("g", start="sum")

    def sum_of(node):
        return (str(sum(term.values[0] for group in node.children for term in group)),)

    grammar.add("add", ("sum",), {"terms": many("term", 2, 2)}, canonical=sum_of)
    grammar.add("number", ("term",), {"value": choice(1, 2, 3)})
    made = space(grammar)
    by_sum: dict[int, set[str]] = {}
    for rank in range(made.size):
        genome = made.unrank(rank)
        total = sum(int(digit) for digit in genome.text if digit.isdigit())
        by_sum.setdefault(total, set()).add(genome.digest)
    assert [len(by_sum[total]) for total in range(2, 7)] == [1] * 5
    assert len(set.union(*by_sum.values())) == 5
    rng = np.random.default_rng(0)
    parent = made.parse("add(terms=[number(value=1), number(value=2)])")
    other = made.parse("add(terms=[number(value=2), number(value=1)])")
    for _ in range(50):
        assert made.mutate(parent, rng).digest != parent.digest
        crossed = made.crossover(parent, other, rng)
        assert crossed is None or crossed.digest != parent.digest
