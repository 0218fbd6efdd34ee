"""The tables known by name, and how each is had: made from its source when it is first asked for, then kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.catalog import fcnet, hpobench, nasbench201, nasbench_graph
from benchmarks.catalog.package import Source
from benchmarks.description import InvalidTable
from benchmarks.table import Table
from spaces.errors import suggest

TABLES: Mapping[str, Source] = {
    **fcnet.TABLES,
    **hpobench.TABLES,
    **nasbench201.TABLES,
    **nasbench_graph.TABLES,
}

logger = logging.getLogger(__name__)


def load(name: str | Path) -> Table:
    """A table by name, or by the path of its Arrow file.

    "name:metric" is the table with another objective. Only so can a search be after a metric of the test split.

    Raises:
        InvalidTable: the name or the metric is unknown, what the table is made from is not installed, or the file is no
            table.
    """
    name, objective = parted(name)
    if name.endswith(".arrow"):
        return Table(name, objective)
    if name not in TABLES:
        of_data = {each.partition("/")[2]: each for each in TABLES}
        meant = of_data.get(name, name)
        raise InvalidTable(f"unknown table {name!r}{suggest(meant, TABLES)}, or the path of an .arrow file")
    path, source = cache_path(name), TABLES[name]
    if path.exists():
        try:
            table = Table(path)
        except InvalidTable as error:
            logger.warning("%s; it is made again", error)
        else:
            if table.description == source.description:
                return table if objective is None else Table(path, objective)
            logger.warning("%s describes another table; it is made again", path)
    columns = source.columns()
    try:
        Table.write(path, source.description, columns)
    except (InvalidTable, OSError) as error:
        raise InvalidTable(f"{error}; set NAS_CACHE to a folder that can be written") from error
    return Table(path, objective)


def parted(name: str | Path) -> tuple[str, str | None]:
    """The name or path of a table, and the metric after it, if there is one."""
    name = str(name)
    table, colon, objective = name.rpartition(":")
    if not colon or name.endswith(".arrow"):
        return name, None
    return table, objective or None


def cache_path(name: str) -> Path:
    """Where a table is kept: below NAS_CACHE, default ~/.cache/grammar-nas."""
    cache = Path(os.environ.get("NAS_CACHE") or "~/.cache/grammar-nas").expanduser()
    version = TABLES[name].description.source.replace(" ", "-")
    return cache / "tables" / f"{name.replace('/', '-')}-{version}.arrow"
