"""Boxes that a drawing is put together from, each drawn below, beside or inside others. Sizes are in inches."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spaces.fields import spell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE = 0.2
"""Height of a line of text, and the unit of all distances, in inches."""
LETTER = 0.083
"""Width of a letter in inches, about."""
GAP = 0.28
"""Between one box and the next, where the arrow is."""

EDGE = "#555555"
FILLS = ("#dbe9f6", "#e5f5e0", "#fde8d7", "#efe3f5", "#fff3c9", "#e0f3f3", "#f9dfe5", "#e8e8e8")


@dataclass(frozen=True)
class Box:
    """Something to be drawn: its size in inches, and how; x is its middle and y its top. What flows goes through x.

    `head`: an arrow that leads to it ends in a head, and not only a line, as where it goes on inside.
    """

    width: float
    height: float
    draw: Callable[[Axes, float, float], None]
    head: bool = True


def folds(steps: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    """How a row of steps is folded: of each part in order its number of steps, and how often they come, 1 for a step
    that is not repeated. Of all repeats from a place on, the fewest steps that cover the most are taken."""
    place = 0
    while place < len(steps):
        best = (1, 1)
        for period in range(1, (len(steps) - place) // 2 + 1):
            pattern, times = steps[place : place + period], 1
            while steps[place + times * period : place + (times + 1) * period] == pattern:
                times += 1
            if times > 1 and period * times > best[0] * best[1]:
                best = (period, times)
        yield best
        place += best[0] * best[1]


def choices(values: Mapping[str, Any]) -> list[str]:
    """Choices and numbers, a line each."""
    return [
        f"{key}={f'{value:.3g}' if isinstance(value, float) else spell(value)}"
        for key, value in values.items()
    ]


def label(text: str) -> Box:
    def draw(axes: Axes, x: float, y: float) -> None:
        axes.text(x, y + LINE / 2, text, ha="center", va="center", fontsize=9, color=EDGE)

    return Box(LETTER * len(text), LINE, draw)


def operator(name: str, lines: Sequence[str] = ()) -> Box:
    """A filled box with the name of an operator and lines below it; one colour a name."""
    width = LETTER * max(map(len, [name, *lines])) + LINE
    height = LINE * (1 + len(lines)) + 0.5 * LINE
    fill = FILLS[sum(name.encode()) % len(FILLS)]

    def draw(axes: Axes, x: float, y: float) -> None:
        rectangle(axes, x - width / 2, y, width, height, facecolor=fill)
        axes.text(x, y + 0.75 * LINE, name, ha="center", va="center", fontsize=9, weight="bold")
        for i, line in enumerate(lines):
            axes.text(x, y + (1.75 + i) * LINE, line, ha="center", va="center", fontsize=8)

    return Box(width, height, draw)


def column(boxes: Sequence[Box]) -> Box:
    """One below the other, joined by arrows; an empty sequence is a line."""
    if not boxes:
        return Box(LINE, LINE, lambda axes, x, y: arrow(axes, [(x, y), (x, y + LINE)], head=False))
    height = sum(box.height for box in boxes) + GAP * (len(boxes) - 1)

    def draw(axes: Axes, x: float, y: float) -> None:
        for i, box in enumerate(boxes):
            if i:
                arrow(axes, [(x, y - GAP), (x, y)], box.head)
            box.draw(axes, x, y)
            y += box.height + GAP

    return Box(max(box.width for box in boxes), height, draw, boxes[0].head)


def stack(boxes: Sequence[Box]) -> Box:
    """One below the other, apart."""

    def draw(axes: Axes, x: float, y: float) -> None:
        for box in boxes:
            box.draw(axes, x, y)
            y += box.height + GAP

    height = sum(box.height for box in boxes) + GAP * (len(boxes) - 1)
    return Box(max(box.width for box in boxes), height, draw)


def row(boxes: Sequence[Box]) -> Box:
    """Side by side between a fork and a join."""
    width = sum(box.width for box in boxes) + LINE * (len(boxes) - 1)
    height = max(box.height for box in boxes) + 2 * GAP

    def draw(axes: Axes, x: float, y: float) -> None:
        left = x - width / 2
        for box in boxes:
            middle = left + box.width / 2
            arrow(axes, [(x, y), (middle, y), (middle, y + GAP)], box.head)
            box.draw(axes, middle, y + GAP)
            arrow(axes, [(middle, y + GAP + box.height), (middle, y + height), (x, y + height)], head=False)
            left += box.width + LINE

    return Box(width, height, draw, head=False)


def residual(boxes: Sequence[Box]) -> Box:
    """Branches side by side, with a line around them; all are added up."""
    inner = boxes[0] if len(boxes) == 1 else row(boxes)
    reach = inner.width / 2 + LINE
    plus = 0.75 * LINE

    def draw(axes: Axes, x: float, y: float) -> None:
        from matplotlib.patches import Circle

        start, end = y + LINE / 2, y + LINE + inner.height + GAP + plus / 2
        arrow(axes, [(x, y), (x, y + LINE)], inner.head)
        inner.draw(axes, x, y + LINE)
        arrow(axes, [(x, y + LINE + inner.height), (x, end - plus / 2)])
        arrow(axes, [(x, start), (x + reach, start), (x + reach, end), (x + plus / 2, end)])
        axes.add_patch(Circle((x, end), plus / 2, facecolor="white", edgecolor=EDGE))
        axes.text(x, end, "+", ha="center", va="center", fontsize=9)

    return Box(inner.width + 2 * LINE, LINE + inner.height + GAP + plus, draw, head=False)


def frame(title: str, inner: Box, lines: Sequence[str] = ()) -> Box:
    """A frame with a title around what stands in it."""
    head = LINE * (1.5 + len(lines))
    text = max(map(len, [title, *lines])) * LETTER
    width = max(inner.width, text) + 2 * LINE
    height = head + inner.height + LINE

    def draw(axes: Axes, x: float, y: float) -> None:
        rectangle(axes, x - width / 2, y, width, height, facecolor="none", linestyle="--")
        for i, line in enumerate([title, *lines]):
            weight = "normal" if i else "bold"
            axes.text(
                x - width / 2 + LINE / 2, y + (0.75 + i) * LINE, line, va="center", fontsize=8, weight=weight
            )
        arrow(axes, [(x, y), (x, y + head)], head=False)
        inner.draw(axes, x, y + head)
        arrow(axes, [(x, y + head + inner.height), (x, y + height)], head=False)

    return Box(width, height, draw)


def rectangle(axes: Axes, left: float, top: float, width: float, height: float, **style: Any) -> None:
    from matplotlib.patches import FancyBboxPatch

    shape = f"round,pad=0,rounding_size={LINE / 3}"
    axes.add_patch(FancyBboxPatch((left, top), width, height, boxstyle=shape, edgecolor=EDGE, **style))


def arrow(axes: Axes, points: Sequence[tuple[float, float]], head: bool = True) -> None:
    """A line through points, with a head at the last."""
    xs, ys = zip(*points, strict=True)
    axes.plot(xs, ys, color=EDGE, linewidth=0.9, solid_capstyle="round", zorder=0)
    if head:
        style = {"arrowstyle": "-|>", "color": EDGE, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", points[-1], points[-2], arrowprops=style)
