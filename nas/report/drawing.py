"""Genomes as drawings that a person can read. Needs matplotlib (`pip install 'grammar-nas[report]'`).

Derivation trees are drawn from the top down: sequences below one another, branches side by side, repeats folded into
one frame with its number; STAR's backbones and operators in a row likewise. All other genomes are drawn as their
canonical graph, in layers.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.report.boxes import (
    GAP,
    LINE,
    Box,
    arrow,
    choices,
    column,
    folds,
    frame,
    label,
    operator,
    residual,
    row,
    stack,
)
from nas.report.flow_drawing import flow
from nas.report.plots import require
from nas.report.star_drawing import star
from nas.types import InvalidInput
from spaces import FlowSpace, Genome, GrammarSpace, JointSpace, Space
from spaces.catalog.star import STAR
from spaces.derivation import Node
from spaces.graph import Graph

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMS = (".svg", ".png", ".pdf")
"""How a drawing may be written."""


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

    box = _box(space, genome)
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


def _box(space: Space, genome: Genome) -> Box:
    """A genome from its input to its output; hyperparameters stand below the network."""
    if isinstance(space, JointSpace):
        pair = space.pair(genome)
        settings = operator("hyperparameters", choices(space.values_of(pair.settings)))
        return stack([_box(space.architectures, pair.architecture), settings])
    if isinstance(space, GrammarSpace):
        inner = _tree(space.tree(genome))
    elif isinstance(space, FlowSpace):
        inner = flow(space.tree(genome), space.grammar)
    elif isinstance(space, STAR):
        inner = star(space.tree(genome))
    else:
        graph = space.graph(genome)
        pairs = sorted(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True))
        if len(pairs) < 2 or pairs != list(itertools.pairwise(range(len(graph.operators)))):
            return _layers(graph)
        inner = _in_a_row(graph)
    return column([label("input"), inner, label("output")])


def _tree(node: Node) -> Box:
    """A derivation tree, by the form of its production."""
    form = node.production.form
    below = [_tree(child) for group in node.children for child in group]
    if form == "identity":
        return label("identity")
    if form == "sequence":
        layers = column(below)
        return frame(f"{node.production.name} ×{node.repeat}", layers) if node.repeat > 1 else layers
    if form == "residual":
        return residual(below)
    if below:
        return frame(node.production.name, row(below), choices(node.choices()))
    return operator(node.production.name, choices(node.choices()))


def _in_a_row(graph: Graph) -> Box:
    """The operators between input and output, of a graph in which each leads to the next."""
    steps = [
        (name, tuple(choices(chosen)))
        for name, chosen in zip(graph.operators[1:-1], graph.choices[1:-1], strict=True)
    ]
    boxes, place = [], 0
    for period, times in folds(steps):
        here = [operator(name, lines) for name, lines in steps[place : place + period]]
        boxes += [frame(f"×{times}", column(here))] if times > 1 else here
        place += period * times
    return column(boxes)


def _layers(graph: Graph) -> Box:
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
        label(name) if name in ("input", "output", "add") else operator(name, choices(chosen))
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
    for line in rows:
        wanted = {place: np.mean([across[a] for a in before.get(place, [])] or [0.0]) for place in line}
        line.sort(key=lambda place: float(wanted[place]))
        left = -(sum(widths[place] for place in line) + 2 * LINE * (len(line) - 1)) / 2
        for place in line:
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
            arrow(axes, [*points, at(target)])
            if pairs.count((source, target)) > 1:
                (x0, y0), (x1, y1) = points[-1], at(target)
                axes.text((x0 + x1) / 2, (y0 + y1) / 2, f" ×{pairs.count((source, target))}", fontsize=8)
        for place, box in enumerate(boxes):
            box.draw(axes, *at(place))

    return Box(2 * reach, (len(rows) - 1) * (tallest + 2 * GAP) + LINE, draw)
