"""Genomes as drawings that a person can read. Needs matplotlib (`pip install 'grammar-nas[report]'`).

Derivation trees are drawn from the top down: sequences below one another, branches side by side, repeats folded into
one frame with its number. All other genomes are drawn as their canonical graph, in layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.report.plots import require
from nas.types import InvalidInput
from spaces import Genome, GrammarSpace, Space
from spaces.derivation import Node
from spaces.grammar import spell
from spaces.graph import Graph

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMS = (".svg", ".png", ".pdf")
"""How a drawing may be written."""

LINE = 0.2
"""Height of a line of text, and the unit of all distances, in inches."""
LETTER = 0.083
"""Width of a letter in inches, about."""
GAP = 0.28
"""Between one box and the next, where the arrow is."""

EDGE = "#555555"
FILLS = ("#dbe9f6", "#e5f5e0", "#fde8d7", "#efe3f5", "#fff3c9", "#e0f3f3", "#f9dfe5", "#e8e8e8")


@dataclass(frozen=True)
class _Box:
    """Something to be drawn: its size in inches, and how; x is its middle and y its top. What flows goes through x.

    `head`: an arrow that leads to it ends in a head, and not only a line, as where it goes on inside.
    """

    width: float
    height: float
    draw: Callable[[Axes, float, float], None]
    head: bool = True


def draw(space: Space, genome: Genome, path: str | Path) -> Path:
    """Writes a drawing of a genome; the ending of the path says in which form.

    Raises:
        InvalidInput: it has another ending than one of `FORMS`, or matplotlib is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMS:
        raise InvalidInput(
            f"a drawing cannot be written as {path.name!r}: its name ends in {', '.join(FORMS)}"
        )
    require()
    from matplotlib.figure import Figure

    if isinstance(space, GrammarSpace):
        box = _column([_label("input"), _tree(space.tree(genome)), _label("output")])
    else:
        box = _layers(space.graph(genome))
    margin = LINE
    width, height = box.width + 2 * margin, box.height + 2 * margin
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    box.draw(axes, width / 2, margin)
    figure.savefig(path, dpi=150)
    return path


def _tree(node: Node) -> _Box:
    """A derivation tree, by the form of its production."""
    form = node.production.form
    below = [_tree(child) for group in node.children for child in group]
    if form == "identity":
        return _label("identity")
    if form == "sequence":
        column = _column(below)
        return _frame(f"{node.production.name} ×{node.repeat}", column) if node.repeat > 1 else column
    if form == "residual":
        return _residual(below)
    operator = _operator(node.production.name, node.choices())
    return _frame(node.production.name, _row(below), _choices(node.choices())) if below else operator


def _choices(values: Any) -> list[str]:
    return [
        f"{key}={f'{value:.3g}' if isinstance(value, float) else spell(value)}"
        for key, value in values.items()
    ]


def _label(text: str) -> _Box:
    def draw(axes: Axes, x: float, y: float) -> None:
        axes.text(x, y + LINE / 2, text, ha="center", va="center", fontsize=9, color=EDGE)

    return _Box(LETTER * len(text), LINE, draw)


def _operator(name: str, values: Any) -> _Box:
    """A filled box with the name of an operator and its choices; one colour a name."""
    lines = _choices(values)
    width = LETTER * max(map(len, [name, *lines])) + LINE
    height = LINE * (1 + len(lines)) + 0.5 * LINE
    fill = FILLS[sum(name.encode()) % len(FILLS)]

    def draw(axes: Axes, x: float, y: float) -> None:
        _rectangle(axes, x - width / 2, y, width, height, facecolor=fill)
        axes.text(x, y + 0.75 * LINE, name, ha="center", va="center", fontsize=9, weight="bold")
        for i, line in enumerate(lines):
            axes.text(x, y + (1.75 + i) * LINE, line, ha="center", va="center", fontsize=8)

    return _Box(width, height, draw)


def _column(boxes: Sequence[_Box]) -> _Box:
    """One below the other, joined by arrows; an empty sequence is a line."""
    if not boxes:
        return _Box(LINE, LINE, lambda axes, x, y: _arrow(axes, [(x, y), (x, y + LINE)], head=False))
    height = sum(box.height for box in boxes) + GAP * (len(boxes) - 1)

    def draw(axes: Axes, x: float, y: float) -> None:
        for i, box in enumerate(boxes):
            if i:
                _arrow(axes, [(x, y - GAP), (x, y)], box.head)
            box.draw(axes, x, y)
            y += box.height + GAP

    return _Box(max(box.width for box in boxes), height, draw)


def _row(boxes: Sequence[_Box]) -> _Box:
    """Side by side between a fork and a join."""
    width = sum(box.width for box in boxes) + LINE * (len(boxes) - 1)
    height = max(box.height for box in boxes) + 2 * GAP

    def draw(axes: Axes, x: float, y: float) -> None:
        left = x - width / 2
        for box in boxes:
            middle = left + box.width / 2
            _arrow(axes, [(x, y), (middle, y), (middle, y + GAP)], box.head)
            box.draw(axes, middle, y + GAP)
            _arrow(axes, [(middle, y + GAP + box.height), (middle, y + height), (x, y + height)], head=False)
            left += box.width + LINE

    return _Box(width, height, draw, head=False)


def _residual(boxes: Sequence[_Box]) -> _Box:
    """Branches side by side, with a line around them; all are added up."""
    row = boxes[0] if len(boxes) == 1 else _row(boxes)
    reach = row.width / 2 + LINE
    plus = 0.75 * LINE

    def draw(axes: Axes, x: float, y: float) -> None:
        from matplotlib.patches import Circle

        start, end = y + LINE / 2, y + LINE + row.height + GAP + plus / 2
        _arrow(axes, [(x, y), (x, y + LINE)], row.head)
        row.draw(axes, x, y + LINE)
        _arrow(axes, [(x, y + LINE + row.height), (x, end - plus / 2)])
        _arrow(axes, [(x, start), (x + reach, start), (x + reach, end), (x + plus / 2, end)])
        axes.add_patch(Circle((x, end), plus / 2, facecolor="white", edgecolor=EDGE))
        axes.text(x, end, "+", ha="center", va="center", fontsize=9)

    return _Box(row.width + 2 * LINE, LINE + row.height + GAP + plus, draw, head=False)


def _frame(title: str, inner: _Box, lines: Sequence[str] = ()) -> _Box:
    """A frame with a title around what stands in it."""
    head = LINE * (1.5 + len(lines))
    text = max(map(len, [title, *lines])) * LETTER
    width = max(inner.width, text) + 2 * LINE
    height = head + inner.height + LINE

    def draw(axes: Axes, x: float, y: float) -> None:
        _rectangle(axes, x - width / 2, y, width, height, facecolor="none", linestyle="--")
        for i, line in enumerate([title, *lines]):
            weight = "normal" if i else "bold"
            axes.text(
                x - width / 2 + LINE / 2, y + (0.75 + i) * LINE, line, va="center", fontsize=8, weight=weight
            )
        _arrow(axes, [(x, y), (x, y + head)], head=False)
        inner.draw(axes, x, y + head)
        _arrow(axes, [(x, y + head + inner.height), (x, y + height)], head=False)

    return _Box(width, height, draw)


def _layers(graph: Graph) -> _Box:
    """A graph with every node below all that lead to it; long edges pass between the boxes of the layers between.

    After Sugiyama et al. 1981: an edge over several layers gets a place in each of them, and places are sorted by the
    mean of what leads to them.
    """
    number = len(graph.operators)
    pairs = list(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True))
    layer = [0] * number
    for source, target in pairs:
        layer[target] = max(layer[target], layer[source] + 1)
    layer[-1] = max(1, *layer)
    boxes = [
        _label(name) if name in ("input", "output", "add") else _operator(name, chosen)
        for name, chosen in zip(graph.operators, graph.choices, strict=True)
    ]
    routes: dict[tuple[int, int], list[int]] = {}
    before: dict[int, list[int]] = {}
    for source, target in dict.fromkeys(pairs):
        route = [source]
        for depth in range(layer[source] + 1, layer[target]):
            layer.append(depth)
            route.append(len(layer) - 1)
        route.append(target)
        routes[source, target] = route
        for a, b in itertools.pairwise(route):
            before.setdefault(b, []).append(a)
    widths = [boxes[place].width if place < number else LINE for place in range(len(layer))]
    rows: list[list[int]] = [[] for _ in range(max(layer) + 1)]
    for place, depth in enumerate(layer):
        rows[depth].append(place)
    across: dict[int, float] = {}
    for row in rows:
        wanted = {place: np.mean([across[a] for a in before.get(place, [])] or [0.0]) for place in row}
        row.sort(key=lambda place: float(wanted[place]))
        left = -(sum(widths[place] for place in row) + 2 * LINE * (len(row) - 1)) / 2
        for place in row:
            across[place] = left + widths[place] / 2
            left += widths[place] + 2 * LINE
    tallest = max(box.height for box in boxes)
    reach = max(abs(across[place]) + widths[place] / 2 for place in across)

    def draw(axes: Axes, x: float, y: float) -> None:
        def at(place: int) -> tuple[float, float]:
            return x + across[place], y + layer[place] * (tallest + 2 * GAP)

        for (source, target), route in routes.items():
            points = [(at(source)[0], at(source)[1] + boxes[source].height)]
            for place in route[1:-1]:
                points += [at(place), (at(place)[0], at(place)[1] + tallest)]
            _arrow(axes, [*points, at(target)])
            if pairs.count((source, target)) > 1:
                (x0, y0), (x1, y1) = points[-1], at(target)
                axes.text((x0 + x1) / 2, (y0 + y1) / 2, f" ×{pairs.count((source, target))}", fontsize=8)
        for place, box in enumerate(boxes):
            box.draw(axes, *at(place))

    return _Box(2 * reach, (len(rows) - 1) * (tallest + 2 * GAP) + LINE, draw)


def _rectangle(axes: Axes, left: float, top: float, width: float, height: float, **style: Any) -> None:
    from matplotlib.patches import FancyBboxPatch

    shape = f"round,pad=0,rounding_size={LINE / 3}"
    axes.add_patch(FancyBboxPatch((left, top), width, height, boxstyle=shape, edgecolor=EDGE, **style))


def _arrow(axes: Axes, points: Sequence[tuple[float, float]], head: bool = True) -> None:
    """A line through points, with a head at the last."""
    xs, ys = zip(*points, strict=True)
    axes.plot(xs, ys, color=EDGE, linewidth=0.9, solid_capstyle="round", zorder=0)
    if head:
        style = {"arrowstyle": "-|>", "color": EDGE, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", points[-1], points[-2], arrowprops=style)
