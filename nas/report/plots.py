"""Figures, drawn from what was computed elsewhere. Needs matplotlib (`pip install 'grammar-nas[report]'`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.types import InvalidInput

if TYPE_CHECKING:
    from nas.compare import Curve


def require() -> None:
    """Raises InvalidInput where matplotlib is not installed; to be asked before the work that a figure shows."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InvalidInput(
            "figures need matplotlib, which is not installed: pip install 'grammar-nas[report]'"
        ) from error


def regret_figure(curves: Sequence[Curve], folder: Path) -> list[Path]:
    """Writes regret.svg and regret.png: a panel for each table, a line with its interval for each contestant."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    tables = list(dict.fromkeys(curve.table for curve in curves))
    columns = min(3, len(tables))
    rows = -(-len(tables) // columns)
    figure = Figure(figsize=(1.2 + 4.2 * columns, 0.4 + 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    colours = {name: f"C{k}" for k, name in enumerate(dict.fromkeys(curve.strategy for curve in curves))}
    for panel, table in zip(panels.flat, tables, strict=False):
        for curve in (curve for curve in curves if curve.table == table):
            evaluations = range(1, len(curve.median) + 1)
            colour = colours[curve.strategy]
            panel.fill_between(evaluations, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
            panel.plot(evaluations, curve.median, color=colour, label=curve.strategy)
        # Regret reaches zero, which no logarithmic scale has.
        panel.set_yscale("symlog", linthresh=0.01, linscale=0.5)
        panel.set_ylim(bottom=0)
        panel.set_yticks([0, 0.01, 0.03, 0.1, 0.3, 1], ["0", "0.01", "0.03", "0.1", "0.3", "1"])
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_title(table)
        panel.set_xlabel("evaluations")
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels.flat[len(tables) :]:
        panel.set_visible(False)
    panels[0, 0].set_ylabel(f"regret, median of {curves[0].seeds} seeds")
    panels[0, 0].legend(frameon=False)
    paths = [folder / "regret.svg", folder / "regret.png"]
    for path in paths:
        figure.savefig(path, dpi=150)
    return paths
