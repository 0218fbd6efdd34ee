"""Volume coding of flow grammars: every point of a cube is a tree, and a tree is a box of the cube.

As `spaces.volume` codes the trees of grammars: a point decides what `Drawer` draws (see `derivation.py`), and each
decision cuts the next dimension in turn, in proportion to the law of a draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from spaces.decisions import Decide, Decision, Unmet
from spaces.errors import InvalidGenome
from spaces.flow.deciders import RARE, Asked, Decider, Path
from spaces.flow.derivation import Derivation, Laws, Spot
from spaces.flow.draw import Drawer
from spaces.flow.terminal import Shape
from spaces.flow.tree import Node, Price
from spaces.genome import DEEPEST
from spaces.volume import PRECISION, box_of, by_point

NOT_DEEP = 3 * DEEPEST - 1
"""So many nodes never nest too deep to be read: the deepest are sequentials of leaves in one another."""


class FlowVolumes:
    """The boxes of the trees of a flow grammar, in cubes of any number of dimensions.

    Args:
        shape: what goes in.
        limit: of whole trees, head included.
    """

    def __init__(self, drawer: Drawer, shape: Shape, limit: Price) -> None:
        self._drawer, self._shape, self._limit = drawer, shape, limit
        self._laws = Laws(drawer.sizes)

    @cached_property
    def dimensions(self) -> int:
        """So many that they are sure to leave a point to every tree that has one.

        That is the most decisions of any tree, which are 7 for every 5 nodes (a branching with one more leaf) and that
        for the size, over how many of them fit in one coordinate if each is for the least likely option that there is.
        """
        most, reach = self._drawer.sizes.most, self._drawer.reach
        weights = [self._laws.sizes(most)[1], *[self._laws.forms(n)[1] for n in self._laws.sizes(most)[0]]]
        rarest = max(sum(each) / min(each) for each in weights)
        routings = len(reach.pres) * len(reach.computations) * len(reach.posts)  # no list is longer
        bits = math.log2(max(rarest, routings, RARE))
        return max(1, math.ceil((1 + 7 * most / 5) / max(1, PRECISION // bits)))

    def decode(self, point: Sequence[float]) -> Node:
        """The tree of a point."""
        return self.derive(by_point(point))

    def derive(self, decide: Decide) -> Node:
        """The tree of decisions; one that nests too deep is decided anew, of fewer nodes."""
        decider, most = Asked(decide), self._drawer.sizes.most
        root = self._root(decider, most, None)
        return root if root.depth <= DEEPEST else self._root(decider, min(most, NOT_DEEP), None)

    def box(self, root: Node, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
        """The box of a tree, [low, high).

        Raises:
            InvalidGenome: no point decodes to the tree, or none of so few dimensions.
        """
        return box_of(self.decisions(root), dimensions, self.dimensions)

    def decisions(self, root: Node) -> list[tuple[Decision, int]]:
        """The decisions on the way to a tree, each with the place of the option to take.

        Raises:
            InvalidGenome: none lead to the tree.
        """
        path = Path()
        try:
            self._root(path, self._drawer.sizes.most, root)
        except Unmet:
            raise InvalidGenome(
                "no point decodes to this genome: it has an operator that is constant where it stands, or no "
                "parameters before the head, or it is at the edge of the limits, where each part has to leave the "
                "least that those after it need"
            ) from None
        return path.cuts

    def _root(self, decider: Decider, most: int, tree: Node | None) -> Node:
        sizes, weights = self._laws.sizes(most)
        n = decider.pick(sizes, sizes, tree and tree.size, weights)
        at = Spot(self._shape, None, self._limit, (0, 1), bare=True)
        return Derivation(self._drawer, self._laws, decider).free(at, n, tree)
