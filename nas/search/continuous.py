"""Bayesian optimisation on the cube of a space, by BoTorch: every point is a genome, see `spaces.volume`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Protocol, cast

import numpy as np
from annotated_types import Ge, Le

from nas.search.history import TRIES, HistoryStrategy
from nas.search.initial import spread_out
from nas.search.losses import labels
from nas.search.trust_region import TrustRegion
from nas.types import Ended, Event, Fidelity, Finished, InvalidInput, Objective, Proposal, standing
from predictors.targets import spread, telling
from spaces import Genome, Space
from spaces.protocol import Coded
from spaces.volume import centre

if TYPE_CHECKING:
    from nas.search.cube import CubeModel

LARGE = 20
"""Dimensions above which a search keeps to a trust region, unless told otherwise."""

NEIGHBOURS = 64
"""Points near the most promising one that are looked at too, as its genome may stand elsewhere, or be taken."""

INFINITE = (np.inf, np.inf)
"""How a trial stands that has failed."""


class Cube(Coded, Protocol):
    """A coded space as this strategy needs it."""

    name: str

    @property
    def dimensions(self) -> int: ...


class ContinuousSearch(HistoryStrategy):
    """Maximises the expected improvement under a Gaussian process on the unit cube, and proposes the genome there.

    The process is told the middles of the boxes of what was measured. Of the genomes at the optima of the acquisition
    and at points near the best of them, the one is proposed whose own middle promises most, so that where a box is
    wide it does not matter at which of its points the optimum lies, and networks proposed before are passed over.
    A loss counts by `predictors.targets.spread`: where trials failed or break constraints, as the worst.

    Args:
        initial: trials before a model is asked, spread over the cube.
        region: whether to look only in a trust region around the best, see `TrustRegion`, and to begin anew elsewhere
            when that gets nowhere; None: in cubes of more than 20 dimensions.

    Raises:
        InvalidInput: the genomes of the space have no cube, or BoTorch is not installed.
    """

    screenable = False

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        initial: Annotated[int, Ge(2), Le(10_000)] = 10,
        region: bool | None = None,
    ) -> None:
        super().__init__(space, objectives, seed, fidelity)
        if not isinstance(space, Coded):
            raise InvalidInput(
                f"strategy 'botorch' searches spaces whose genomes are points of a cube, as those of grammars and of "
                f"products of choices are, but {space.name!r} is a {type(space).__name__}"
            )
        try:
            from nas.search.cube import CubeModel  # imports torch and botorch
        except ModuleNotFoundError as error:
            package = str(error.name).partition(".")[0]
            raise InvalidInput(
                f"strategy 'botorch' needs {package}, which is not installed: pip install 'grammar-nas[botorch]'"
            ) from error
        self._model_of: type[CubeModel] = CubeModel
        self._cube = cast(Cube, space)
        self.dimensions = self._cube.dimensions
        self.initial = initial
        self.points = spread_out(space, initial, seed)
        large = self.dimensions > LARGE
        self.region = TrustRegion(initial) if (large if region is None else region) else None
        self._fitted: tuple[int, CubeModel] | None = None
        self._boxes: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def tell(self, event: Event) -> None:
        super().tell(event)
        region = self.region
        if region is None or not isinstance(event, Ended) or event.trial.id < region.since:
            return
        trial = event.trial
        found = standing(self.objectives, trial) if trial.status == "done" else INFINITE
        found = found if np.isfinite(found).all() else INFINITE
        # Only the best has its box computed: a log is told faster than boxes are found.
        sides_D = (
            np.subtract(*self._box(trial.proposal.genome)[::-1]) if region.improves(found) else np.empty(0)
        )
        self.region = region.tell(found, sides_D, len(self.proposals))

    def propose(
        self, k: int, rng: np.random.Generator, taken: set[str], running: Sequence[Proposal]
    ) -> Proposal:
        since = 0 if self.region is None else self.region.since
        ended = [trial for trial in self.ended if trial.id >= since]
        losses = labels(ended, self.objectives)
        if k - since < self.initial or not np.isfinite(losses).any():
            if k < len(self.points) and self.is_open(self.points[k], taken):
                return self.proposal(k, self.points[k], "spread")
            return self.proposal(k, self._drawn(taken, rng), "spread")
        learned = telling(losses)
        genomes = [ended[i].proposal.genome for i in learned]
        losses = losses[learned]
        if self._fitted is None or self._fitted[0] != len(self.ended):
            self._fitted = len(self.ended), self._model_of(self._middles(genomes), spread(losses))
        model = self._fitted[1]
        awaited, climbed = rng.integers(2**31, size=2).tolist()
        model.expect(self._middles(proposal.genome for proposal in running), awaited)
        whole = np.array([np.zeros(self.dimensions), np.ones(self.dimensions)])
        best = genomes[int(np.argmin(np.where(np.isfinite(losses), losses, np.inf)))]
        within = whole if self.region is None else self.region.box(self._middle(best), model.scales_D)
        optima = model.optima(within, climbed)
        for bounds, moved in ((within, 2), (whole, 2), (whole, 8)):
            near = _neighbours(optima[0], bounds, moved, rng)
            found = {genome.digest: genome for genome in map(self._decoded, [*optima, *near])}
            new = [genome for genome in found.values() if self.is_open(genome, taken)]
            if new:
                chosen = new[int(np.argmax(model.promise(self._middles(new))))]
                return self.proposal(k, chosen, "botorch")
        return self.proposal(k, self._drawn(taken, rng), "spread")

    def _drawn(self, taken: set[str], rng: np.random.Generator) -> Genome:
        """The genome of a random point, a new network, see `first_within`.

        Raises:
            Finished: 100 points in a row gave networks that were proposed before.
        """
        drawn = ((self._decoded(rng.random(self.dimensions)), "spread", ()) for _ in range(TRIES))
        child = self.first_within(drawn, taken)
        if child is None:
            raise Finished(
                f"{TRIES} points in a row of space {self.space.name!r} repeat networks that were proposed"
            )
        return child[0]

    def _decoded(self, point_D: np.ndarray) -> Genome:
        return self._cube.decode(np.minimum(point_D, np.nextafter(1, 0)))

    def _box(self, genome: Genome) -> tuple[np.ndarray, np.ndarray]:
        if genome.text not in self._boxes:
            self._boxes[genome.text] = self._cube.box(genome)
        return self._boxes[genome.text]

    def _middle(self, genome: Genome) -> np.ndarray:
        return centre(self._box(genome))

    def _middles(self, genomes: Iterable[Genome]) -> np.ndarray:
        return np.array([self._middle(genome) for genome in genomes]).reshape(-1, self.dimensions)


def _neighbours(
    point_D: np.ndarray, bounds_2D: np.ndarray, moved: int, rng: np.random.Generator
) -> np.ndarray:
    """Points of a box that differ in about `moved` coordinates, [n, D], as TuRBO perturbs its best."""
    shape = (NEIGHBOURS, len(point_D))
    anew_nD = bounds_2D[0] + rng.random(shape) * (bounds_2D[1] - bounds_2D[0])
    return np.where(rng.random(shape) < moved / len(point_D), anew_nD, point_D)
