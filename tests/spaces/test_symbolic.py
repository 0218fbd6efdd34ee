import itertools
import json
import threading

import numpy as np
import pyglove as pg
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import nn

import spaces
from spaces import InvalidGenome, InvalidSpace, NoNeighbour, symbolic
from spaces.cost import Cost
from spaces.testing import check_builds_and_trains, space_checks


@pg.members([("width", pg.typing.Int()), ("rate", pg.typing.Float(default=0.1))])
class Conv(pg.Object):
    pass


def nested():
    """A program with everything that a program may hold."""
    return pg.Dict(
        layers=pg.manyof(2, ["pool", Conv(pg.oneof([16, 32])), Conv(8), None]),
        activations=pg.manyof(2, ["relu", "gelu"], distinct=False),
        widths=pg.manyof(2, [8, 16, 24], distinct=False, sorted=True),
        order=pg.permutate(["norm", "norm", "mix"]),
        optimizer=pg.oneof(
            [
                pg.Dict(name="sgd", momentum=pg.floatv(0.0, 0.9)),
                pg.Dict(name="adam", betas=[0.9, pg.oneof([0.95, 0.999])]),
            ]
        ),
        lr=pg.floatv(1e-4, 1e-1, "log"),
    )


def many_of(inner):
    """A `manyof` of any kind over up to four candidates."""

    def make(candidates, number, distinct, ordered):
        number = min(number, len(candidates)) if distinct else number
        return pg.manyof(number, candidates, distinct=distinct, sorted=ordered)

    candidates = st.lists(inner, min_size=1, max_size=4)
    return st.builds(make, candidates, st.integers(1, 3), st.booleans(), st.booleans())


constants = st.sampled_from([0, 1, 2.5, True, None, "conv", "a b", "9"])
programs = st.recursive(
    constants,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(pg.oneof),
        many_of(inner),
        st.lists(constants, min_size=1, max_size=4).map(pg.permutate),
        st.dictionaries(st.sampled_from(["a", "b", "place", "repeat"]), inner, min_size=1, max_size=2).map(
            pg.Dict
        ),
        st.lists(inner, min_size=1, max_size=2).map(pg.List),
    ),
    max_leaves=8,
)


@settings(max_examples=15, deadline=None)
@given(programs)
def test_genomes_are_the_dnas_of_a_program(program):
    program = pg.Dict(x=program)
    spec = pg.dna_spec(program)
    assume(spec.space_size <= 24 and not pg.template(program).is_constant)
    space = symbolic.space(program)
    dnas = list(spec.iter_dna())
    genomes = [space.genome(dna) for dna in dnas]
    assert space.size == spec.space_size == len(dnas) == len(set(genomes))
    assert {space.unrank(rank) for rank in range(space.size)} == set(genomes)
    by_digest: dict[str, str] = {}
    for dna, genome in zip(dnas, genomes, strict=True):
        assert space.dna(genome) == dna
        value = space.value(genome)
        assert pg.eq(value, pg.materialize(program, dna))
        written = pg.to_json_str(value)
        assert by_digest.setdefault(genome.digest, written) == written
        assert pg.eq(space.value(space.genome_of(value)), value)
    assert len(by_digest) == len(set(by_digest.values()))


@pytest.mark.parametrize("check", space_checks, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ["nested", "finite"])
def test_conformance(name, check):
    finite = pg.Dict(ops=pg.manyof(3, list("abcde")), net=pg.oneof([Conv(pg.oneof([1, 2, 3])), "skip"]))
    check(symbolic.space({"nested": nested(), "finite": finite}[name]))


def perceptron(value):
    """The network of a program of widths, for vectors of 4 features."""
    sizes = [4, *value.widths]
    layers = [
        part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), getattr(nn, value.act)())
    ]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))


def cost(value):
    sizes = [4, *value.widths, 1]
    parameters = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    return Cost(parameters, parameters, 2 * sum(a * b for a, b in itertools.pairwise(sizes)), 0)


def test_programs_say_what_they_cost_and_build():
    program = pg.Dict(
        widths=pg.manyof(2, [8, 16, pg.oneof([24, 32])], distinct=False), act=pg.oneof(["ReLU", "Tanh"])
    )
    space = symbolic.space(program, name="mlp", io=spaces.vector(4), build=perceptron, cost=cost)
    check_builds_and_trains(space)
    assert space.at(spaces.vector(4, 2)).io == spaces.vector(4, 2)
    graph = space.graph(space.parse("mlp(widths=[widths_8(), widths_2(value=32)], act=Tanh)"))
    assert graph.operators == ("input", "widths_8", "widths_2", "mlp", "output")


def test_texts_read_as_the_program_does():
    space = symbolic.space(nested())
    text = (
        "program(layers=layers(first=Conv_2(place=0, rest=layers_none(place=0, rest=end()))), "
        "activations=[gelu(), relu()], widths=widths(first=widths_8(rest=widths_8(rest=end()))), "
        "order=order(first=norm(place=0, rest=norm_2(place=1, rest=mix(place=1, rest=end())))), "
        "optimizer=optimizer_1(betas_1=0.95), lr=0.01)"
    )
    assert space.parse(text).text == text
    assert pg.eq(
        space.value(space.parse(text)),
        pg.Dict(
            layers=[None, Conv(8)],
            activations=["gelu", "relu"],
            widths=[8, 8],
            order=["norm", "mix", "norm"],
            optimizer=pg.Dict(name="adam", betas=[0.9, 0.95]),
            lr=0.01,
        ),
    )


def test_equal_candidates_give_equal_digests():
    space = symbolic.space(pg.permutate(["a", "a", "b"]))
    genomes = [space.unrank(rank) for rank in range(space.size)]
    assert len(genomes) == 6
    assert len({genome.digest for genome in genomes}) == 3
    for genome in genomes:
        found = space.genome_of(space.value(genome))
        assert found.digest == genome.digest
        assert sorted(space.dna(found).to_numbers()) == [0, 1, 2]
    same = symbolic.space(pg.permutate(["a", "a"]))
    with pytest.raises(NoNeighbour):
        same.mutate(same.unrank(0), np.random.default_rng(0))


@pytest.mark.parametrize(("distinct", "ordered"), [(True, True), (True, False), (False, True)])
def test_sets_of_picks_are_equally_likely(distinct, ordered):
    space = symbolic.space(pg.manyof(3, list("abcde"), distinct=distinct, sorted=ordered))
    rng = np.random.default_rng(0)
    for draw in (space.sample, lambda rng: space.decode(rng.random(space.dimensions))):
        ranks = [space.rank(draw(rng)) for _ in range(3000)]
        assert chisquare(np.bincount(ranks, minlength=space.size)).pvalue > 0.001


def test_numbers_are_drawn_on_their_scale():
    space = symbolic.space(pg.Dict(lr=pg.floatv(1e-4, 1.0, "log"), fixed=pg.floatv(0.5, 0.5)))
    rng = np.random.default_rng(0)
    values = [space.value(space.sample(rng)) for _ in range(200)]
    assert np.mean([value.lr < 1e-2 for value in values]) == pytest.approx(0.5, abs=0.1)
    assert {value.fixed for value in values} == {0.5}
    assert space.size is None


def test_a_step_to_the_next_place_exchanges_two_picks():
    space = symbolic.space(pg.permutate(list("abcdef")))
    rng = np.random.default_rng(0)
    genome = space.sample(rng)
    for _ in range(50):
        pairs = zip(space.value(genome), space.value(space.mutations["change"](genome, rng)), strict=True)
        assert sum(before != after for before, after in pairs) == 2


def test_many_picks():
    space = symbolic.space(pg.permutate(list(range(40))))
    genome = space.sample(np.random.default_rng(0))
    assert space.size == np.prod(np.arange(1, 41, dtype=object))
    assert space.parse(genome.text).digest == genome.digest
    assert json.loads(pg.to_json_str(space.value(genome))) == list(space.value(genome))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            pg.Dict(a=1),
            "program 'program' holds no decisions: write oneof, manyof or floatv where it may vary",
        ),
        (3, "program 'program' holds no decisions: "),
        (
            pg.Dict(a=pg.evolve(pg.Dict(x=1), lambda k, v, p: v)),
            "program 'program': a Evolvable at 'a' has DNAs of its own; allowed: oneof, manyof, permutate, floatv",
        ),
        (
            pg.Dict(a=pg.oneof([1, threading.Lock()])),
            "program 'program' cannot be written for other processes: Cannot encode opaque object",
        ),
        (
            pg.permutate(list(range(150))),
            "program 'program' nests 153 productions in one another, more than the 150 of a text; a distinct or sorted "
            "manyof has one for each pick",
        ),
    ],
)
def test_programs_that_are_no_spaces(program, message):
    with pytest.raises(InvalidSpace) as error:
        symbolic.space(program)
    assert str(error.value).startswith(message)


def test_what_is_not_of_the_program():
    space = symbolic.space(pg.Dict(a=pg.oneof([1, 2]), b=pg.manyof(2, [1, 2, 3])))
    for value in (pg.Dict(a=3, b=[1, 2]), pg.Dict(a=1, b=[1, 1]), pg.Dict(a=1, b=[1]), pg.Dict(a=1), 7):
        with pytest.raises(InvalidGenome, match="program 'program' cannot become"):
            space.genome_of(value)
    with pytest.raises(InvalidGenome, match="no DNA of program 'program'"):
        space.genome(pg.DNA([0, [1, 1]]))
    with pytest.raises(InvalidSpace, match="does not say what its genomes cost"):
        space.cost(space.unrank(0))
    with pytest.raises(InvalidSpace, match="does not say how its genomes are built"):
        space.build(space.unrank(0))
