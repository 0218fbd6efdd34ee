import itertools

import numpy as np
import pytest

import spaces
from spaces import InvalidGenome, NoNeighbour, ProductSpace, choice
from tests.spaces.helpers import refusal

FIELDS = {
    "kernel": choice("rbf", "linear", "poly"),
    "degree": choice(1, 2, 3, 4, 5, ordered=True),
    "shift": choice(None),
    "scaled": choice(True, False),
}
SPACE = ProductSpace("svm", FIELDS, spaces.vector(4))
SIZES = (3, 5, 1, 2)


def test_numbers_may_be_written_in_other_ways():
    space = spaces.ProductSpace(
        "p", {"x": choice(0.0, 0.1, 2, "1"), "y": choice(True, False)}, spaces.vector(1)
    )
    assert space.parse("p(x=0, y=true)") == space.parse("p(x=0.0, y=true)")
    assert space.parse("p(x=1e-1, y=true)").text == "p(x=0.1, y=true)"
    assert space.genome(x=2.0, y=True).text == "p(x=2, y=true)"
    for text in ("p(x=1, y=true)", "p(x=0.2, y=true)", "p(x=0.1, y=1)"):
        with pytest.raises(InvalidGenome, match="is not allowed"):
            space.parse(text)


def test_a_space_with_its_own_constructor_moves():
    class Own(spaces.ProductSpace):
        def __init__(self):
            super().__init__("own", {"x": choice(1, 2)}, spaces.vector(1))

    space = Own()
    assert space.at(spaces.vector(3)).io == spaces.vector(3)
    assert space.io == spaces.vector(1)


def own(io=None, folds=5):
    """A space of a user's own, with an option."""
    return ProductSpace("own", {"fold": choice(*range(folds))}, io or spaces.vector(2))


def codes(genome):
    values = SPACE.values(genome)
    return [FIELDS[key].values.index(value) for key, value in values.items()]


def test_ranks_count_the_last_field_fastest():
    assert SPACE.size == 30
    genomes = [SPACE.unrank(rank) for rank in range(SPACE.size)]
    expected = itertools.product(*(field.values for field in FIELDS.values()))
    assert [tuple(SPACE.values(genome).values()) for genome in genomes] == list(expected)
    assert [SPACE.rank(genome) for genome in genomes] == list(range(SPACE.size))
    assert [np.ravel_multi_index(codes(genome), SIZES) for genome in genomes] == list(range(SPACE.size))
    assert [genome.text for genome in genomes[:3]] == [
        "svm(kernel=rbf, degree=1, shift=none, scaled=true)",
        "svm(kernel=rbf, degree=1, shift=none, scaled=false)",
        "svm(kernel=rbf, degree=2, shift=none, scaled=true)",
    ]


@pytest.mark.parametrize("rank", [-1, 30])
def test_ranks_of_no_genome(rank):
    assert refusal(SPACE.unrank, rank) == f"rank {rank} is not from 0 to 29, the genomes of 'svm'"


def test_ranks_from_numpy():
    genome = SPACE.unrank(np.int64(7))
    assert genome == SPACE.unrank(7)
    assert type(SPACE.rank(genome)) is int


def test_values_from_numpy():
    values = {"kernel": np.str_("rbf"), "degree": np.int64(2), "shift": None, "scaled": np.bool_(False)}
    genome = SPACE.genome(**values)
    assert genome.text == "svm(kernel=rbf, degree=2, shift=none, scaled=false)"
    assert {type(value) for value in SPACE.values(genome).values()} == {str, int, type(None), bool}


def test_draws_are_all_equally_likely():
    rng = np.random.default_rng(0)
    counts = np.bincount([SPACE.rank(SPACE.sample(rng, size=3)) for _ in range(6000)], minlength=SPACE.size)
    assert counts.min() > 150
    assert counts.max() < 250


def test_mutations_change_one_field():
    assert list(SPACE.mutations) == ["change", "resample"]
    rng = np.random.default_rng(0)
    steps = {key: set() for key in FIELDS}
    for _ in range(1000):
        parent = SPACE.sample(rng)
        old, new = codes(parent), codes(SPACE.mutate(parent, rng))
        changed = [k for k in range(4) if old[k] != new[k]]
        assert len(changed) == 1
        steps[list(FIELDS)[changed[0]]].add((old[changed[0]], new[changed[0]]))
    assert [len(of) for of in steps.values()] == [size * (size - 1) for size in SIZES]


@pytest.mark.parametrize("name", ["change", "resample"])
def test_ordered_fields_move_to_a_neighbour_or_anywhere(name):
    rng = np.random.default_rng(0)
    steps = {key: set() for key in FIELDS}
    for _ in range(1000):
        parent = SPACE.sample(rng)
        old, new = codes(parent), codes(SPACE.mutations[name](parent, rng))
        (changed,) = [k for k in range(4) if old[k] != new[k]]
        steps[list(FIELDS)[changed]].add((old[changed], new[changed]))
    assert steps["kernel"] == set(itertools.permutations(range(3), 2))
    assert steps["scaled"] == {(0, 1), (1, 0)}
    everywhere = set(itertools.permutations(range(5), 2))
    beside = {(a, b) for a, b in everywhere if abs(a - b) == 1}
    assert steps["degree"] == (beside if name == "change" else everywhere)


def test_crossover_takes_each_field_from_a_parent():
    rng = np.random.default_rng(0)
    a = SPACE.genome(kernel="rbf", degree=1, shift=None, scaled=True)
    b = SPACE.genome(kernel="poly", degree=4, shift=None, scaled=False)
    children = {SPACE.crossover(a, b, rng) for _ in range(200)}
    mixed = itertools.product(*zip(codes(a), codes(b), strict=True))
    ranks = {int(np.ravel_multi_index(code, SIZES)) for code in mixed}
    assert {SPACE.rank(child) for child in children - {None}} == ranks - {SPACE.rank(a)}
    assert None in children
    assert SPACE.crossover(a, a, rng) is None


def test_a_single_genome_has_no_neighbour():
    space = ProductSpace("one", {"a": choice(1), "b": choice("x")}, spaces.vector(1))
    genome = space.unrank(0)
    assert space.size == 1
    assert space.sample(np.random.default_rng(0)) == genome
    assert all(move(genome, np.random.default_rng(0)) is None for move in space.mutations.values())
    with pytest.raises(NoNeighbour) as error:
        space.mutate(genome, np.random.default_rng(0))
    assert str(error.value) == "no mutation of space 'one' changes one(a=1, b=x): none can be made"
    assert space.redrawn.total() == 0


def test_mutants_equal_to_their_parent_are_drawn_again():
    class Even(ProductSpace):
        """What differs in `seed` alone is one network."""

        def canonical(self, code):
            return str(code[0])

    space = Even("even", {"width": choice(1, 2), "seed": choice(*range(9))}, spaces.vector(1))
    rng = np.random.default_rng(0)
    for rank in range(space.size):
        genome = space.unrank(rank)
        mutant = space.mutate(genome, rng)
        assert mutant.digest != genome.digest
        assert space.values(mutant)["seed"] == space.values(genome)["seed"]
    assert space.redrawn["change"] > 0
    assert space.redrawn["resample"] > 0
    assert len({space.unrank(rank).digest for rank in range(space.size)}) == 2


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("bare", {}, "space 'bare' has no fields"),
        ("odd", {"c": (1, 2)}, "space 'odd': field 'c' is (1, 2), but must be a choice"),
        (
            "odd",
            {"rate": spaces.real(0.1, 1.0)},
            "space 'odd': field 'rate' is Real(low=0.1, high=1.0, log=False), but must be a choice",
        ),
        (
            "my-space",
            {"c": choice(1, 2)},
            "space 'my-space': 'my-space' is no name, and could not be read back from a text",
        ),
        (
            "odd",
            {"n units": choice(1, 2)},
            "space 'odd': 'n units' is no name, and could not be read back from a text",
        ),
    ],
)
def test_fields_that_make_no_space(name, fields, message):
    assert refusal(ProductSpace, name, fields, spaces.vector(1)) == message


def test_words_of_all_kinds_are_read_back():
    words = (None, "None", True, "yes", 1, 1.0, "1", -2, 1e-30, "a b", 'say "x"', "", "é", "x=(1)")
    space = ProductSpace("words", {"word": choice(*words)}, spaces.vector(1))
    for word in words:
        genome = space.genome(word=word)
        value = space.values(space.parse(genome.text))["word"]
        assert value == word
        assert type(value) is type(word)


def test_what_a_plain_product_does_not_say():
    genome = SPACE.unrank(0)
    assert refusal(SPACE.cost, genome) == "space 'svm' does not say what its genomes cost"
    assert refusal(SPACE.build, genome) == "space 'svm' does not say how its genomes are built"
    assert refusal(SPACE.architecture, "x") == "space 'svm' has no architecture 'x'; allowed: none"


def test_the_graph_of_a_plain_product_is_one_operator():
    graph = SPACE.graph(SPACE.unrank(0))
    assert graph.operators == ("input", "svm", "output")
    assert graph.choices == ({}, {"kernel": "rbf", "degree": 1, "shift": None, "scaled": True}, {})
    assert SPACE.operators == {"svm": FIELDS}


def test_genomes_of_another_process_or_space():
    other = ProductSpace("svm", FIELDS, spaces.vector(4))
    foreign = other.unrank(11)
    assert SPACE.rank(foreign) == 11
    SPACE.check(foreign)
    restored = spaces.Genome.restore(foreign.text, foreign.digest)
    assert SPACE.values(restored) == other.values(foreign)
    message = "the genome is 'own', but those of this space are 'svm'"
    assert refusal(SPACE.check, own().unrank(0)) == message
    assert refusal(SPACE.rank, own().unrank(0)) == message


def test_the_same_space_at_another_input():
    space = SPACE.at(spaces.vector(7, outputs=2))
    assert space.io == spaces.vector(7, outputs=2)
    assert (space.name, space.fields) == (SPACE.name, SPACE.fields)
    assert repr(space) == "ProductSpace('svm', VectorIO(features=7, outputs=2))"


@pytest.mark.parametrize(
    "make, options, message",
    [
        (spaces.image, {"height": 0}, "image: height = 0, but it must be an integer of at least 1"),
        (spaces.image, {"channels": -3}, "image: channels = -3, but it must be an integer of at least 1"),
        (spaces.image, {"width": 2.0}, "image: width = 2.0, but it must be an integer of at least 1"),
        (spaces.image, {"classes": "10"}, "image: classes = '10', but it must be an integer of at least 1"),
        (spaces.vector, {"features": 0}, "vector: features = 0, but it must be an integer of at least 1"),
        (
            spaces.vector,
            {"features": True},
            "vector: features = True, but it must be an integer of at least 1",
        ),
        (
            spaces.vector,
            {"features": 2, "outputs": None},
            "vector: outputs = None, but it must be an integer of at least 1",
        ),
        (spaces.tokens, {"vocab": 0}, "tokens: vocab = 0, but it must be an integer of at least 1"),
    ],
)
def test_inputs_and_outputs_that_cannot_be(make, options, message):
    assert refusal(make, **options) == message


def test_loading():
    assert type(spaces.load("mlp")).__name__ == "MLP"
    assert spaces.load("mlp", spaces.vector(3, 2)).io == spaces.vector(3, 2)
    assert spaces.load("nasbench201", io=spaces.image(classes=7)).io == spaces.image(classes=7)
    assert refusal(spaces.load, "mlp", nodes=5) == "space 'mlp' has no limit 'nodes'; allowed: none"
    assert refusal(spaces.load, "hybrid", spaces.image(1, 2, 3, 4)) == (
        "space 'hybrid' reads tokens, but it was given ImageIO(channels=1, height=2, width=3, classes=4)"
    )


def test_loading_a_space_of_ones_own(monkeypatch):
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    name = "test_product:own"
    assert spaces.load(name).io == spaces.vector(2)
    space = spaces.load(name, spaces.vector(5), folds=3)
    assert (space.size, space.io) == (3, spaces.vector(5))
    assert (
        refusal(spaces.load, name, fold=3)
        == f"space '{name}' has no limit 'fold', did you mean 'folds'? allowed: folds"
    )
