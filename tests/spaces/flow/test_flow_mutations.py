import itertools

import numpy as np
import pytest

import spaces
from spaces.flow.mutations import sites
from spaces.flow.paths import blocked

SPACE = spaces.load("einspace", spaces.image(3, 16, 16), nodes=300)
KEEP = "computation(op=identity)"


def draws(number, nodes, seed=0):
    rng = np.random.default_rng(seed)
    return [SPACE.sample_exactly(rng, nodes) for _ in range(number)]


@pytest.mark.parametrize("name", SPACE.mutations)
def test_each_mutation_is_mostly_possible_and_valid(name):
    rng = np.random.default_rng(1)
    made = changed = 0
    for genome in draws(200, 30):
        mutant = SPACE.mutations[name](genome, rng)
        if mutant is not None:
            made += 1
            changed += mutant.digest != genome.digest
            SPACE.check(mutant)
            assert not SPACE.tree(mutant).constant
    assert made > 120
    assert changed > 0.8 * made


def texts(name, text, number=200):
    """What a mutation makes of a genome."""
    rng = np.random.default_rng(2)
    made = [SPACE.mutations[name](SPACE.parse(text), rng) for _ in range(number)]
    return {genome.text for genome in made if genome is not None}


def routed(inner, pre="identity", post="identity"):
    return f"routing(pre={pre}, inner={inner}, post={post})"


def test_change_exchanges_one_terminal_and_refits_what_follows():
    made = texts("change", routed("computation(op=norm)", "permute_132", "permute_132"))
    assert routed("computation(op=linear_64)", "permute_132", "permute_132") in made
    assert routed("computation(op=norm)", "identity", "permute_132") in made
    text = f"branching(fork={{}}, branches=[computation(op=norm), {KEEP}], join=add)"
    made = texts("change", text.format("clone_2"))
    assert "branching(fork=clone_4, branches=[computation(op=norm)], join=add)" in made
    assert text.format("group_2_3") in made
    assert text.format("group_2_1") not in made  # of 3 channels
    text = "branching(fork=group_4_2, branches=[computation(op=norm)], join=add)"
    assert (
        "branching(fork=group_2_2, branches=[computation(op=norm), computation(op=norm)], join=add)"
        in texts("change", text)
    )


def test_a_changed_shape_is_followed_to_the_end():
    wide = f"sequential(first={routed('computation(op=linear_16)')}, second=computation(op=position))"
    made = texts("change", wide)
    repaired = f"sequential(first={routed('computation(op=linear_64)')}, second=computation(op=position))"
    assert repaired in made
    costs = {text: SPACE.cost(SPACE.parse(text)).parameters for text in (wide, repaired)}
    assert costs[repaired] - costs[wide] == 17 * 48 + 3 * 16 * 48  # the position has grown with its input


def test_insert_and_delete_are_each_other_s_inverse():
    text = routed("computation(op=norm)")
    layer = f"sequential(first={text}, second=branching(fork=clone_2, branches=[computation(op=norm), {KEEP}], join=add))"
    assert layer in texts("insert", text, 3000)
    assert text in texts("delete", layer)


def test_delete_swap_and_duplicate():
    a, b = routed("computation(op=norm)"), routed("computation(op=position)")
    assert texts("delete", f"sequential(first={a}, second={b})") == {a, b}
    assert texts("swap", f"sequential(first={a}, second={b})") == {f"sequential(first={b}, second={a})"}
    dot = "branching(fork=clone_2, branches=[{}, {}], join=dot)"
    one, two = "computation(op=norm)", "computation(op=position)"
    assert texts("swap", dot.format(one, two)) == {dot.format(two, one)}
    assert texts("swap", f"branching(fork=clone_2, branches=[{one}, {two}], join=add)") == set()
    assert f"sequential(first={a}, second={a})" in texts("duplicate", a)


def test_tied_branches_stay_tied():
    """A change inside a branch of 4 or 8 copies is one of all copies, and loses none of them."""
    space = spaces.load("einspace")
    rng = np.random.default_rng(3)
    vit = space.architecture("vit")
    heads = 0
    for _ in range(300):
        mutant = space.tree(space.mutate(vit, rng))
        for site in sites(mutant):
            if site.node.form == "branching":
                assert len(site.node.children) == (2 if site.node.terminals[0].ways == 2 else 1)
                heads += site.node.copies == 8
    assert heads > 1000


def test_known_networks_mutate_into_valid_ones():
    space = spaces.load("einspace")
    rng = np.random.default_rng(4)
    for name in space.named:
        genome = space.architecture(name)
        for _ in range(15):
            mutant = space.mutate(genome, rng)
            space.check(mutant)
            assert mutant.digest != genome.digest


def test_crossings_have_parameters_and_a_path_where_their_parents_do():
    space = spaces.load("einspace", nodes=60)
    rng = np.random.default_rng(5)
    genomes = [space.sample(rng) for _ in range(300)]
    crossed = [space.crossover(a, b, rng) for a, b in itertools.pairwise(genomes)]
    made = [space.tree(genome) for genome in crossed if genome is not None]
    assert len(made) > 250  # most pairs can be crossed
    assert all(root.price[0] and not blocked(root) for root in made)


def test_crossover_gives_what_the_second_has():
    rng = np.random.default_rng(5)
    genomes = draws(300, 30, seed=6)
    made = 0
    for a, b in itertools.pairwise(genomes):
        crossed = SPACE.crossover(a, b, rng)
        if crossed is not None:
            made += 1
            SPACE.check(crossed)
            assert crossed.digest != a.digest
            terms = {site.node.text for site in sites(SPACE.tree(b))}
            assert any(site.node.text in terms for site in sites(SPACE.tree(crossed)))
    assert made > 250
    narrow = SPACE.parse(routed("computation(op=linear_16)"))
    wide = SPACE.parse(routed("computation(op=linear_32)"))
    assert SPACE.crossover(narrow, wide, rng) == wide
    assert SPACE.crossover(narrow, narrow, rng) is None
