"""`nas bench`: tabular benchmarks, and strategies compared on them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.commands.common import DONE, FAILED, Commands, at_least, print_json

if TYPE_CHECKING:
    from benchmarks import Table


def add(commands: Commands) -> None:
    bench = commands.add_parser("bench", help="query tabular benchmarks, compare strategies on them")
    kinds = bench.add_subparsers(title="commands", metavar="COMMAND", required=True)

    listed = kinds.add_parser("list", help="the tables known by name")
    listed.set_defaults(command=_list)

    info = kinds.add_parser("info", help="what a table holds and where it comes from")
    info.set_defaults(command=_info)

    query = kinds.add_parser("query", help="what was measured of one genome")
    query.set_defaults(command=_query)

    best = kinds.add_parser("best", help="the best rows of a table")
    best.set_defaults(command=_best)

    for command in (info, query, best):
        command.add_argument("table", metavar="TABLE", help="a name, or the path of an .arrow file")
    query.add_argument("genome", metavar="GENOME", help="its text or its rank")
    for command in (query, best):
        command.add_argument("--metric", metavar="NAME", help="default: the table's objective")
    query.add_argument(
        "--seed", type=at_least(0), metavar="N", help="of one training run (default: their mean)"
    )
    best.add_argument("--count", type=at_least(1), default=1, metavar="N", help="default: 1")

    compare = kinds.add_parser("compare", help="strategies on tables: regret over evaluations")
    compare.add_argument("tables", nargs="+", metavar="TABLE", help="names of tables")
    compare.add_argument(
        "--strategies",
        default="random,evolution,screened",
        metavar="A,B,...",
        help="names, strategy+predictor, or peers such as optuna-tpe (default: random,evolution,screened)",
    )
    compare.add_argument("--evaluations", type=at_least(1), default=100, metavar="N", help="default: 100")
    compare.add_argument(
        "--seeds", type=at_least(1), default=20, metavar="N", help="runs of each (default: 20)"
    )
    compare.add_argument(
        "--workers", type=at_least(1), default=1, metavar="N", help="simulated workers (default: 1)"
    )
    compare.add_argument(
        "--out",
        metavar="DIR",
        help="for figures, numbers and the runs, which are not run again (default: comparison)",
    )
    compare.set_defaults(command=_compare)

    add = kinds.add_parser(
        "add", help="make a table known by name, or one of a file that a TOML file describes"
    )
    add.add_argument("table", metavar="TABLE", help="a name, or a TOML file, see `nas.tables.read_file`")
    add.add_argument("--out", metavar="FILE", help="of a file: a new one that ends in .arrow")
    add.set_defaults(command=_add)

    build = kinds.add_parser("build", help="a table of what campaigns measured")
    build.add_argument("runs", nargs="+", metavar="RUN", help="run folders that trained alike")
    build.add_argument("--out", required=True, metavar="FILE", help="a new file that ends in .arrow")
    build.add_argument("--name", help="of the table (default: own/ and the name of the first campaign)")
    build.add_argument("--licence", default="", help="under which others may use it")
    build.set_defaults(command=_build)
    for command in (listed, info, query, best, compare, add, build):
        command.add_argument("--json", action="store_true")


def _list(options: argparse.Namespace) -> int:
    import benchmarks
    from benchmarks.catalog import cache_path

    rows = [
        {"name": name, "about": source.description.about, "kept": cache_path(name).exists()}
        for name, source in benchmarks.TABLES.items()
    ]
    if options.json:
        print_json(rows)
    else:
        _print_columns([[row["name"], row["about"]] for row in rows])
    return DONE


def _load(name: str) -> Table:
    """A table; modules that it names may lie beside it or in the working folder."""
    import benchmarks
    from spaces.lookup import importable

    importable(Path.cwd())
    if name.endswith(".arrow"):
        importable(Path(name).parent)
    return benchmarks.load(name)


def _info(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    table = _load(options.table)
    about = table.description
    metrics = [
        {**asdict(metric), "best": table.best(name)[0].value, "median": _median(table, name)}
        for name, metric in table.metrics.items()
    ]
    if options.json:
        print_json({**asdict(about), "rows": len(table), "metrics": metrics, "path": str(table.path)})
        return DONE
    print(f"{table.name}: {about.about}")
    each = "listed genomes" if about.listed else "one for each genome"
    print(f"rows       {len(table):,}, {each} of space {about.space}")
    print(f"objective  {about.objective}")
    print(f"source     {about.source}")
    print(f"licence    {about.licence}")
    print(f"paper      {about.paper}")
    print(f"kept in    {table.path}")
    print()
    heads = ["metric", "direction", "best", "median", "seeds", "split", "unit"]
    cells = [
        [
            metric["name"],
            metric["direction"],
            _number(metric["best"]),
            _number(metric["median"]),
            str(metric["seeds"]),
            metric["split"] or "-",
            metric["unit"],
        ]
        for metric in metrics
    ]
    _print_columns([heads, *cells])
    return DONE


def _median(table: Table, name: str) -> float:
    import numpy as np

    return float(np.nanmedian(table.column(name)))


def _query(options: argparse.Namespace) -> int:
    table = _load(options.table)
    given = options.genome
    if given in table.space.named:
        rank = table.rank(table.space.architecture(given))
    else:
        rank = table.rank(int(given) if given.isdecimal() else given)
    metric = table.metric(options.metric)
    value = table.query(rank, options.metric, options.seed)
    if options.json:
        print_json(
            {
                "table": table.name,
                "genome": table.genome(rank).text,
                "rank": rank,
                "metric": metric.name,
                "seed": options.seed,
                "value": _finite(value),
                "place": table.place(rank, options.metric),
                "row": {name: _finite(each) for name, each in table.row(rank).items()},
            }
        )
        return DONE
    of = "" if options.seed is None else f" of seed {options.seed}"
    print(f"{metric.name}{of} {_number(value)} {metric.unit}")
    if options.metric is None and options.seed is None:
        print(f"place {table.place(rank):,} of {len(table):,}")
        rest = {name: each for name, each in table.row(rank).items() if name != metric.name}
        for name, each in rest.items():
            unit = table.metrics[name].unit
            print(f"{name} {_number(each)}" + (f" {unit}" if unit != name else ""))
    return DONE


def _best(options: argparse.Namespace) -> int:
    table = _load(options.table)
    name = table.metric(options.metric).name
    rows = table.best(name, options.count)
    if options.json:
        print_json(
            [
                {"genome": genome.text, "rank": table.rank(genome), name: _finite(value)}
                for genome, value in rows
            ]
        )
    else:
        _print_columns([[name, "genome"], *([_number(value), genome.text] for genome, value in rows)])
    return DONE


def _compare(options: argparse.Namespace) -> int:
    import sys
    from dataclasses import asdict

    from nas import compare
    from nas.report import plots

    strategies = [name.strip() for name in options.strategies.split(",")]
    plots.require()
    for name in options.tables:
        _load(name)
    compare.check(options.tables, strategies, options.evaluations)
    folder = _writable(Path(options.out or "comparison"))

    def observe(done: int, of: int) -> None:
        if sys.stderr.isatty() or done == of:
            print(f"\r{done} of {of} runs", end="\n" if done == of else "", file=sys.stderr, flush=True)

    try:
        rows = compare.compare(
            options.tables,
            strategies,
            evaluations=options.evaluations,
            seeds=options.seeds,
            workers=options.workers,
            keep=folder / "runs",
            observe=observe,
        )
    except RuntimeError as error:  # a strategy failed
        print(f"nas: {error}", file=sys.stderr)
        return FAILED
    curves = compare.curves(rows)
    written = [
        compare.write(rows, folder),
        *plots.regret_figure(curves, folder),
        *plots.edf_figure(curves, folder),
    ]
    ranks = compare.ranks(curves)
    if len(strategies) > 1:
        written += plots.ranks_figure(ranks, folder)
    if options.json:
        told = {name: _finite(value) for name, value in asdict(ranks).items() if name != "mean"}
        print_json(
            {
                "regret": compare.summary(curves),
                "ranks": {**told, "mean": ranks.mean},
                "files": list(map(str, written)),
            }
        )
        return DONE
    interval = " and its 95 % interval" if options.seeds >= compare.FEWEST else ""
    print(f"Regret (loss - best) / (median - best), median of {options.seeds} seeds{interval}")
    print()
    cells: dict[tuple[str, str], list[str]] = {}
    for row in compare.summary(curves):
        between = f" [{row['low']:.3f}, {row['high']:.3f}]" if interval else ""
        cells.setdefault((row["table"], row["strategy"]), []).append(f"{row['median']:.3f}{between}")
    milestones = compare.milestones(len(curves[0].median))
    heads = ["table", "strategy", *(f"after {number}" for number in milestones)]
    _print_columns([heads, *([*key, *values] for key, values in cells.items())])
    print()
    if len(strategies) > 1:
        print(
            f"Mean rank over {ranks.blocks} rankings, in the end; {ranks.difference:.2f} apart is more than chance"
        )
        print()
        _print_columns([[f"{mean:.2f}", name] for name, mean in ranks.mean.items()])
        print()
    for curve in curves:
        if curve.shortest < options.evaluations:
            ended = f"a run ended after {curve.shortest:,} evaluations, with no more to propose"
            print(f"{curve.strategy} on {curve.table}: {ended}")
    print(f"Written: {', '.join(map(str, written))}")
    return DONE


def _add(options: argparse.Namespace) -> int:
    from nas.tables import read_file
    from nas.types import InvalidInput

    if not options.table.endswith(".toml"):
        if options.out is not None:
            raise InvalidInput(f"--out is for tables of a file, and {options.table} is kept in the cache")
        return _told(options, _load(options.table))
    if options.out is None:
        raise InvalidInput(
            f"--out says where the table of {options.table} is written: a file that ends in .arrow"
        )
    return _told(options, read_file(options.table, options.out))


def _build(options: argparse.Namespace) -> int:
    from nas.result import load
    from nas.tables import tabulate

    return _told(
        options,
        tabulate([load(run) for run in options.runs], options.out, options.name, options.licence),
    )


def _told(options: argparse.Namespace, table: Table) -> int:
    """Says of a table that was made what it is and where."""
    if options.json:
        print_json({"table": table.name, "rows": len(table), "path": str(table.path)})
    else:
        print(f"{table.name}: {len(table):,} rows, {', '.join(table.metrics)}")
        print(f"Kept in {table.path}")
    return DONE


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


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.6g}"


def _finite(value: float) -> float | None:
    return None if value != value else value


def _print_columns(rows: Sequence[Sequence[Any]]) -> None:
    """Rows of texts in aligned columns, without the weight of a library for tables."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
