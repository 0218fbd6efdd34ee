"""`nas bench info`, `query` and `best`: what a table holds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nas.commands.common import DONE, Commands, at_least, load_table, print_columns, print_json

if TYPE_CHECKING:
    from benchmarks import Metric, Table
    from spaces import Genome
    from spaces.fields import Choice, Real


def add(kinds: Commands) -> None:
    info = kinds.add_parser("info", help="what a table holds and where it comes from")
    info.set_defaults(command=_info)

    query = kinds.add_parser("query", help="what was measured of one genome, or of several")
    query.set_defaults(command=_query)

    best = kinds.add_parser("best", help="the best rows of a table")
    best.set_defaults(command=_best)

    for command in (info, query, best):
        command.add_argument("table", metavar="TABLE", help="a name, or the path of an .arrow file")
    query.add_argument("genomes", nargs="+", metavar="GENOME", help="its text, its rank or its name")
    for command in (query, best):
        command.add_argument("--metric", metavar="NAME", help="default: the table's objective")
    for command in (query, best):
        command.add_argument(
            "--fidelity", type=at_least(1), metavar="N", help="after so much training (default: at its end)"
        )
    best.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="only rows that meet it, as 'parameters < 500000' or 'lr_schedule == cosine'; may be repeated",
    )
    info.add_argument(
        "--networks", action="store_true", help="count the different networks among the rows (takes seconds)"
    )
    query.add_argument("--curve", action="store_true", help="the metric along training")
    query.add_argument(
        "--nearest",
        type=at_least(1),
        metavar="N",
        help="the N rows most like it, which itself need have none",
    )
    query.add_argument(
        "--seed", type=at_least(0), metavar="N", help="of one training run (default: their mean)"
    )
    best.add_argument("--count", type=at_least(1), default=1, metavar="N", help="default: 1")
    for command in (info, query, best):
        command.add_argument("--json", action="store_true")


def _info(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from spaces import JointSpace, ProductSpace
    from spaces.catalog.points import Points
    from spaces.fields import Choice

    table = load_table(options.table)
    about = table.description
    metrics = [
        {
            **asdict(metric),
            "rows": _measured(table, name),
            "best": table.best(name)[0].value,
            "median": _median(table, name),
        }
        for name, metric in table.metrics.items()
    ]
    counted = {"networks": table.network_count} if options.networks else {}
    fields = table.space.fields if isinstance(table.space, ProductSpace | JointSpace | Points) else {}
    if options.json:
        told = {**about.to_dict(), "rows": len(table), **counted, "metrics": metrics, "path": str(table.path)}
        told["checksum"] = table.checksum
        told["fields"] = {
            name: list(field.values) if isinstance(field, Choice) else asdict(field)
            for name, field in fields.items()
        }
        print_json(told)
        return DONE
    print(f"{table.name}: {about.about}" if about.about else table.name)
    each = "listed genomes" if about.listed else "one for each genome"
    print(f"rows       {len(table):,}, {each} of space {about.space}")
    for what, number in counted.items():
        print(f"{what:<10} {number:,} different ones")
    if table.fidelities is not None:
        axis = table.fidelities
        each = "along training" if axis.resumable else "of trainings of their own"
        print(
            f"fidelities {len(axis.amounts):,} from {axis.amounts[0]:,} to {axis.amounts[-1]:,} {axis.unit}, {each}"
        )
    print(f"objective  {about.objective}")
    for what, said in (("source", about.source), ("licence", about.licence), ("paper", about.paper)):
        print(f"{what:<10} {said or 'not told'}")
    print(f"checksum   {table.checksum}")
    print(f"kept in    {table.path}")
    print()
    heads = ["metric", "direction", "best", "median", "rows", "seeds", "split", "unit", "measured on"]
    cells = [
        [
            metric["name"],
            metric["direction"],
            _number(metric["best"]),
            _number(metric["median"]),
            f"{metric['rows']:,}",
            str(metric["seeds"]),
            metric["split"] or "-",
            metric["unit"],
            metric["data"],
        ]
        for metric in metrics
    ]
    print_columns([heads, *cells])
    if fields:
        print()
        print_columns([["field", "values"], *([name, _values(field)] for name, field in fields.items())])
    return DONE


def _values(field: Choice | Real) -> str:
    """The values of a field, of many the first and the last; or its range."""
    from spaces.fields import Real, spell

    if isinstance(field, Real):
        return f"{spell(field.low)} to {spell(field.high)}" + (", on a log scale" if field.log else "")
    values = [*map(spell, field.values)]
    told = values if len(values) <= 12 else [*values[:3], "...", values[-1]]
    return ", ".join(told) + (f" ({len(values):,})" if told is not values else "")


def _median(table: Table, name: str) -> float:
    import numpy as np

    return float(np.nanmedian(table.column(name)))


def _query(options: argparse.Namespace) -> int:
    table = load_table(options.table)
    items = [_item(table, each) for each in options.genomes]
    if len(items) > 1:
        return _several(options, table, items)
    (item,) = items
    if options.nearest is not None:
        return _nearest(options, table, item)
    rank = table.rank(item)
    metric = table.metric(options.metric)
    if options.curve:
        return _curve(options, table, rank)
    value = table.query(rank, options.metric, options.seed, options.fidelity)
    row = table.row(rank, options.seed, options.fidelity)
    known = options.seed is None and value == value
    place = table.place(rank, options.metric, options.fidelity) if known else None
    if options.json:
        print_json(
            {
                "table": table.name,
                "genome": table.genome(rank).text,
                "rank": rank,
                "metric": metric.name,
                "seed": options.seed,
                "fidelity": options.fidelity,
                "value": _finite(value),
                "place": place,
                "row": {name: _finite(each) for name, each in row.items()},
            }
        )
        return DONE
    of = "" if options.seed is None else f" of seed {options.seed}"
    if options.fidelity is not None and table.fidelities is not None:
        of += f" after {options.fidelity} {table.fidelities.unit}"
    print(f"{metric.name}{of} {_amount(value, metric)}")
    if options.metric is None and options.seed is None:
        if place is not None:
            print(f"place {place:,} of {_measured(table, fidelity=options.fidelity):,}")
        for name, each in row.items():
            if name != metric.name:
                print(f"{name} {_amount(each, table.metrics[name])}")
    return DONE


def _several(options: argparse.Namespace, table: Table, items: Sequence[Any]) -> int:
    """Tells a metric of several genomes.

    Raises:
        InvalidInput: what is asked for is told of one genome only.
    """
    from nas.types import InvalidInput

    for option in ("curve", "nearest"):
        if getattr(options, option):
            raise InvalidInput(f"--{option} is of one genome, but {len(items)} are asked for")
    values = table.query_many(items, options.metric, options.seed, options.fidelity)
    rows = [
        (table.genome(table.rank(item)), value) for item, value in zip(items, values.tolist(), strict=True)
    ]
    return _values_of(options, table, rows)


def _values_of(options: argparse.Namespace, table: Table, rows: Sequence[tuple[Genome, float]]) -> int:
    """Tells genomes and the values of a metric, one a line."""
    name = table.metric(options.metric).name
    if options.json:
        print_json(
            [
                {"genome": genome.text, "rank": table.rank(genome), name: _finite(value)}
                for genome, value in rows
            ]
        )
    else:
        print_columns(
            [[_head(table, options), "genome"], *([_number(value), genome.text] for genome, value in rows)]
        )
    return DONE


def _item(table: Table, given: str) -> Any:
    """What is asked for: a rank, a known model of the space, or a genome by its text."""
    from spaces import InvalidGenome
    from spaces.errors import nearest

    if given.isdecimal():
        return int(given)
    named = table.space.named
    if given in named:
        return table.space.architecture(given)
    try:
        return table.space.parse(given)
    except InvalidGenome as error:
        near = nearest(given, named)
        if near is None:
            raise
        raise InvalidGenome(f"{error}; of known models, did you mean {near!r}?") from None


def _measured(table: Table, metric: str | None = None, fidelity: int | None = None) -> int:
    """How many rows a metric was measured of; None: the objective."""
    import numpy as np

    return int(np.isfinite(table.column(metric, fidelity=fidelity)).sum())


def _curve(options: argparse.Namespace, table: Table, rank: int) -> int:
    """Tells a metric of a row along training."""
    name = table.metric(options.metric).name
    curve = table.curve(rank, options.metric, options.seed)
    unit = table.fidelities.unit if table.fidelities is not None else ""
    pairs = [*zip(curve.amounts.tolist(), curve.values.tolist(), strict=True)]
    if options.json:
        genome = table.genome(rank).text
        told = {"table": table.name, "genome": genome, "rank": rank, "metric": name, "seed": options.seed}
        print_json({**told, "unit": unit, "curve": [list(pair) for pair in pairs]})
    else:
        print_columns(
            [[unit, _head(table, options)], *([str(amount), _number(value)] for amount, value in pairs)]
        )
    return DONE


def _nearest(options: argparse.Namespace, table: Table, item: Any) -> int:
    """Tells the rows nearest to a genome, and what was measured of them."""
    name = table.metric(options.metric).name
    rows = [
        (near, table.query(near.row, options.metric, options.seed, options.fidelity))
        for near in table.nearest(item, options.nearest)
    ]
    if options.json:
        print_json(
            [
                {
                    "genome": near.genome.text,
                    "rank": near.row,
                    "distance": near.distance,
                    name: _finite(value),
                }
                for near, value in rows
            ]
        )
    else:
        cells = [[_number(near.distance), _number(value), near.genome.text] for near, value in rows]
        print_columns([["distance", _head(table, options), "genome"], *cells])
    return DONE


def _best(options: argparse.Namespace) -> int:
    table = load_table(options.table)
    name = table.metric(options.metric).name
    among = table.filter(*options.where, fidelity=options.fidelity)
    return _values_of(options, table, table.best(name, options.count, options.fidelity, among))


def _head(table: Table, options: argparse.Namespace) -> str:
    """What the column of a metric is called: its name, and its unit where it has one."""
    metric = table.metric(options.metric)
    return f"{metric.name}, {metric.unit}" if metric.unit else metric.name


def _number(value: float) -> str:
    """A number in six digits, a whole one in full."""
    if value != value:
        return "-"
    return f"{value:.0f}" if value % 1 == 0 and abs(value) < 1e15 else f"{value:.6g}"


def _amount(value: float, metric: Metric) -> str:
    """A number with its unit, where the name of the metric does not say it, or that there is none."""
    unit = "" if metric.unit == metric.name else metric.unit
    return "not measured" if value != value else f"{_number(value)} {unit}".rstrip()


def _finite(value: float) -> float | None:
    return None if value != value else value
