"""The campaign files of `examples/`, end to end, with fewer, smaller and shorter trials."""

from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

import nas
from nas.config import parse, to_dict
from nas.setup import configure
from nas.store import Opened, RunDir
from nas.types import Ended

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(file.name for file in EXAMPLES.glob("*.toml"))


def check(result, campaign):
    """Every trial was done, and the best confirmed by what the campaign aims at."""
    metric = campaign.objectives[0].metric
    assert [trial.status for trial in result.trials] == ["done"] * campaign.budget.trials
    assert len(result.confirmed(metric)) == len(result.confirmed(metric.replace("valid", "test"))) == 1


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("cluster.toml", "quickstart.toml")])
def test_a_file(tmp_path, reduced, name):
    campaign = reduced(EXAMPLES / name, "serial")
    check(nas.run(campaign, dir=tmp_path / "run"), campaign)


def test_the_file_for_a_cluster_on_one(tmp_path, reduced):
    campaign = reduced(EXAMPLES / "cluster.toml", "ray")
    cluster = Cluster(head_node_args={"num_cpus": 8, "include_dashboard": False}, initialize_head=True)
    try:
        result = nas.run(campaign, dir=tmp_path / "run", address=cluster.address)
    finally:
        cluster.shutdown()
    check(result, campaign)
    assert any("labels" in trial.proposal.notes for trial in result.trials)
    [opened] = [r for r in RunDir.open_readonly(tmp_path / "run").records() if isinstance(r, Opened)]
    assert opened.workers == 2  # of four CPUs each


@pytest.mark.parametrize("engine", ["serial", "ray"])
def test_quickstart(tmp_path, engine):
    full = to_dict(configure(EXAMPLES / "quickstart.toml", engine=engine))
    assert full["budget"]["trials"] >= 24
    reduced = {
        **full,
        "task": {**full["task"], "valid_tokens": 1024, "test_tokens": 1024},
        "strategy": {**full["strategy"], "initial": 6},
        "budget": {**full["budget"], "trials": 9, "steps": 2},
    }
    seen = []
    result = nas.run(
        parse(reduced), dir=tmp_path / "run", observe=lambda record, replayed: seen.append(record)
    )
    assert [trial.status for trial in result.trials] == ["done"] * 9
    origins = {trial.id: trial.proposal.origin for trial in result.trials}
    assert [origins[i] for i in range(4)] == full["strategy"]["named"]
    assert [origins[i] for i in (4, 5)] == ["random", "random"]
    assert [origins[i] for i in (6, 7, 8)] == ["bayesian"] * 3
    for trial in result.trials:
        assert 0 < trial.metrics["valid_bpb"] < 12
        for key in ("parameters", "flops_per_token", "state_bytes"):
            assert trial.cost[key] <= full["space"][key]
    confirm = full["budget"]["confirm"]
    assert len(result.confirmed("valid_bpb")) == len(result.confirmed("test_bpb")) == confirm
    assert result.gain() is not None
    assert sum(isinstance(record, Ended) for record in seen) == 9
    assert nas.load(tmp_path / "run").table().num_rows == 9
