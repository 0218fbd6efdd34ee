"""The quick start's own file, end to end, with fewer and shorter trials."""

from pathlib import Path

import pytest

import nas
from nas.config import parse, to_dict
from nas.setup import configure
from nas.types import Ended

FILE = Path(__file__).parents[2] / "examples" / "quickstart.toml"


@pytest.mark.parametrize("engine", ["serial", "ray"])
def test_quickstart(tmp_path, engine):
    full = to_dict(configure(FILE, engine=engine))
    assert full["budget"]["trials"] >= 24
    reduced = {
        **full,
        "task": {**full["task"], "valid_tokens": 1024, "test_tokens": 1024},
        "strategy": {**full["strategy"], "population": 6},
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
    assert all(origins[i].startswith("mutation of") for i in (6, 7, 8))
    for trial in result.trials:
        assert 0 < trial.metrics["valid_bpb"] < 12
        for key in ("parameters", "flops_per_token", "state_bytes"):
            assert trial.cost[key] <= full["space"][key]
    confirm = full["budget"]["confirm"]
    assert len(result.confirmed("valid_bpb")) == len(result.confirmed("test_bpb")) == confirm
    assert result.gain() is not None
    assert sum(isinstance(record, Ended) for record in seen) == 9
    assert nas.load(tmp_path / "run").table().num_rows == 9
