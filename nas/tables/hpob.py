"""HPO-B (Pineda-Arango et al. 2021, arXiv 2106.06257): evaluations from OpenML, as its JSON files have them.

A file holds {search space: {data set: {"X": [[...], ...], "y": [[...], ...]}}}: points, scaled to numbers from 0 to 1,
and the accuracy at each. Written after the published structure, and not tried on the files themselves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import Description, Metric
from nas.types import InvalidInput
from spaces.errors import suggest

ABOUT = "hyperparameters of one algorithm on one data set of OpenML, as hpob:SPACE/DATASET"
SOURCE = "HPO-B"
PAPER = (
    "Pineda-Arango et al. 2021, HPO-B: A Large-Scale Reproducible Benchmark for Black-Box HPO based on OpenML, "
    "arXiv 2106.06257"
)


def read(
    path: Path, part: str
) -> tuple[Description, dict[str, np.ndarray], Sequence[str], dict[str, np.ndarray]]:
    """What a table of one search space and data set is written of.

    Args:
        part: the numbers of both, as "5971/10093". A point that was evaluated several times is one row, whose
            evaluations are its seeds.

    Raises:
        InvalidInput: the file is none of HPO-B, or lacks the part.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        spaces = {space: list(parts) for space, parts in found.items()}
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidInput(f"{path} is no file of HPO-B: {error}") from None
    space, slash, data = part.partition("/")
    if space not in spaces:
        raise InvalidInput(f"{path.name} has no search space {space!r}{suggest(space, spaces)}")
    if not slash or data not in spaces[space]:
        raise InvalidInput(
            f"{path.name} has no data set {data!r} of search space {space}{suggest(data, spaces[space])}"
        )
    try:
        points = np.asarray(found[space][data]["X"], dtype=np.float64)
        values = np.asarray(found[space][data]["y"], dtype=np.float64).reshape(-1)
        rows, dimensions = points.shape
        if len(values) != rows or not ((points >= 0) & (points <= 1)).all():
            raise ValueError(
                f"{rows} points, {len(values)} values, from {points.min():g} to {points.max():g}"
            )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path.name}: {part} is not as HPO-B has it: {error}") from None
    texts = [f"point({', '.join(f'x{k}={x!r}' for k, x in enumerate(point))})" for point in points.tolist()]
    places: dict[str, list[float]] = {}
    for text, value in zip(texts, values.tolist(), strict=True):
        places.setdefault(text, []).append(value)
    seeds = max(map(len, places.values()))
    column = np.full((len(places), seeds), np.nan)
    for row, measured in enumerate(places.values()):
        column[row, : len(measured)] = measured
    description = Description(
        name=f"hpob/{space}/{data}",
        about=f"search space {space} of HPO-B on data set {data} of OpenML",
        space="spaces.catalog.points:Points",
        io={"vector": {"features": dimensions, "outputs": 1}},
        objective="valid_acc",
        metrics=(
            Metric("valid_acc", "max", "share", split="valid", seeds=seeds, data=f"OpenML data set {data}"),
        ),
        source=f"{SOURCE}, {path.name}",
        licence="",
        paper=PAPER,
        listed=True,
    )
    return description, {"valid_acc": column}, list(places), {}
