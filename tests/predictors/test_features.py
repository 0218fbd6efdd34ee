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
    "plain": spaces.GrammarSpace(plain, spaces.tokens(32, 16), nodes=10),
}
RANGES = {
    "attention.heads": (1, 32, True),
    "attention.kv_heads": (1, 32, True),
    "attention.window": (32, 1024, True),
    "mamba2.state": (16, 128, True),
    "mamba2.expand": (1, 2, False),
    "mamba2.head_dim": (16, 64, False),
    "gated_conv.kernel": (2, 16, True),
    "swiglu.mult": (1, 4, False),
    "mlp.mult": (1, 8, True),
    "moe.experts": (4, 32, True),
    "moe.top_k": (1, 8, True),
    "moe.mult": (1, 3, False),
    "product_key_memory.keys": (16, 256, True),
    "product_key_memory.heads": (1, 4, False),
    "product_key_memory.top_k": (4, 16, False),
    "cut.rate": (0.1, 10.0, True),
    "cut.bias": (0.0, 4.0, False),
    "merge.mix": (1, 2, False),
}
WORDS = {
    "attention.position": ("rope", "alibi", "none"),
    "attention.window": (None,),
    "mlp.activation": ("gelu", "relu2"),
    "cut.exact": (True, False),
    "merge.how": ("sum", "max"),
    "merge.wide": (None, 64),
    "merge.mix": (True,),
}


def slow(space, genome) -> dict[str, float]:
    """The same features, by walking every path."""
    view = to_networkx(space.graph(genome))
    operator = {node: name.partition("@")[0] for node, name in view.nodes(data="operator")}
    last = max(view)
    paths = [
        [0, *(target for _, target, _ in path)] for path in networkx.all_simple_edge_paths(view, 0, last)
    ]
    names = [name for name, p in space.grammar.productions.items() if p.form == "operator"]

    def length(path, of=names):
        return sum(operator[node] in of for node in path)

    cost = space.cost(genome)
    into, out = dict(view.in_degree()), dict(view.out_degree())
    row = {key: math.log2(1 + getattr(cost, key)) for key in cost.__dataclass_fields__} | {
        "paths": math.log2(len(paths)),
        "operators": length(operator),
        "joins": sum(name == "add" for name in operator.values()),
        "longest": max(map(length, paths)),
        "shortest": min(map(length, paths)),
        "degree.mean": np.mean(list(into.values())),
        "in.max": max(into.values()),
        "out.max": max(out.values()),
    }
    for name in names:
        mine = [node for node in view if operator[node] == name]
        around = [length(path) for path in paths if not length(path, [name])]
        row[f"{name}.count"] = len(mine)
        row[f"{name}.most"] = max(length(path, [name]) for path in paths)
        row[f"{name}.least"] = min(length(path, [name]) for path in paths)
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
                    row[f"{key}={spaces.grammar.spell(word)}"] = np.mean(share) if mine else 0
    return row


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_equal_to_walking_every_path(name, seed):
    space = SPACES[name]
    genome = space.sample(np.random.default_rng(seed))
    features = Features(space)
    fast = dict(zip(features.names, features([genome])[0], strict=True))
    assert fast == pytest.approx(slow(space, genome), abs=1e-6)


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


def test_rows_are_remembered_up_to_a_number(monkeypatch):
    monkeypatch.setattr(predictors.features, "REMEMBERED", 5)
    space = SPACES["hybrid"]
    rng = np.random.default_rng(0)
    genomes = [space.sample(rng) for _ in range(12)]
    features = Features(space)
    first = features(genomes)
    np.testing.assert_array_equal(features(genomes), first)
    assert len(features._rows) <= 5
