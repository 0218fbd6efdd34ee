"""The library from end to end, called the way its documentation calls it."""

import numpy as np
import torch

import nas
import predictors
import spaces

FIXED = [
    *("id", "text", "digest", "parents", "origin", "fidelity", "seed", "status"),
    *("started", "duration", "worker", "deaths", "error"),
]


def test_spaces():
    space = spaces.load("hybrid", io=spaces.tokens(vocab=64, width=16), context=32, parameters=60_000)
    genome = space.sample(np.random.default_rng(0))
    model = space.build(genome)
    cost = space.cost(genome, context=1024)
    assert cost.parameters == sum(weights.numel() for weights in model.parameters()) <= 60_000
    assert 0 < cost.active_parameters <= cost.parameters
    attention = space.parse(
        "stack(layers=[residual(body=attention(heads=1, kv_heads=1, position=rope, window=none, qk_norm=false))], repeat=1)"
    )
    # Keys and values of 16 features in float32; the FLOPs of a token grow with what it looks at.
    assert space.cost(attention, context=1024).state_bytes == 1024 * 2 * 16 * 4
    assert space.cost(attention, context=2048).flops_per_token > space.cost(attention).flops_per_token
    assert model(torch.zeros(1, 4, dtype=torch.long)).shape == (1, 4, 64)


def test_predictors():
    space = spaces.load("hybrid", io=spaces.tokens(vocab=64, width=16), operators=6)
    rng = np.random.default_rng(0)
    genomes = [space.sample(rng) for _ in range(24)]
    losses = [float(space.cost(genome).parameters) for genome in genomes]
    mean = predictors.load("trees", space=space).fit(genomes[:20], losses[:20]).predict(genomes).mean
    assert mean.shape == (24,)
    assert mean[np.argmin(losses[:20])] < mean[np.argmax(losses[:20])]


def test_strategies():
    space = spaces.load("hybrid", io=spaces.tokens(vocab=64, width=16), operators=6)
    strategy = nas.search.load(
        "evolution",
        space=space,
        objectives=[nas.Objective("valid_bpb")],
        seed=0,
        population=2,
        tournament=2,
    )
    asked = []
    for loss in (2.5, 2.25, 2.75):
        (proposal,) = strategy.ask(1)
        strategy.tell(nas.Proposed(proposal))
        strategy.tell(nas.Ended(nas.Trial.done(proposal, {"valid_bpb": loss})))
        asked.append(proposal)
    assert [proposal.id for proposal in asked] == [0, 1, 2]
    assert [proposal.parents for proposal in asked[:2]] == [(), ()]
    assert asked[2].origin.startswith("mutation of ")


def test_campaigns(campaign_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    campaign_file("file.toml")
    result = nas.run("file.toml")
    again = nas.load("runs/small")
    assert type(result) is type(again) is nas.Result
    assert result.best() == again.best() == result.pareto()[0]
    table = result.table()
    assert table.equals(again.table())
    names = [name for name in table.column_names if name in FIXED]
    assert names == FIXED
    for metric in ("valid_bpb", "parameters", "active_parameters", "flops_per_token", "state_bytes"):
        assert table[metric].null_count == 0
    checks = nas.export(result, "onnx", "out/")
    assert all(check.passed for check in checks)
    assert (tmp_path / "out" / "model.onnx").exists()
