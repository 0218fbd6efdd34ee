import random
import subprocess
import sys

import numpy as np
import pyglove as pg
import pytest

import spaces
from spaces import Grammar, InvalidGenome, InvalidSpace, choice, many, symbolic
from spaces.testing import space_checks
from tests.spaces.grammars import FREE

HYBRID = spaces.load("hybrid", io=spaces.tokens(64, 32), parameters=400_000)
PRODUCT = spaces.ProductSpace(
    "svm",
    {"kernel": choice("rbf", "linear"), "log_c": choice(-1, 0, 1), "one": choice(True)},
    spaces.vector(8),
)


def recursive():
    """A grammar whose trees nest, of few genomes."""
    grammar = Grammar("recursive", start="model")
    grammar.add("stack", ("model",), {"layers": many("model", 0, 2)}, **FREE)
    grammar.add("leaf", ("model",), {"size": choice(1, 2)}, **FREE)
    return spaces.GrammarSpace(grammar, spaces.tokens(), nodes=4, operators=1)


def opened():
    """The Transformer with its first feed-forward and its repeats opened."""
    value = symbolic.program(HYBRID, HYBRID.architecture("transformer++"))
    branches = [
        pg.Dict(operator="swiglu", mult=pg.oneof([1, 2, 3])),
        pg.Dict(operator="mlp", mult=2, activation="gelu"),
    ]
    return value.rebind(
        {"layers[1].body": pg.oneof(branches), "layers[0].body.heads": pg.oneof([1, 2, 3, 4])}
    )


def test_spaces_do_not_import_pyglove():
    code = "import sys, spaces, nas; spaces.load('hybrid'); assert 'pyglove' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["hybrid", "nasbench201", "star", "einspace", "mlp"])
def test_genomes_of_any_space_are_symbolic_values(name):
    space = spaces.load(name)
    rng = np.random.default_rng(0)
    for _ in range(5):
        genome = space.sample(rng)
        value = symbolic.program(space, genome)
        assert symbolic.genome_of(space, value) == genome
        assert symbolic.genome_of(space, pg.from_json_str(pg.to_json_str(value))) == genome
        dna = symbolic.dna(space, genome)
        assert symbolic.genome(space, dna) == genome
        assert pg.eq(pg.template(symbolic.hyper(space)).decode(dna), value)


def test_values_of_a_grammar_print_differ_and_rebind():
    text = "stack(layers=[residual(body=swiglu(mult=2))], repeat=2)"
    value = symbolic.program(HYBRID, HYBRID.parse(text))
    swiglu = pg.Dict(operator="swiglu", mult=2)
    residual = pg.Dict(operator="residual", body=swiglu)
    assert pg.eq(value, pg.Dict(operator="stack", layers=[residual], repeat=2))
    changed = value.clone(deep=True).rebind({"layers[0].body.mult": 3})
    told = pg.format(pg.diff(value, changed), compact=True)
    assert told == "Dict(layers=[0=Dict(body=Dict(mult=Diff(left=2, right=3)))])"
    assert symbolic.genome_of(HYBRID, changed).text == text.replace("mult=2", "mult=3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers[0].body.mult": 7}, "layers[0].body.mult: 7 is not allowed; allowed: 1, 2, 3, 4"),
        ({"layers[0].body.operator": 7}, "layers[0].body: 'operator' is 7, but must name a production"),
        (
            {"layers[0].body.operator": "swigl"},
            "layers[0].body: 'swigl' is no mixer here, did you mean 'swiglu'? allowed: ",
        ),
        (
            {"layers[0].body.mult": pg.oneof([1, 2])},
            "layers[0].body.mult: OneOf is no value; of a program with decisions, make a space",
        ),
    ],
)
def test_values_that_are_no_genomes(change, message):
    value = symbolic.program(HYBRID, HYBRID.parse("stack(layers=[residual(body=swiglu(mult=2))], repeat=2)"))
    with pytest.raises(InvalidGenome) as error:
        symbolic.genome_of(HYBRID, value.rebind(change))
    assert str(error.value).startswith(message)


def test_products_have_the_numbers_of_their_choices():
    for rank in range(PRODUCT.size):
        genome = PRODUCT.unrank(rank)
        dna = symbolic.dna(PRODUCT, genome)
        assert dna.to_numbers() == [*divmod(rank, 3), 0]
        assert symbolic.genome(PRODUCT, dna) == genome
    with pytest.raises(InvalidGenome, match="no DNA of space 'svm'"):
        symbolic.genome(PRODUCT, pg.DNA([2, 0, 0]))


def test_pyglove_samples_and_evolves_genomes():
    drawn, again = (list(pg.random_sample(symbolic.hyper(HYBRID), 5, seed=1)) for _ in range(2))
    assert [symbolic.genome_of(HYBRID, a) for a in drawn] == [symbolic.genome_of(HYBRID, a) for a in again]
    algorithm = pg.evolution.regularized_evolution(population_size=4, tournament_size=2, seed=1)
    found = []
    for value, feedback in pg.sample(symbolic.hyper(HYBRID), algorithm, num_examples=12):
        found.append(symbolic.genome_of(HYBRID, value))
        feedback(-float(HYBRID.cost(found[-1]).parameters))
    assert len(set(found)) > 6


def test_genomes_with_ranks_are_swept_in_their_order():
    space = recursive()
    swept = [symbolic.genome_of(space, value) for value in pg.iter(symbolic.hyper(space))]
    ranks = [space.rank(genome) for genome in swept]
    assert ranks == sorted(set(ranks))
    drawn = np.random.default_rng(0)
    assert set(swept) == {space.sample(drawn) for _ in range(5000)}
    assert len(swept) < space.size  # the limit on operators leaves some out


def test_genomes_without_ranks_are_not_swept():
    space = spaces.load("einspace", nodes=20)
    with pytest.raises(NotImplementedError, match="'einspace' have no ranks"):
        symbolic.hyper(space).first_dna()
    spec = pg.dna_spec(symbolic.hyper(space))
    dna = spec.random_dna(random.Random(0))
    near = spec.random_dna(random.Random(0), previous_dna=dna)
    assert symbolic.genome(space, dna).digest != symbolic.genome(space, near).digest


def test_an_opened_genome_is_a_space_of_genomes_around_it():
    space = symbolic.space(opened(), within=HYBRID)
    rng = np.random.default_rng(0)
    found = {space.sample(rng) for _ in range(100)}
    decided = set()
    for genome in found:
        attention, feed_forward = (layer.body for layer in symbolic.program(HYBRID, genome).layers)
        decided.add((attention.heads, feed_forward.operator, feed_forward.mult))
    # Of 1 to 4 heads, 3 do not divide the 32 features.
    bodies = [("swiglu", 1), ("swiglu", 2), ("swiglu", 3), ("mlp", 2)]
    assert decided == {(heads, *body) for heads in (1, 2, 4) for body in bodies}
    assert len(found) == len({genome.digest for genome in found})
    for genome in list(found)[:5]:
        HYBRID.check(genome)
        space.check(genome)
        assert space.cost(genome) == HYBRID.cost(genome)
        model = space.build(genome)
        assert sum(p.numel() for p in model.parameters()) == space.cost(genome).parameters
    assert space.rejected > 0
    with pytest.raises(InvalidGenome, match="program 'opened' cannot become"):
        space.check(HYBRID.parse("stack(layers=[residual(body=swiglu(mult=2))], repeat=2)"))


def test_what_no_decision_makes_a_genome_is_refused():
    value = symbolic.program(HYBRID, HYBRID.architecture("transformer++"))
    with pytest.raises(
        InvalidSpace, match=r"200 draws in a row of what was opened .*mult: (9|10) is not allowed"
    ):
        symbolic.space(value.rebind({"layers[1].body.mult": pg.oneof([9, 10])}), within=HYBRID)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # PyGlove materialises every draw, in some 20 ms
@pytest.mark.parametrize("check", space_checks, ids=lambda check: check.__name__)
def test_conformance_of_what_was_opened(check):
    check(symbolic.space(opened(), within=HYBRID))
