import numpy as np
import pyarrow.parquet
import pytest
import torch

import spaces
from tests.spaces.helpers import check_cost, refusal

SPACE = spaces.load("mlp")
VALUES = {
    "activation_fn_1": "tanh",
    "activation_fn_2": "relu",
    "batch_size": 16,
    "dropout_1": 0.3,
    "dropout_2": 0.0,
    "init_lr": 0.0005,
    "lr_schedule": "cosine",
    "n_units_1": 128,
    "n_units_2": 16,
}
TEXT = (
    "mlp(activation_fn_1=tanh, activation_fn_2=relu, batch_size=16, dropout_1=0.3, dropout_2=0.0, init_lr=0.0005, "
    "lr_schedule=cosine, n_units_1=128, n_units_2=16)"
)


def test_text_and_values():
    genome = SPACE.genome(**VALUES)
    assert genome.text == TEXT
    assert SPACE.parse(TEXT) == genome
    assert SPACE.values(SPACE.parse(TEXT)) == VALUES
    shuffled = dict(sorted(VALUES.items(), reverse=True))
    assert SPACE.genome(**shuffled) == genome
    spelled = ", ".join(f"{key} = {value}" for key, value in shuffled.items())
    assert SPACE.parse(f"mlp({spelled})") == genome


def test_every_genome_has_a_text():
    genomes = [SPACE.unrank(rank) for rank in range(0, SPACE.size, 61)]
    assert SPACE.size == 62_208
    assert all(SPACE.parse(genome.text) == genome for genome in genomes)
    assert len({genome.digest for genome in genomes}) == len(genomes)


FIELDS = ", ".join(VALUES)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("batch_size=16, ", "", "'mlp' lacks its field 'batch_size'"),
        (
            "n_units_1",
            "n_unit_1",
            f"'mlp' has no field 'n_unit_1', did you mean 'n_units_1'? allowed: {FIELDS}",
        ),
        ("n_units_1=128", "n_units_1=7", "n_units_1: 7 is not allowed; allowed: 16, 32, 64, 128, 256, 512"),
        (
            "dropout_2=0.0",
            "dropout_2=0.9",
            "dropout_2: 0.9 is not allowed, did you mean '0.6'? allowed: 0.0, 0.3, 0.6",
        ),
        ("tanh", "relu2", "activation_fn_1: relu2 is not allowed, did you mean 'relu'? allowed: relu, tanh"),
        ("cosine", "step", "lr_schedule: step is not allowed; allowed: cosine, const"),
        ("tanh", "[]", "activation_fn_1: expected a value, found a production"),
        ("mlp", "fcnet", "the genome is 'fcnet', but those of this space are 'mlp'"),
    ],
)
def test_texts_that_are_no_genomes(old, new, message):
    assert refusal(SPACE.parse, TEXT.replace(old, new, 1)) == message


def test_values_that_are_not_allowed():
    assert (
        refusal(SPACE.genome, **{**VALUES, "batch_size": 12})
        == "batch_size: 12 is not allowed; allowed: 8, 16, 32, 64"
    )
    assert refusal(SPACE.genome, **VALUES, layers=2) == f"'mlp' has no field 'layers'; allowed: {FIELDS}"
    assert refusal(SPACE.genome) == "'mlp' lacks its field 'activation_fn_1'"


def test_known_architectures_and_other_inputs():
    assert SPACE.io == spaces.vector(features=9, outputs=1)
    assert refusal(SPACE.architecture, "best") == "space 'mlp' has no architecture 'best'; allowed: none"
    assert refusal(spaces.load, "mlp", spaces.tokens()) == (
        "space 'mlp' reads vectors, but it was given TokenIO(vocab=256, width=128)"
    )


def test_the_graph_is_a_chain():
    graph = SPACE.graph(SPACE.genome(**VALUES))
    assert graph.operators == ("input", "hidden_1", "hidden_2", "training", "output")
    assert graph.choices == (
        {},
        {"n_units_1": 128, "activation_fn_1": "tanh", "dropout_1": 0.3},
        {"n_units_2": 16, "activation_fn_2": "relu", "dropout_2": 0.0},
        {"batch_size": 16, "init_lr": 0.0005, "lr_schedule": "cosine"},
        {},
    )
    assert graph.sources.tolist() == [0, 1, 2, 3]
    assert graph.targets.tolist() == [1, 2, 3, 4]
    assert graph.ports.tolist() == [0, 0, 0, 0]
    assert {node: set(choices) for node, choices in SPACE.operators.items()} == {
        name: set(chosen) for name, chosen in zip(graph.operators[1:-1], graph.choices[1:-1], strict=True)
    }


@pytest.mark.parametrize("io", [spaces.vector(9), spaces.vector(1, 3)])
def test_cost_is_that_of_the_model_as_built(io):
    space = SPACE.at(io)
    for rank in np.random.default_rng(0).integers(space.size, size=20).tolist():
        check_cost(space, space.unrank(rank), torch.zeros(1, io.features), io.outputs)


def test_forward_is_that_of_the_two_layers():
    torch.manual_seed(0)
    model = SPACE.build(SPACE.genome(**VALUES))
    x_NF = torch.randn(7, 9)
    w1, b1, w2, b2, w3, b3 = model.parameters()
    expected = torch.relu(torch.tanh(x_NF @ w1.T + b1) @ w2.T + b2) @ w3.T + b3
    torch.testing.assert_close(model.eval()(x_NF), expected)
    hidden = model.train()[2](torch.ones(100_000))
    assert hidden.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert (hidden == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    "table, features", [("naval_propulsion", 15), ("protein_structure", 9), ("slice_localization", 380)]
)
def test_parameters_are_the_published_ones(shared_data, table, features):
    columns = [*SPACE.fields, "n_params"]
    rows = pyarrow.parquet.read_table(shared_data(f"fcnet_{table}.parquet"), columns=columns)
    assert rows.num_rows == SPACE.size
    space = SPACE.at(spaces.vector(features))
    for row in rows.take(np.arange(0, space.size, 29)).to_pylist():
        published = row.pop("n_params")
        assert space.cost(space.genome(**row)).parameters == published


def test_training_choices_are_fields():
    assert set(SPACE.training) < set(SPACE.fields)
