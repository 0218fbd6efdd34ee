"""What comparisons found, as Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.compare.statistics import Curve

if TYPE_CHECKING:
    import pyarrow


def write(rows: pyarrow.Table, folder: Path) -> Path:
    """Keeps what `compare` gave as evaluations.parquet."""
    return _written(rows, folder / "evaluations.parquet")


def write_curves(found: Sequence[Curve], folder: Path) -> Path:
    """Keeps curves as curves.parquet, one row a point: the regret of a contestant on a table after so much was spent.

    Its columns are table, strategy, `over` (what is spent: "evaluations" or "seconds"), `at` (how much), seeds, and of
    the regret over seeds the median, its interval `low` and `high`, the mean and the interquartile_mean; none where
    they are not known.
    """
    import pyarrow

    parts = [
        pyarrow.table(
            {
                **{
                    key: [value] * len(curve.at)
                    for key, value in (
                        ("table", curve.table),
                        ("strategy", curve.strategy),
                        ("over", curve.over),
                    )
                },
                "at": curve.at.astype(float),
                "seeds": [curve.seeds] * len(curve.at),
                **{
                    name: pyarrow.array(values, from_pandas=True)
                    for name, values in (
                        ("median", curve.median),
                        *zip(("low", "high"), curve.intervals["median"], strict=True),
                        ("mean", curve.mean),
                        ("interquartile_mean", curve.interquartile_mean),
                    )
                },
            }
        )
        for curve in found
    ]
    return _written(pyarrow.concat_tables(parts), folder / "curves.parquet")


def _written(rows: pyarrow.Table, path: Path) -> Path:
    from pyarrow import parquet

    parquet.write_table(rows, path)
    return path
