"""A result as others see it: its table in pandas, Polars and DuckDB, and itself in a notebook."""

import dataclasses
import io
import logging
import math
from datetime import UTC, datetime

import duckdb
import pandas
import polars
import pytest
from rich.console import Console

from nas.config import parse
from nas.report.live import Progress
from nas.report.tables import print_ranking
from nas.result import Result
from nas.store import Concluded, Opened
from nas.store.parquet import write_trials
from nas.types import Ended, Fidelity, Measurement, Objective, Proposal, Proposed, Trial
from spaces.genome import Genome

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CURVE = [{"step": 5, "valid_bpb": 3.0}, {"step": 10, "valid_bpb": 2.0}]
LOSSES = {0: 2.5, 1: 2.0, 3: 2.25}


def made():
    """A result of four trials, of which number 2 failed before it reported anything."""
    config = parse(
        {
            "name": "made",
            "space": {"name": "hybrid"},
            "task": {"name": "bytes"},
            "strategy": {"name": "random"},
            "budget": {"trials": 4, "steps": 10},
            "objectives": [{"metric": "valid_bpb"}],
        }
    )
    records = []
    for i in range(4):
        genome = Genome.restore(f"mlp(mult={i})", f"{i:032x}")
        parents, origin, notes = ((), "random", {}) if i == 0 else ((0,), "mutation of 0", {"tau": 0.5})
        proposal = Proposal(i, genome, Fidelity(10), 7, parents, origin, notes=notes)
        trial = Trial(
            proposal,
            "done" if i in LOSSES else "failed",
            {"valid_bpb": LOSSES[i]} if i in LOSSES else {},
            tuple(Measurement(p["step"], {"valid_bpb": p["valid_bpb"]}) for p in CURVE) if i == 1 else (),
            {"parameters": 1000 * (i + 1), "flops_per_token": 2e6, "state_bytes": 2048},
            STARTED.timestamp() + i,
            1.5,
            "w0",
            None if i in LOSSES else "diverged",
        )
        records += [Proposed(proposal), Ended(trial)]
    return Result(config, records), records


@pytest.fixture(params=["table", "file"])
def source(request, tmp_path):
    """The table of a result, or the path of the same table in a run folder."""
    result, _ = made()
    if request.param == "table":
        return result.table()
    path = tmp_path / "trials.parquet"
    write_trials(path, result.trials, result.config.objectives)
    return str(path)


def test_pandas(source):
    frame = pandas.read_parquet(source) if isinstance(source, str) else source.to_pandas()
    ranked = frame.sort_values("valid_bpb")
    assert ranked["id"].tolist() == [1, 3, 0, 2]
    assert math.isnan(ranked["valid_bpb"].iloc[-1])
    assert ranked["digest"].tolist() == [f"{i:032x}" for i in (1, 3, 0, 2)]
    assert frame["parents"].map(list).tolist() == [[], [0], [0], [0]]
    assert frame["started"].dt.tz_convert("UTC").tolist()[0] == STARTED
    assert frame["note_tau"].fillna(-1).tolist() == [-1, 0.5, 0.5, 0.5]
    assert frame.groupby("origin")["valid_bpb"].min().to_dict() == {"random": 2.5, "mutation of 0": 2.0}
    assert frame[["id", "curve"]].explode("curve").dropna()["curve"].tolist() == CURVE
    assert frame.loc[frame["status"] == "failed", "error"].tolist() == ["diverged"]


def test_polars(source):
    frame = polars.read_parquet(source) if isinstance(source, str) else polars.from_arrow(source)
    small = frame.filter(polars.col("parameters") < 3000).sort("valid_bpb")
    assert small["id"].to_list() == [1, 0]
    assert frame["valid_bpb"].to_list() == [2.5, 2.0, None, 2.25]
    assert frame["digest"].to_list() == [f"{i:032x}" for i in range(4)]
    assert frame.filter(polars.col("parents").list.contains(0))["id"].to_list() == [1, 2, 3]
    assert frame["started"].dt.convert_time_zone("UTC").to_list()[0] == STARTED
    assert frame["note_tau"].mean() == 0.5
    curve = frame.filter(polars.col("curve").list.len() > 0).select("id", "curve").explode("curve")
    assert curve.unnest("curve").to_dicts() == [{"id": 1, **point} for point in CURVE]


def test_duckdb(source):
    trials = duckdb.read_parquet(source) if isinstance(source, str) else source  # noqa: F841, the SQL names it
    ranking = "SELECT rank() OVER (ORDER BY valid_bpb) AS place, id, digest FROM trials WHERE status = 'done' ORDER BY 1"
    assert duckdb.sql(ranking).fetchall() == [(k, i, f"{i:032x}") for k, i in enumerate((1, 3, 0), start=1)]
    curve = "SELECT id, unnest(curve, recursive := true) FROM trials"
    assert duckdb.sql(curve).fetchall() == [(1, point["step"], point["valid_bpb"]) for point in CURVE]
    of_parents = (
        "SELECT parent.id, count(*) FROM trials, trials parent WHERE parent.id IN trials.parents GROUP BY 1"
    )
    assert duckdb.sql(of_parents).fetchall() == [(0, 3)]
    assert duckdb.sql("SELECT id FROM trials WHERE note_tau > 0 AND error IS NOT NULL").fetchall() == [(2,)]
    ((first,),) = duckdb.sql("SELECT min(started) FROM trials").fetchall()
    assert first == STARTED


# ---- in a notebook


def cells(tag, *texts):
    sides = ["right"] * (len(texts) - 1) + ["left"]
    return "".join(
        f'<{tag} style="text-align: {side}">{text}</{tag}>' for side, text in zip(sides, texts, strict=True)
    )


def test_a_notebook_shows_a_result_as_a_table():
    result, records = made()
    line = "made: not finished, 4 of 4 trials, best valid_bpb 2.0000 (trial 1)"
    assert repr(result) == f"<Result {line}>"
    heads = cells("th", "#", "trial", "valid_bpb", "parameters", "FLOPs/token", "decode state", "origin")
    first = cells("td", "1", "1", "2.0000", "2k", "2M", "2 KiB", "mutation of 0")
    second = cells("td", "2", "3", "2.2500", "4k", "2M", "2 KiB", "mutation of 0")
    third = cells("td", "3", "0", "2.5000", "1k", "2M", "2 KiB", "random")
    assert result._repr_html_() == (
        f"<p>{line}</p>\n<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n<tr>{first}</tr>\n<tr>{second}</tr>\n"
        f"<tr>{third}</tr>\n</tbody>\n</table>"
    )
    finished = Result(result.config, [*records, Concluded(1, "budget", 0.0)])
    assert repr(finished).startswith("<Result made: finished, 4 of 4 trials, best ")


def test_a_notebook_shows_ten_trials_and_escapes_what_they_hold():
    config = made()[0].config
    records = []
    for i in range(12):
        proposal = Proposal(i, Genome.restore(f"g{i}()", ""), Fidelity(1), 0, origin="<script>&")
        records += [Proposed(proposal), Ended(Trial.done(proposal, {"valid_bpb": float(i)}))]
    html = Result(config, records)._repr_html_()
    assert html.count('<td style="text-align: left">&lt;script&gt;&amp;</td>') == 10
    assert "<script>" not in html


def test_a_notebook_shows_a_result_without_trials_in_a_line():
    result = Result(made()[0].config, [])
    assert repr(result) == "<Result made: not finished, 0 of 4 trials, none done>"
    assert result._repr_html_() == "<p>made: not finished, 0 of 4 trials, none done</p>"


def test_progress_says_what_is_logged_while_it_runs():
    out, logger = io.StringIO(), logging.getLogger("nas.search.mine")
    with Progress(made()[0].config, Console(file=out)):
        logger.info("step %d of %d", 1, 2)
    logger.info("step 2 of 2")
    assert out.getvalue() == "step 1 of 2\n"


def test_a_trial_that_breaks_a_constraint_says_so():
    result, records = made()
    bounded = (*result.config.objectives, Objective("parameters", "min", 3000.0))
    out = io.StringIO()
    progress = Progress(dataclasses.replace(result.config, objectives=bounded), Console(file=out, width=200))
    for record in records:
        progress(record, False)
    told = [line.partition(" s (")[2] for line in out.getvalue().splitlines()]
    assert told[0].startswith("random); best 2.5000;")
    assert told[3].startswith("mutation of 0), not parameters at most 3,000; best 2.0000;")


@pytest.mark.parametrize("width, gap", [(100, "  "), (80, " ")])
def test_a_ranking_fits_on_a_narrow_terminal(width, gap):
    result, records = made()
    rung = dataclasses.replace(records[0].proposal, fidelity=Fidelity(5), origin="promotion of 12")
    records[:2] = [Proposed(rung), Ended(dataclasses.replace(records[1].trial, proposal=rung))]
    out = io.StringIO()
    print_ranking(Result(result.config, records), Console(file=out, width=width))
    heads, *rows = out.getvalue().splitlines()[:4]
    assert f"FLOPs/token{gap}decode state" in heads
    assert [row.split()[:2] for row in rows] == [["1", "1"], ["2", "3"], ["3", "0"]]
    assert rows[2].rstrip().endswith("promotion of 12")


def test_what_is_left_is_told_by_how_long_trials_took(monkeypatch):
    """Not by the clock, which ran while workers were started."""
    out = io.StringIO()
    progress = Progress(made()[0].config, Console(file=out))
    progress(Opened(0.0, {}, 2, "ray", 1), False)
    monkeypatch.setattr("time.monotonic", lambda: 1e9)
    for number, seconds in enumerate((10.0, 20.0, 30.0, 20.0)):
        proposal = Proposal(number, Genome.restore("g()", ""), Fidelity(1), 0)
        progress(Proposed(proposal), False)
        progress(Ended(Trial(proposal, "done", {"valid_bpb": 1.0}, duration=seconds)), False)
    told = [line.rpartition("; ")[2] for line in out.getvalue().splitlines() if line.startswith("[")]
    assert told == ["15 s left", "15 s left", "20 s left", "0 s left"]
