"""`nas bench compare` and `simulate`: strategies on tables."""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.commands.common import (
    DONE,
    FAILED,
    INTERRUPTED,
    Commands,
    at_least,
    load_table,
    print_columns,
    print_json,
    share,
)

if TYPE_CHECKING:
    import numpy as np

    from benchmarks import Table
    from nas.cluster.simulated import Conditions


def add(kinds: Commands) -> None:
    compare = kinds.add_parser("compare", help="strategies on tables: regret over evaluations")
    compare.add_argument("tables", nargs="+", metavar="TABLE", help="names of tables")
    compare.add_argument(
        "--strategies",
        default="random,evolution,screened",
        metavar="A,B,...",
        help="names, strategy+predictor, schedule/sampler such as asha/evolution, or peers such as optuna-tpe "
        "(default: random,evolution,screened)",
    )
    compare.add_argument("--evaluations", type=at_least(1), default=100, metavar="N", help="default: 100")
    compare.add_argument(
        "--seeds", type=at_least(1), default=20, metavar="N", help="runs of each (default: 20)"
    )
    compare.add_argument(
        "--workers", type=at_least(1), default=1, metavar="N", help="simulated workers (default: 1)"
    )
    compare.add_argument(
        "--top",
        type=share,
        metavar="SHARE",
        help="of a table's rows that count as its best, such as 0.001 or 0.1%% (default: 0.05%%)",
    )
    compare.add_argument(
        "--statistic",
        choices=("median", "mean", "interquartile-mean"),
        default="median",
        help="what is printed of the regret over seeds (default: median); --json has all",
    )
    compare.add_argument(
        "--out",
        metavar="DIR",
        help="for figures, numbers and the runs, which are not run again (default: comparison)",
    )
    compare.set_defaults(command=_compare)

    simulate = kinds.add_parser("simulate", help="what a campaign would take on so many workers")
    simulate.add_argument("file", metavar="FILE", help="a campaign file: its strategy, predictor and trials")
    simulate.add_argument("table", metavar="TABLE", help="what stands in for its space and task")
    simulate.add_argument(
        "--workers", default="1,8,64", metavar="N,...", help="numbers of workers (default: 1,8,64)"
    )
    simulate.add_argument("--seeds", type=at_least(1), default=5, metavar="N", help="default: 5")
    simulate.set_defaults(command=_simulate)

    for command in (compare, simulate):
        command.add_argument("--noisy", action="store_true", help="trials tell one training run, not a mean")
        command.add_argument(
            "--stragglers",
            type=float,
            default=0.0,
            metavar="SHARE",
            help="of trials that take four times as long",
        )
        command.add_argument(
            "--deaths",
            type=float,
            default=0.0,
            metavar="SHARE",
            help="of trainings whose worker dies on the way",
        )
        command.add_argument(
            "--seconds",
            type=float,
            default=math.inf,
            metavar="S",
            help="when the simulated clock stops: what ends later does not count",
        )
        command.add_argument("--json", action="store_true")


def _conditions(options: argparse.Namespace) -> Conditions:
    from nas.cluster.simulated import Conditions

    return Conditions(
        noisy=options.noisy, stragglers=options.stragglers, deaths=options.deaths, seconds=options.seconds
    )


def _compare(options: argparse.Namespace) -> int:
    from nas import compare
    from nas.report import plots

    strategies = [name.strip() for name in options.strategies.split(",")]
    conditions = _conditions(options)
    plots.require()
    for name in options.tables:
        load_table(name)
    compare.check(options.tables, strategies, options.evaluations)
    folder = _writable(Path(options.out or "comparison"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        rows = compare.compare(
            options.tables,
            strategies,
            evaluations=options.evaluations,
            seeds=options.seeds,
            workers=options.workers,
            conditions=conditions,
            keep=folder / "runs",
            observe=_progress,
        )
    except KeyboardInterrupt:
        kept = len([*(folder / "runs").glob("*.parquet")])
        print(
            f"\rStopped. {kept} runs are kept in {folder / 'runs'}; the same command goes on.",
            file=sys.stderr,
        )
        return INTERRUPTED
    except RuntimeError as error:  # a strategy failed
        print(f"nas: {error}", file=sys.stderr)
        return FAILED
    top = options.top or compare.TOP
    curves, timed = compare.curves(rows, top=top), compare.curves(rows, "seconds", top)
    ranks = compare.ranks(curves)
    written = [
        compare.write(rows, folder),
        compare.write_curves([*curves, *timed], folder),
        *plots.regret_figure(curves, folder),
        *plots.regret_figure(timed, folder),
        *plots.edf_figure(curves, folder),
    ]
    if len(strategies) > 1:
        written += plots.ranks_figure(ranks, folder)
    better = {"average": compare.relative_improvement(rows)}
    if "random" in strategies:
        better["random search"] = compare.relative_improvement(rows, over="random")
    parts = rows.num_rows > sum(curve.seeds * len(curve.at) for curve in curves)
    times = compare.time_to_reach(rows) if "evolution" in strategies else {}
    if options.json:
        print_json(
            {
                "regret": compare.summary(curves),
                "best_found": [
                    {
                        "table": curve.table,
                        "strategy": curve.strategy,
                        "top": top,
                        "evaluations": _known(curve.reached),
                        "seconds": _known(along.reached),
                    }
                    for curve, along in zip(curves, timed, strict=True)
                ],
                "as_good_as_evolution": [
                    {"table": table, "strategy": strategy, "seconds": _known(seconds)}
                    for (table, strategy), seconds in times.items()
                ],
                "relative_improvement": [
                    {"table": table, "strategy": strategy, "over": over, "percent": _known([percent])[0]}
                    for over, found in better.items()
                    for (table, strategy), percent in found.items()
                ],
                "ranks": {key: None if value != value else value for key, value in asdict(ranks).items()},
                "files": list(map(str, written)),
            }
        )
        return DONE
    interval = " and its 95 % interval" if options.seeds >= compare.FEWEST else ""
    alone = f" on {options.tables[0]}" if len(options.tables) == 1 else ""
    told = f"{options.statistic.replace('-', ' ')} of {options.seeds} seeds{interval}"
    print(f"Regret{alone}, (loss - best) / (median - best): {told}")
    print(f"Best found: so many runs had one of the best {100 * top:g}% of the rows, and the median of when")
    search = "; over random search: than what that found" if "random" in strategies else ""
    print(f"Over average: by how much what was found is better than the mean row{search}")
    if parts:
        print("Evaluations are of full trainings, or as much training in parts")
    if parts and times:
        print(
            "As good as evolution: so many runs came to its median regret in the end, by what was trained in full; "
            "the median of when"
        )
    print()
    statistic = options.statistic.replace("-", "_")
    before = "" if statistic == "median" else f"{statistic}_"
    regrets: dict[tuple[str, str], list[str]] = {}
    for row in compare.summary(curves):
        low, high = (row[f"{before}{end}"] for end in ("low", "high"))
        between = f" [{low:.3f}, {high:.3f}]" if interval else ""
        regrets.setdefault((row["table"], row["strategy"]), []).append(f"{row[statistic]:.3f}{between}")
    after = [f"after {number}" for number in compare.milestones(len(curves[0].at))]
    _print_by_contestant(after, regrets)
    print()
    heads: list[str] = []
    cells: dict[tuple[str, str], list[str]] = {key: [] for key in regrets}
    for over, found in better.items():
        heads.append(f"over {over}")
        for key, percent in found.items():
            cells[key].append("-" if math.isnan(percent) else f"{percent + 0.0:+.3g} %")  # no negative zero
    if parts and times:
        heads.append("as good as evolution")
        for key, seconds in times.items():
            cells[key].append(_when(seconds))
    heads.append("best found")
    for curve in curves:
        cells[curve.table, curve.strategy].append(_found(curve.reached))
    _print_by_contestant(heads, cells)
    print()
    if len(strategies) > 1:
        more = f"{ranks.difference:.2f} apart is more than chance"
        print(f"Mean rank over {ranks.blocks} rankings, in the end; {more}")
        print()
        print_columns([[f"{mean:.2f}", name] for name, mean in ranks.mean.items()])
        print()
    for curve in curves:
        if curve.shortest < options.evaluations:
            why = "with no more to propose" if options.seconds == math.inf else "when the clock stopped"
            what = "evaluation" if curve.shortest == 1 else "evaluations"
            ended = f"a run ended after {curve.shortest:,} {what}, {why}"
            print(f"{curve.strategy} on {curve.table}: {ended}")
    for name in options.tables:
        _warn_of_missing(load_table(name))
        for strategy in strategies:
            _warn_of_unseen(strategy, load_table(name))
    print(f"Written: {', '.join(map(str, written))}")
    return DONE


def _print_by_contestant(heads: Sequence[str], cells: Mapping[tuple[str, str], Sequence[str]]) -> None:
    """A line for each contestant on each table; without the table where there is but one."""
    first = 0 if len({table for table, _ in cells}) > 1 else 1
    names = ["table", "strategy"][first:]
    print_columns([[*names, *heads], *([*key[first:], *values] for key, values in cells.items())])


def _known(values: Iterable[float]) -> list[float | None]:
    """Numbers as JSON has them, which knows no NaN."""
    return [None if math.isnan(value) else float(value) for value in values]


def _found(reached: np.ndarray) -> str:
    """How many runs had one of the best rows, and the median of after how many evaluations."""
    import numpy as np

    times = reached[np.isfinite(reached)]
    after = f" after {np.median(times):g}" if len(times) else ""
    return f"{len(times)} of {len(reached)}{after}"


def _when(seconds: np.ndarray) -> str:
    """How many runs were as good, and the median simulated time, of all runs, where half of them were."""
    import numpy as np

    from nas.display import duration

    found = np.isfinite(seconds)
    median = float(np.median(np.where(found, seconds, np.inf)))
    return f"{found.sum()} of {len(seconds)}" + (f" after {duration(median)}" if np.isfinite(median) else "")


def _simulate(options: argparse.Namespace) -> int:
    from nas.compare import plan
    from nas.display import duration
    from nas.setup import configure
    from nas.types import InvalidInput

    try:
        workers = [int(number) for number in options.workers.split(",")]
    except ValueError:
        raise InvalidInput(f"--workers {options.workers!r} is no list of numbers such as 1,8,64") from None
    config, table = configure(options.file), load_table(options.table)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plans = plan(
        config,
        table,
        workers,
        seeds=options.seeds,
        conditions=_conditions(options),
        observe=_progress,
    )
    if options.json:
        print_json([asdict(each) for each in plans])
        return DONE
    trials = min(config.budget.trials, len(table))
    seeds = "1 seed" if options.seeds == 1 else f"{options.seeds} seeds"
    budget = "" if options.seconds == math.inf else f" within {duration(options.seconds)}"
    print(f"{trials:,} trials of {config.strategy.name} on {table.name}{budget}, means of {seeds}")
    print()
    cells: list[list[Any]] = [
        [
            f"{each.workers:,}",
            f"{each.trials:,.6g}",
            duration(each.seconds),
            f"{each.utilisation:.0%}",
            f"{each.speedup:,.1f}",
            f"{each.regret:.3f}",
            f"{each.failed:g}",
        ]
        for each in plans
    ]
    print_columns([["workers", "ended", "simulated time", "busy", "speed-up", "regret", "failed"], *cells])
    for each in plans:
        if each.trials < trials and options.seconds == math.inf:
            on = f"{each.workers:,} worker{'' if each.workers == 1 else 's'}"
            print(f"{each.trials:,.6g} trials ended on {on}, with no more to propose")
    _warn_of_missing(table)
    _warn_of_unseen(config.strategy.name, table)
    return DONE


def _warn_of_missing(table: Table) -> None:
    """Says where trials fail, as their rows were not measured, and where simulated times mean nothing."""
    import numpy as np

    from benchmarks.description import TRAIN_TIME

    missing = int(np.isnan(table.column()).sum())
    if missing:
        print(f"{table.name}: trials of {missing:,} of {len(table):,} rows fail, as they were not measured")
    if TRAIN_TIME not in table.metrics:
        print(
            f"{table.name} does not tell how long training took, by a metric 'train_time': each trial takes a second"
        )


def _warn_of_unseen(contestant: str, table: Table) -> None:
    """Says where trials of a strategy that compares them at rungs fail, as some rows were not measured there."""
    from nas import search
    from nas.cluster.simulated import rungs, unseen
    from nas.compare import Contestant
    from nas.peers import PEERS

    strategy = Contestant.parse(contestant).strategy
    missing = len(unseen(table)) if strategy not in PEERS and search.takes_rungs(strategy) else 0
    if missing and table.fidelities is not None:
        where = " and ".join(f"{amount:,}" for amount in rungs(table))
        print(
            f"{contestant} on {table.name}: trials of {missing:,} of {len(table):,} rows fail, as they were not "
            f"measured after {where} {table.fidelities.unit}"
        )


def _progress(done: int, of: int) -> None:
    """Counts runs on a terminal; elsewhere says it once."""
    if sys.stderr.isatty() or done == of:
        print(f"\r{done} of {of} runs", end="\n" if done == of else "", file=sys.stderr, flush=True)


def _writable(folder: Path) -> Path:
    """The folder, made and tried before any work.

    Raises:
        InvalidInput: it cannot be written to.
    """
    import tempfile

    from nas.types import InvalidInput

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise InvalidInput(f"--out {folder} cannot be written to: {error}") from error
