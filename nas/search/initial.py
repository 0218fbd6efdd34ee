"""The first trials of a search that learns: spread over the space."""

from __future__ import annotations

import numpy as np

from spaces import Genome, ProductSpace, Space


def spread_out(space: Space, number: int, seed: int) -> list[Genome]:
    """A Latin hypercube of genomes of a product space; none for other spaces, whose cubes are of the wrong law.

    So many genomes take every value of a choice about equally often (McKay et al. 1979, A Comparison of Three Methods
    for Selecting Values of Input Variables).
    """
    if not isinstance(space, ProductSpace):
        return []
    rng = np.random.default_rng(seed)
    cells = np.column_stack([rng.permutation(number) for _ in range(space.dimensions)])
    return [space.decode(point) for point in (cells + rng.random(cells.shape)) / number]
