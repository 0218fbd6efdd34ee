"""`nas bench`: tabular benchmarks; `list`, `add` and `build` are here."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nas.commands import comparisons, queries
from nas.commands.common import DONE, Commands, load_table, print_columns, print_json

if TYPE_CHECKING:
    from benchmarks import Table


def add(commands: Commands) -> None:
    bench = commands.add_parser("bench", help="query tabular benchmarks, compare strategies on them")
    kinds = bench.add_subparsers(title="commands", metavar="COMMAND", required=True)

    listed = kinds.add_parser("list", help="the tables known by name")
    listed.add_argument("--formats", action="store_true", help="the files of studies that can be added")
    listed.set_defaults(command=_list)

    queries.add(kinds)
    comparisons.add(kinds)

    add = kinds.add_parser(
        "add", help="make a table known by name, or one of a file that a TOML file describes"
    )
    add.add_argument(
        "table", metavar="TABLE", help="a name, a TOML file (see `nas.tables.read_file`), or with --as a file"
    )
    add.add_argument(
        "--as",
        dest="format",
        metavar="FORMAT",
        help="what the file is of: a published study (see `list --formats`) or a TOML file",
    )
    add.add_argument("--out", metavar="FILE", help="of a file: a new one that ends in .arrow")
    add.set_defaults(command=_add)

    build = kinds.add_parser("build", help="a table of what campaigns measured")
    build.add_argument("runs", nargs="+", metavar="RUN", help="run folders that trained alike")
    build.add_argument("--out", required=True, metavar="FILE", help="a new file that ends in .arrow")
    build.add_argument("--name", help="of the table (default: own/ and the name of the first campaign)")
    build.add_argument("--licence", default="", help="under which others may use it")
    build.set_defaults(command=_build)
    for command in (listed, add, build):
        command.add_argument("--json", action="store_true")


def _list(options: argparse.Namespace) -> int:
    import benchmarks
    from benchmarks.catalog import cache_path

    if options.formats:
        return _list_formats(options)
    rows = [
        {"name": name, "about": source.description.about, "kept": cache_path(name).exists()}
        for name, source in benchmarks.TABLES.items()
    ]
    if options.json:
        print_json(rows)
        return DONE
    cells = [[row["name"], "yes" if row["kept"] else "no", row["about"]] for row in rows]
    print_columns([["table", "kept", "about"], *cells])
    print()
    folder = cache_path(next(iter(benchmarks.TABLES))).parent
    print(f"Kept in {folder}; others are made when they are first asked for")
    return DONE


def _list_formats(options: argparse.Namespace) -> int:
    from nas.tables import FORMATS, hpob, nats
    from nas.tables.files import keys_of

    rows = [
        {"format": name, **{key: keys_of(path)[key] for key in ("about", "source", "paper")}}
        for name, path in FORMATS.items()
    ]
    rows += [
        {"format": f"{name}:PART", "about": module.ABOUT, "source": module.SOURCE, "paper": module.PAPER}
        for name, module in (("hpob", hpob), ("nats-topology", nats), ("nats-size", nats))
    ]
    if options.json:
        print_json(rows)
    else:
        print_columns([[row["format"], row["about"], row["source"]] for row in rows])
    return DONE


def _add(options: argparse.Namespace) -> int:
    from nas.tables import FORMATS, read_file
    from nas.types import InvalidInput

    if options.format is None and not options.table.endswith(".toml"):
        if Path(options.table).suffix in (".csv", ".parquet", ".json", ".pbz2", ".pth"):
            raise InvalidInput(
                f"{options.table} needs --as, which says what it holds: a TOML file, or the format of a published "
                "study (see nas bench list --formats)"
            )
        if options.table in FORMATS:
            raise InvalidInput(
                f"{options.table} is a format of files: nas bench add FILE --as {options.table} --out TABLE.arrow"
            )
        made = load_table(options.table)
        if options.out is not None:
            raise InvalidInput(f"--out is for tables of a file, and {options.table} is kept in {made.path}")
        return _told(options, made)
    if options.out is None:
        raise InvalidInput(
            f"--out says where the table of {options.table} is written: a file that ends in .arrow"
        )
    if options.format is None:
        return _told(options, read_file(options.table, options.out))
    return _told(options, read_file(options.format, options.out, options.table))


def _build(options: argparse.Namespace) -> int:
    from nas.result import load
    from nas.tables import tabulate
    from spaces.lookup import importable

    importable(Path.cwd())
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
