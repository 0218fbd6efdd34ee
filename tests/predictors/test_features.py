import math

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import predictors.features
import spaces
from predictors.features import Features
from spaces import Grammar, choice, many, real
from spaces.cost import Cost
from spaces.genome import Term, read
from spaces.graph import to_networkx

plain = Grammar("plain", start="model")


def free(at, context, **choices):
    return Cost(1, 1, 1.0, 0)


@plain.production("model", "layer", form="sequence", weight=0.4, cost=free)
def chain(layers=many("layer", 1, 3)): ...


@plain.production("layer", form="residual", cost=free)
def fork(branches=many("layer", 1, 2)): ...


@plain.production("layer", form="identity", cost=free)
def skip(): ...


@plain.production("layer", weight=3, cost=free)
def cut(rate=real(0.1, 10.0, log=True), bias=real(0.0, 4.0), exact=choice(True, False)): ...


@plain.production("layer", cost=free, attributes=lambda at: {"width": 8})
def merge(
    inputs=many("layer", 2, 3),
    how=choice("sum", "max"),
    fixed=choice(7),
    wide=choice(None, 64),
    mix=choice(True, 1, 2),
): ...


SPACES = {
    "hybrid": spaces.load("hybrid", spaces.tokens(256, 64), context=1000, operators=8),
    "mlp": spaces.load("mlp"),
    "nasbench201": spaces.load("nasbench201"),
    "no cost": spaces.ProductSpace(
        "svm",
        {"kernel": choice("rbf", "linear"), "log_c": choice(*range(-5, 6), ordered=True), "fixed": choice(1)},
        spaces.vector(4),
    ),
    "plain": spaces.GrammarSpace(plain, spaces.tokens(32, 16), nodes=10),
}


def _of_the_hybrid_space():
    """(lowest, highest, whether logarithmic) of each choice of numbers, and the words of the others."""
    ranges, words = {}, {}
    for operator, choices in SPACES["hybrid"].operators.items():
        for name, field in choices.items():
            numbers = [option for option in field.values if type(option) in (int, float)]
            others = tuple(option for option in field.values if type(option) not in (int, float))
            if len(numbers) > 1:
                low, high = min(numbers), max(numbers)
                ranges[f"{operator}.{name}"] = (low, high, 0 < 8 * low <= high)
            if others:
                words[f"{operator}.{name}"] = others
    return ranges, words


_HYBRID_RANGES, _HYBRID_WORDS = _of_the_hybrid_space()
RANGES = _HYBRID_RANGES | {
    "cut.rate": (0.1, 10.0, True),
    "cut.bias": (0.0, 4.0, False),
    "merge.mix": (1, 2, False),
    "hidden_1.n_units_1": (16, 512, True),
    "hidden_1.dropout_1": (0, 0.6, False),
    "hidden_2.n_units_2": (16, 512, True),
    "hidden_2.dropout_2": (0, 0.6, False),
    "training.batch_size": (8, 64, True),
    "training.init_lr": (0.0005, 0.1, True),
    "svm.log_c": (-5, 5, False),
}
WORDS = _HYBRID_WORDS | {
    "cut.exact": (True, False),
    "merge.how": ("sum", "max"),
    "merge.wide": (None, 64),
    "merge.mix": (True,),
    "hidden_1.activation_fn_1": ("relu", "tanh"),
    "hidden_2.activation_fn_2": ("relu", "tanh"),
    "training.lr_schedule": ("cosine", "const"),
    "svm.kernel": ("rbf", "linear"),
}
OPERATORS = {
    "mlp": ["hidden_1", "hidden_2", "training"],
    "nasbench201": ["nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"],
    "no cost": ["svm"],
}


def slow(space, genome, names) -> dict[str, float]:
    """The same features, by walking every path. names: the operators of the space."""
    view = to_networkx(space.graph(genome))
    operator = {node: name.partition("@")[0] for node, name in view.nodes(data="operator")}
    last = max(view)
    paths = [
        [0, *(target for _, target, _ in path)] for path in networkx.all_simple_edge_paths(view, 0, last)
    ]

    def length(path, of=names):
        return sum(operator[node] in of for node in path)

    into, out = dict(view.in_degree()), dict(view.out_degree())
    try:
        cost = space.cost(genome)
    except spaces.InvalidSpace:
        costs = {}
    else:
        costs = {key: math.log2(1 + getattr(cost, key)) for key in cost.__dataclass_fields__}
    row = costs | {
        "paths": math.log2(1 + len(paths)),
        "operators": length(operator),
        "joins": sum(name == "add" for name in operator.values()),
        "longest": max(map(length, paths), default=-1),
        "shortest": min(map(length, paths), default=-1),
        "degree.mean": np.mean(list(into.values())),
        "in.max": max(into.values()),
        "out.max": max(out.values()),
    }
    for name in names:
        mine = [node for node in view if operator[node] == name]
        around = [length(path) for path in paths if not length(path, [name])]
        row[f"{name}.count"] = len(mine)
        row[f"{name}.most"] = max((length(path, [name]) for path in paths), default=-1)
        row[f"{name}.least"] = min((length(path, [name]) for path in paths), default=-1)
        row[f"{name}.around.longest"] = max(around, default=-1)
        row[f"{name}.around.shortest"] = min(around, default=-1)
        reach = [
            max(length(path[: path.index(node) + 1]) for path in paths if node in path) / row["longest"]
            for node in mine
        ]
        row[f"{name}.position"] = np.mean(reach) if mine else 0
        row[f"{name}.in"] = np.mean([into[node] for node in mine]) if mine else 0
        row[f"{name}.out"] = np.mean([out[node] for node in mine]) if mine else 0
        for key, (low, high, log) in RANGES.items():
            if key.startswith(f"{name}."):
                chosen = [view.nodes[node][key.partition(".")[2]] for node in mine]
                scaled = [
                    0
                    if value is None or value is True
                    else 1 + (math.log(value / low, high / low) if log else (value - low) / (high - low))
                    for value in chosen
                ]
                row[f"{key}.mean"] = np.mean(scaled) if mine else 0
                row[f"{key}.max"] = max(scaled, default=0)
        for key, words in WORDS.items():
            if key.startswith(f"{name}."):
                for word in words:
                    chosen = [view.nodes[node][key.partition(".")[2]] for node in mine]
                    share = [value == word and type(value) is type(word) for value in chosen]
                    row[f"{key}={spaces.fields.spell(word)}"] = np.mean(share) if mine else 0
    return row


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_equal_to_walking_every_path(name, seed):
    space = SPACES[name]
    genome = space.sample(np.random.default_rng(seed))
    check(space, genome, OPERATORS.get(name))


@pytest.mark.parametrize(
    "text",
    [
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|nor_conv_1x1~1|+|none~0|nor_conv_1x1~1|nor_conv_1x1~2|",
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|",
    ],
)
def test_cells_that_are_cut_in_two_or_have_no_operator(text):
    space = SPACES["nasbench201"]
    row = check(space, space.parse(text), OPERATORS["nasbench201"])
    cut = "skip" not in text
    assert row["operators"] == row["nor_conv_3x3.count"] == 0
    assert row["longest"] == row["shortest"] == row["nor_conv_3x3.most"] == (-1 if cut else 0)
    assert row["paths"] == (0 if cut else math.log2(1 + 4))


def check(space, genome, names=None) -> dict[str, float]:
    """Compares the fast row of a genome with the slow one, and gives it."""
    if names is None:
        names = [name for name, p in space.grammar.productions.items() if p.form == "operator"]
    features = Features(space)
    fast = dict(zip(features.names, features([genome])[0], strict=True))
    assert fast == pytest.approx(slow(space, genome, names), abs=1e-6)
    return fast


def test_columns():
    features = Features(SPACES["hybrid"])
    assert len(set(features.names)) == len(features.names)
    assert features([]).shape == (0, len(features.names))
    names = Features(SPACES["plain"]).names
    assert "chain.count" not in names
    assert not any("merge.fixed" in name for name in names)


def rewritten(term: Term) -> str:
    """The same network in other words: branches reversed, repeats written out where they fit, sequences nested."""
    fields = dict(term.fields)
    spelled = {}
    if term.name == "parallel":
        fields["branches"] = fields["branches"][::-1]
    if term.name == "stack" and len(fields["layers"]) * int(fields["repeat"]) <= 8:
        fields["layers"] = fields["layers"] * int(fields["repeat"])
        fields["repeat"] = "1"
    for key, value in fields.items():
        if isinstance(value, Term):
            spelled[key] = rewritten(value)
        elif isinstance(value, list):
            spelled[key] = f"[{', '.join(map(rewritten, value))}]"
        else:
            spelled[key] = value
    text = f"{term.name}({', '.join(f'{key}={value}' for key, value in spelled.items())})"
    return f"stack(layers=[{text}], repeat=1)" if term.name == "residual" and len(text) % 2 else text


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_equal_networks_have_equal_features(seed):
    space = SPACES["hybrid"]
    genome = space.sample(np.random.default_rng(seed))
    try:
        other = space.parse(rewritten(read(genome.text)))
    except spaces.InvalidGenome:  # nested too deep
        return
    assert other.digest == genome.digest
    np.testing.assert_array_equal(Features(space)([genome]), Features(space)([other]))


def test_equal_cells_differ_in_costs_alone():
    space = SPACES["nasbench201"]
    features = Features(space)
    rng = np.random.default_rng(0)
    first = {}
    pairs = []
    for genome in [space.sample(rng) for _ in range(2000)]:
        other = first.setdefault(genome.digest, genome)
        if other != genome:
            pairs.append((other, genome))
    assert len(pairs) > 500
    one, two = (features(genomes) for genomes in zip(*pairs, strict=True))
    assert features.names[:4] == spaces.cost.COST_NAMES
    np.testing.assert_array_equal(one[:, 4:], two[:, 4:])
    differ = [space.cost(a) != space.cost(b) for a, b in pairs]
    np.testing.assert_array_equal((one[:, :4] != two[:, :4]).any(axis=1), differ)
    assert 0 < sum(differ) < len(pairs)


def test_a_space_that_tells_no_cost_has_no_columns_of_it():
    names = Features(SPACES["no cost"]).names
    assert not set(spaces.cost.COST_NAMES) & set(names)
    assert set(names) >= {"svm.kernel=rbf", "svm.log_c.mean", "svm.log_c.max"}
    assert not any("fixed" in name for name in names)


def test_rows_are_remembered_up_to_a_number(monkeypatch):
    monkeypatch.setattr(predictors.features, "REMEMBERED", 5)
    space = SPACES["hybrid"]
    rng = np.random.default_rng(0)
    genomes = [space.sample(rng) for _ in range(12)]
    features = Features(space)
    first = features(genomes)
    np.testing.assert_array_equal(features(genomes), first)
    assert len(features._rows) <= 5


@pytest.mark.parametrize("name", SPACES)
def test_rows_made_together_are_those_made_alone(name):
    """To the last bit, as a campaign that goes on makes in one go what was made bit by bit."""
    rng = np.random.default_rng(0)
    genomes = [SPACES[name].sample(rng) for _ in range(30)]
    together = Features(SPACES[name], labels=True)(genomes)
    alone = Features(SPACES[name], labels=True)
    np.testing.assert_array_equal(together, np.concatenate([alone([genome]) for genome in genomes]))
