"""Figures, drawn from what was computed elsewhere. Needs matplotlib (`pip install 'grammar-nas[report]'`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.display import short
from nas.types import InvalidInput

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from nas.compare import Curve, Ranks


def require() -> None:
    """Raises InvalidInput where matplotlib is not installed; to be asked before the work that a figure shows."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InvalidInput(
            "figures need matplotlib, which is not installed: pip install 'grammar-nas[report]'"
        ) from error


def regret_figure(curves: Sequence[Curve], folder: Path) -> list[Path]:
    """Writes regret.svg and regret.png: a panel for each table, a line with its interval for each contestant.

    Curves over simulated seconds are written as regret_seconds.svg and regret_seconds.png.
    """
    from matplotlib.ticker import MaxNLocator

    from nas.compare import FEWEST

    timed = curves[0].over == "seconds"
    interval = " and 95 % interval" if curves[0].seeds >= FEWEST else ""
    figure, panels = _panels(curves, f"regret: median{interval}\nof {curves[0].seeds} seeds")
    for curve, panel, colour in panels:
        panel.fill_between(curve.at, *curve.intervals["median"], color=colour, alpha=0.18, linewidth=0)
        panel.plot(curve.at, curve.median, color=colour, label=curve.strategy)
        panel.set_yscale("symlog", linthresh=0.01, linscale=0.5)
        panel.set_ylim(bottom=0, auto=None)
        _regrets(panel.yaxis)
        if not timed:
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        elif curve.at[0] > 0:  # else no trial took time
            panel.set_xscale("log")
        panel.set_xlabel("simulated seconds" if timed else "evaluations")
    for panel in figure.axes:
        if panel.get_xscale() == "log":
            _times(panel.xaxis)
    _explain(figure)
    return _saved(figure, folder, "regret_seconds" if timed else "regret")


def edf_figure(curves: Sequence[Curve], folder: Path) -> list[Path]:
    """Writes edf.svg and edf.png: for each table the share of seeds that ended at most at a regret."""
    from spaces.populations import error_edf

    figure, panels = _panels(curves, "share of seeds")
    for curve, panel, colour in panels:
        errors, shares = error_edf(curve.regrets[:, -1])
        worst = max(each.regrets[:, -1].max() for each in curves if each.table == curve.table)
        steps = ([0, *errors, worst], [0, *shares, 1])
        panel.step(*steps, where="post", color=colour, label=curve.strategy)
        panel.set_xscale("symlog", linthresh=0.01, linscale=0.5)
        panel.set_xlim(left=0, auto=None)
        _regrets(panel.xaxis)
        panel.set_xlabel("regret at the end")
    _explain(figure)
    return _saved(figure, folder, "edf")


def _regrets(axis: Axis) -> None:
    """Numbers a scale that is logarithmic down to 0.01 and reaches zero, as regret does, as far as there are values."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator([0, *(base * 10.0**k for k in range(-2, 7) for base in (1, 3))]))
    axis.set_major_formatter(lambda value, _: short(value))
    axis.set_minor_locator(NullLocator())


def _times(axis: Axis) -> None:
    """Numbers a logarithmic scale of times with few numbers, which have room, however much of it is seen."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter

    low, high = axis.get_view_interval()
    bases = (1, 3) if high < 1000 * low else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    places = FixedLocator([base * 10.0**k for k in decades for base in bases])
    axis.set_major_locator(places if high > 10 * low else MaxNLocator(4))
    axis.set_major_formatter(lambda value, _: short(value))
    axis.set_minor_formatter(NullFormatter())


def _explain(figure: Figure) -> None:
    """Names the contestants below the panels, where no curve runs."""
    lines, names = figure.axes[0].get_legend_handles_labels()
    width = 4 if len(figure.axes) > 1 else 2
    figure.legend(lines, names, loc="outside lower center", ncols=min(width, len(names)), frameon=False)


def _panels(curves: Sequence[Curve], label: str) -> tuple[Figure, list[tuple[Curve, Any, str]]]:
    """A figure with a panel for each table, and for each curve its panel and the colour of its contestant."""
    from matplotlib.figure import Figure

    tables = list(dict.fromkeys(curve.table for curve in curves))
    strategies = list(dict.fromkeys(curve.strategy for curve in curves))
    columns = min(3, len(tables))
    rows = -(-len(tables) // columns)
    figure = Figure(figsize=(1.2 + 4.2 * columns, 1.0 + 3.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for panel, table in zip(grid.flat, tables, strict=False):
        panel.set_title(Path(table).name if ".arrow" in table else table)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in grid.flat[len(tables) :]:
        panel.set_visible(False)
    grid[0, 0].set_ylabel(label)
    return figure, [
        (curve, grid.flat[tables.index(curve.table)], f"C{strategies.index(curve.strategy)}")
        for curve in curves
    ]


def ranks_figure(ranks: Ranks, folder: Path) -> list[Path]:
    """Writes ranks.svg and ranks.png: contestants on a line by mean rank; bars join those that chance may part.

    The critical difference diagram of Demsar 2006, figure 1.
    """
    from matplotlib.figure import Figure

    names, means = list(ranks.mean), list(ranks.mean.values())
    groups = _alike(means, ranks.difference)
    left = -(-len(names) // 2)
    bottom = -0.35 * max(left, len(names) - left) - 0.13 * len(groups)
    figure = Figure(figsize=(8, 1.2 - bottom), layout="constrained")
    panel = figure.subplots()
    panel.set_axis_off()
    panel.set_xlim(0.7, max(len(names), 1 + ranks.difference) + 0.3)
    panel.set_ylim(bottom - 0.2, 0.9)
    panel.plot([1, len(names)], [0, 0], color="black", linewidth=1)
    for rank in range(1, len(names) + 1):
        panel.plot([rank, rank], [0, 0.06], color="black", linewidth=1)
        panel.text(rank, 0.12, str(rank), ha="center", va="bottom", fontsize=9)
    panel.plot([1, 1 + ranks.difference], [0.55, 0.55], color="black", linewidth=1.5)
    panel.text(1, 0.62, f"critical difference {ranks.difference:.2f}, {ranks.blocks} rankings", fontsize=9)
    for k, (low, high) in enumerate(groups):
        height = -0.14 - 0.13 * k
        panel.plot([means[low] - 0.04, means[high] + 0.04], [height, height], color="black", linewidth=3)
    for k, (name, mean) in enumerate(zip(names, means, strict=True)):
        best = k < left
        height = -0.13 * len(groups) - 0.35 * (k + 1 if best else len(names) - k)
        end = 0.8 if best else len(names) + 0.2
        panel.plot([mean, mean, end], [0, height, height], color="grey", linewidth=0.8)
        text = f"{name}  {mean:.2f}" if best else f"{mean:.2f}  {name}"
        away = -0.06 if best else 0.06  # beside the line, as others' lines pass above it
        panel.text(end + away, height, text, ha="right" if best else "left", va="center", fontsize=9)
    return _saved(figure, folder, "ranks")


def _alike(means: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """The longest runs of ascending means, by their ends, that lie within a difference; none of one alone."""
    runs: list[tuple[int, int]] = []
    for low in range(len(means)):
        high = max(k for k in range(low, len(means)) if means[k] - means[low] <= difference)
        if high > low and (not runs or high > runs[-1][1]):
            runs.append((low, high))
    return runs


def _saved(figure: Figure, folder: Path, name: str) -> list[Path]:
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    for path in paths:
        figure.savefig(path, dpi=150)
    return paths
