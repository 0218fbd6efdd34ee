import math
import pickle

import numpy as np
import pytest

import predictors
import spaces
from spaces import InvalidGenome, InvalidGrammar, InvalidSpace, choice, real
from spaces.pairs import hyperparameters
from spaces.testing import space_checks
from tests.spaces.grammars import FREE

SETTINGS = {"lr": choice(0.001, 0.003, 0.01, ordered=True), "weight_decay": real(0.01, 1, log=True)}
HYBRID = spaces.load("hybrid", io=spaces.tokens(64, 32), parameters=200_000)
JOINT = spaces.joint(HYBRID, SETTINGS)
IMAGES = spaces.joint(spaces.load("einspace", spaces.image(1, 9, 8, classes=3), nodes=30), SETTINGS)
CELLS = spaces.joint(spaces.load("nasbench201"), {"lr": choice(0.1, 0.01)})


@pytest.mark.parametrize("check", space_checks, ids=lambda check: check.__name__)
@pytest.mark.parametrize("space", [JOINT, CELLS], ids=["hybrid", "nasbench201"])
def test_conformance(space, check):
    check(space)


def test_texts_hold_both_halves():
    architecture = HYBRID.parse("stack(layers=[residual(body=swiglu(mult=2))], repeat=2)")
    genome = JOINT.genome(architecture, lr=0.003, weight_decay=0.5)
    assert genome.text == f"joint(architecture={architecture.text}, lr=0.003, weight_decay=0.5)"
    assert genome.outline.splitlines()[:2] == ["joint  lr=0.003 weight_decay=0.5", "└─ stack ×2"]
    assert JOINT.parse("joint(weight_decay=0.5, lr=0.003, architecture=" + architecture.text + ")") == genome
    copy = pickle.loads(pickle.dumps(genome))
    assert hyperparameters(JOINT, copy) == {"lr": 0.003, "weight_decay": 0.5}
    assert hyperparameters(HYBRID, architecture) == {}
    cell = CELLS.architectures.architecture("resnet")
    assert CELLS.genome(cell, lr=0.1).text == f'joint(architecture="{cell.text}", lr=0.1)'


def test_digests_tell_both_halves_apart():
    architecture = HYBRID.parse("stack(layers=[residual(body=swiglu(mult=2))], repeat=2)")
    same = HYBRID.parse(
        "stack(layers=[residual(body=swiglu(mult=2)), residual(body=swiglu(mult=2))], repeat=1)"
    )
    first = JOINT.genome(architecture, lr=0.001, weight_decay=0.5)
    assert JOINT.genome(same, lr=0.001, weight_decay=0.5).digest == first.digest
    assert JOINT.genome(architecture, lr=0.003, weight_decay=0.5).digest != first.digest


def test_the_architecture_decides_costs_networks_and_the_graph():
    rng = np.random.default_rng(0)
    for _ in range(20):
        genome = JOINT.sample(rng)
        architecture = JOINT.pair(genome).architecture
        assert JOINT.cost(genome) == HYBRID.cost(architecture)
        graph, alone = JOINT.graph(genome), HYBRID.graph(architecture)
        assert graph.operators == (*alone.operators[:-1], "hyperparameters", "output")
        assert graph.choices[-2] == JOINT.values(genome)
        last = len(alone.operators) - 1
        edges = set(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True))
        assert edges == {*zip(alone.sources.tolist(), alone.targets.tolist(), strict=True), (last, last + 1)}


def test_mutations_change_either_half():
    rng = np.random.default_rng(0)
    genome = JOINT.sample(rng)
    halves = JOINT.pair(genome)
    for name, mutation in JOINT.mutations.items():
        for mutant in filter(None, (mutation(genome, rng) for _ in range(10))):
            pair = JOINT.pair(mutant)
            kept = pair.architecture == halves.architecture, pair.settings == halves.settings
            assert kept[0] if name == "hyperparameters" else kept[1]
    changed = [JOINT.pair(JOINT.mutate(genome, rng)).settings != halves.settings for _ in range(400)]
    assert 0 < sum(changed) < 400


def test_crossover_takes_hyperparameters_from_both():
    rng = np.random.default_rng(0)
    a = JOINT.genome(HYBRID.sample(rng), lr=0.001, weight_decay=0.1)
    b = JOINT.genome(HYBRID.sample(rng), lr=0.01, weight_decay=0.2)
    crossed = [JOINT.crossover(a, b, rng) for _ in range(100)]
    found = {tuple(JOINT.values(genome).values()) for genome in crossed if genome is not None}
    assert found == {(lr, decay) for lr in (0.001, 0.01) for decay in (0.1, 0.2)}


def test_known_models_have_the_first_values_and_the_middle_of_ranges():
    genome = JOINT.architecture("transformer++")
    assert JOINT.pair(genome).architecture == HYBRID.architecture("transformer++")
    assert JOINT.values(genome) == {"lr": 0.001, "weight_decay": pytest.approx(math.sqrt(0.01 * 1))}
    assert JOINT.named == HYBRID.named


def test_sizes_multiply():
    assert CELLS.size == 15_625 * 2
    assert JOINT.size is None
    assert spaces.joint(spaces.load("star"), {"lr": choice(1, 2, 3)}).size == 3 * spaces.load("star").size


def test_ranks_number_both_halves():
    assert CELLS.size == 31_250
    genomes = [CELLS.unrank(rank) for rank in range(0, CELLS.size, 997)]
    assert [CELLS.rank(genome) for genome in genomes] == [*range(0, CELLS.size, 997)]
    assert [CELLS.values(CELLS.unrank(rank))["lr"] for rank in (0, 1, 2)] == [0.1, 0.01, 0.1]
    for rank in (-1, CELLS.size):
        with pytest.raises(InvalidGenome, match="is not from 0 to"):
            CELLS.unrank(rank)
    with pytest.raises(InvalidSpace, match="has no ranks"):
        JOINT.unrank(0)


def test_uniform_draws_are_of_both_halves():
    star = spaces.joint(spaces.load("star", layers=2), {"lr": choice(0.1, 0.01)})
    genomes = star.sample_uniform(np.random.default_rng(0), 40)
    assert len(set(genomes)) == 40
    assert {star.values(genome)["lr"] for genome in genomes} == {0.1, 0.01}
    assert [star.unrank(star.rank(genome)) for genome in genomes] == genomes
    with pytest.raises(InvalidSpace, match="has 31250 genomes, so 31251 different ones"):
        CELLS.sample_uniform(np.random.default_rng(0), 31_251)


def test_points_code_both_halves():
    rng = np.random.default_rng(0)
    for space in (JOINT, CELLS, IMAGES, spaces.joint(spaces.load("star"), SETTINGS)):
        first = len(space.fields)
        for genome in [space.sample(rng) for _ in range(20)]:
            point = space.encode(genome)
            assert space.values(space.decode(point)).keys() == space.values(genome).keys()
            pair = space.pair(space.decode(point))
            assert pair.architecture == space.pair(genome).architecture
            assert pair.architecture == space.architectures.decode(point[first:])
    with pytest.raises(InvalidGenome, match="has 2 coordinates, but 2 say the hyperparameters"):
        JOINT.decode([0.5, 0.5])
    cells = spaces.joint(spaces.load("nasbench_nlp"), {"lr": choice(0.1, 0.01)})
    with pytest.raises(
        InvalidSpace, match="space 'nasbench_nlp' has no volume coding, so it has none with lr either"
    ):
        cells.decode([0.5, 0.5])


def test_predictors_see_the_hyperparameters():
    rng = np.random.default_rng(0)
    genomes = [JOINT.sample(rng) for _ in range(120)]
    errors = [abs(math.log(JOINT.values(genome)["lr"] / 0.003)) for genome in genomes]
    predictor = predictors.load("trees", space=JOINT).fit(genomes[:80], errors[:80])
    mean = predictor.predict(genomes[80:]).mean
    best = np.array(errors[80:]) == 0
    assert mean[best].max() < mean[~best].min()


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({}, InvalidSpace, "space 'hybrid' was given no hyperparameters"),
        (
            {"lr": 0.1},
            InvalidSpace,
            "space 'hybrid': hyperparameter 'lr' is 0.1, but must be a choice or real, and not be called 'architecture'",
        ),
        (
            {"at": choice(1)},
            InvalidGrammar,
            "grammar 'hyperparameters', production 'hyperparameters': a field cannot be called 'at'; choose another name",
        ),
    ],
)
def test_errors_of_fields(fields, error, message):
    with pytest.raises(error) as raised:
        spaces.joint(HYBRID, fields)
    assert str(raised.value) == message


def test_two_spaces_are_one():
    training = spaces.ProductSpace("training", {"lr": choice(0.1, 0.01)}, spaces.vector(2))
    space = spaces.joint(spaces.load("nasbench201"), training)
    assert space.size == 15_625 * training.size
    assert space.unrank(3).text == CELLS.unrank(3).text
    with pytest.raises(InvalidSpace, match=r"'hybrid': hyperparameters are \[0.1\], but must be choices"):
        spaces.joint(HYBRID, [0.1])


def test_pairs_have_no_hyperparameters_of_their_own():
    with pytest.raises(InvalidSpace, match="'hybrid' has hyperparameters already: lr, weight_decay"):
        spaces.joint(JOINT, {"warmup": choice(0, 0.1)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stack(repeat=1)", "the genome is 'stack', but those of this space are 'joint'"),
        ("joint(lr=0.001)", "'joint' needs the field 'architecture': a genome, or the text of one in quotes"),
        (
            "joint(architecture=stack, lr=0.001)",
            "'joint' needs the field 'architecture': a genome, or the text of one",
        ),
        ("joint(architecture={}, lr=0.1, weight_decay=0.1)", "lr: 0.1 is not allowed, did you mean '0.01'?"),
        ("joint(architecture={}, lr=0.01)", "the root: 'hyperparameters' lacks its field 'weight_decay'"),
        ("joint(architecture={}, lr=0.01, weight_decay=9)", "weight_decay: 9.0 is not within [0.01, 1.0]"),
        ("joint(architecture=stak(), lr=0.01, weight_decay=0.1)", "the root: 'stak' is no model here"),
    ],
)
def test_errors_of_texts(text, message):
    with pytest.raises(InvalidGenome) as error:
        JOINT.parse(text.format("stack(layers=[residual(body=swiglu(mult=2))], repeat=2)"))
    assert str(error.value).startswith(message)


def test_a_pair_of_equal_parents_is_no_crossing():
    grammar = spaces.Grammar("one", start="model")
    grammar.add("stack", ("model",), {}, **FREE)
    space = spaces.joint(spaces.GrammarSpace(grammar, spaces.tokens()), {"lr": choice(0.1)})
    genome = space.sample(np.random.default_rng(0))
    assert space.crossover(genome, genome, np.random.default_rng(0)) is None
    with pytest.raises(spaces.NoNeighbour):
        space.mutate(genome, np.random.default_rng(0))
