"""The STAR space: how its genomes are drawn, changed, repaired, costed and built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from operator import index
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from spaces.blocks.costs import frame
from spaces.blocks.operators import backbone_cost, problem
from spaces.catalog.star import backbone, named
from spaces.catalog.star.backbone import FIELDS, GROUPS, Backbone, Definitions, Row
from spaces.catalog.star.budget import Budget
from spaces.catalog.star.changes import Change, Changes, Genes
from spaces.catalog.star.checks import check_definition, check_limits
from spaces.catalog.star.counting import Ranks, count
from spaces.catalog.star.drawing import OPERATORS, draw
from spaces.catalog.star.pool import DIGITS, POOL, Definition, definitions, operator, read_definition
from spaces.catalog.star.sampling import Drawn, Sampler
from spaces.catalog.star.volume import StarVolumes
from spaces.cost import Cost
from spaces.counting import draw_ranks
from spaces.errors import InvalidGenome, InvalidSpace, suggest
from spaces.fields import Choice, Real
from spaces.genome import Genome
from spaces.graph import Graph
from spaces.io import IO, TokenIO, tokens
from spaces.mutations import TRIES, Mutable, Mutation
from spaces.volume import VolumeCoded

if TYPE_CHECKING:
    from torch import nn

STRATEGIES = (FIELDS["featurizer-sharing strategy"] - 1, FIELDS["feature-sharing strategy"] - 1)
"""How many ways to share there are for each kind of sharing, beside none."""


class STAR(VolumeCoded, Mutable):
    """The space of backbones at a width.

    Args:
        io: token ids and the width of the residual stream.
        layers: how many LIVs a backbone has, or at most has; 24 at width 768 in the paper.
        min_layers: how many it has at least; None: all have `layers`, as in the paper.
        context: the sequence length, in tokens, at which FLOPs and decode state are counted.
        levels: what is searched: "backbone" takes classes from the pool; with "operators" a genome may define classes
            by an operator genome of its own, with "featurizers" by a featurizer genome too.
        parameters, flops_per_token, state_bytes: the most that a whole model may have, as in `GrammarSpace`.

    Raises:
        InvalidSpace: the input and output are not tokens, a limit is impossible, or no backbone of the pool's classes
            meets the limits, whatever it shares.
    """

    name = "star"
    named = tuple(named.PATTERNS)

    def __init__(
        self,
        io: IO | None = None,
        *,
        layers: Annotated[int, Ge(1), Le(256)] = 8,
        min_layers: Annotated[int, Ge(1)] | None = None,
        context: Annotated[int, Ge(1)] = 1024,
        levels: Literal["backbone", "operators", "featurizers"] = "backbone",
        parameters: Annotated[int, Ge(1)] | None = None,
        flops_per_token: Annotated[int, Ge(1)] | None = None,
        state_bytes: Annotated[int, Ge(1)] | None = None,
    ) -> None:
        io = tokens() if io is None else io
        if not isinstance(io, TokenIO):
            raise InvalidSpace(f"space 'star' reads tokens, but it was given {io}")
        self.limits: dict[str, Any] = {
            "layers": layers,
            "min_layers": min_layers,
            "context": context,
            "levels": levels,
            "parameters": parameters,
            "flops_per_token": flops_per_token,
            "state_bytes": state_bytes,
        }
        least = check_limits(self.limits)
        self.io: TokenIO = io
        self.layers, self.least, self.context, self.levels = layers, least, context, levels
        self.redrawn: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        """How often each mutation, crossover or uniform draw broke a limit on costs and was drawn again."""
        self.unavailable = {
            number: reason
            for number, liv in POOL.items()
            if (reason := problem(operator(liv.definition, io.width), io.width)) is not None
        }
        """Classes of the pool that cannot be at this width, and why."""
        self._budget = Budget(
            {n: operator(liv.definition, io.width) for n, liv in POOL.items() if n not in self.unavailable},
            io,
            context,
            {key: self.limits[key] for key in ("parameters", "flops_per_token", "state_bytes")},
        )
        self._sampler = Sampler(self._budget, levels, least, layers)
        self._changes = Changes(frozenset(self.unavailable), io.width, levels, least, layers)

    def __reduce__(self) -> Any:
        return partial(STAR, self.io, **self.limits), ()

    def __repr__(self) -> str:
        return f"STAR({self.io})"

    @property
    def operators(self) -> Mapping[str, Mapping[str, Choice | Real]]:
        """The token mixings, which stand in a graph, and the choices of each."""
        return OPERATORS

    @cached_property
    def size(self) -> int:
        """How many genomes there are, before the limits on costs."""
        return count(range(self.least, self.layers + 1), list(self._meanings.values()), GROUPS, STRATEGIES)

    @cached_property
    def _ranks(self) -> Ranks:
        return Ranks(range(self.least, self.layers + 1), self._meanings, GROUPS, STRATEGIES)

    @property
    def _meanings(self) -> dict[int, int]:
        """How many definitions each class may have, that of the pool included."""
        return {number: len(self._own) + (number not in self.unavailable) for number in POOL}

    @cached_property
    def _own(self) -> list[Definition]:
        """All definitions that a genome may give a class."""
        if self.levels == "backbone":
            return []
        deeper = definitions(self.io.width, featurizers=True) if self.levels == "featurizers" else ()
        return [*definitions(self.io.width, featurizers=False), *deeper]

    @cached_property
    def _places(self) -> dict[Definition | None, int]:
        """Of each in `_own`."""
        return {definition: place for place, definition in enumerate(self._own)}

    @cached_property
    def _volumes(self) -> StarVolumes:
        return StarVolumes(self._budget, self.least, self.layers, self._sampler.shared, self._own)

    def at(self, io: IO) -> STAR:
        """The same limits at another input and output."""
        return STAR(io, **self.limits)

    # Genomes and texts

    def parse(self, text: str) -> Genome:
        """The genome of a text.

        Raises:
            InvalidGenome: the text is no genome of this space: where, what was found, what is allowed.
        """
        rows, defined = backbone.read(text)
        return self._checked(rows, defined)

    def check(self, genome: Genome) -> None:
        """Raises InvalidGenome if the genome is not of this space."""
        self.parse(genome.text)

    def numbers(self, genome: Genome) -> list[int]:
        """The numbers of a genome, five for each LIV."""
        return [number for row in self.tree(genome).rows for number in row]

    def repair(self, numbers: Iterable[int], definitions: Mapping[int, str] | None = None) -> Genome:
        """The genome of any whole numbers, five for each LIV; what cannot be is changed, and nothing else.

        A number out of range is counted on from 1 again (class 18 of 17 is class 1), and a class that cannot be at this
        width is the next that can. A sharing group that holds LIVs of several classes, or by several strategies, keeps
        the class that most of them have and the strategy that most of these have, on a tie that of the first; the
        others take no part in it (strategy 1).

        Args:
            numbers: of the backbone.
            definitions: the classes that the genome defines, such as {2: "12123:1122"}; those that no LIV is of are
                left out.

        Raises:
            InvalidGenome: a number is not whole, their number is not five times a depth that is allowed, a definition
                is not allowed, or the genome breaks a limit on costs.
        """
        given = {} if definitions is None else definitions
        defined = {key: read_definition(text, f"class {key}") for key, text in given.items()}
        allowed = [number for number in POOL if number not in self.unavailable or number in defined]
        rows = backbone.wrapped(numbers, allowed)
        used = {row[0] for row in rows}
        return self._checked(
            backbone.repaired(rows), {key: value for key, value in defined.items() if key in used}
        )

    def architecture(self, name: str) -> Genome:
        """A known model by name, as deep as the limits allow.

        Raises:
            InvalidSpace: the name is unknown, or no version fits.
        """
        if name not in named.PATTERNS:
            raise InvalidSpace(f"space 'star' has no architecture {name!r}{suggest(name, self.named)}")
        reason = ""
        for depth in range(self.layers, self.least - 1, -1):
            try:
                return self._checked(named.PATTERNS[name](depth, self.unavailable), {})
            except InvalidGenome as error:
                reason = str(error)
        raise InvalidSpace(
            f"space 'star': architecture {name!r} does not fit, even in its smallest version: {reason}"
        )

    def _checked(self, rows: tuple[Row, ...], defined: Definitions) -> Genome:
        """The genome, once it is checked."""
        if not self.least <= len(rows) <= self.layers:
            allowed = f"{self.least} to {self.layers}" if self.least < self.layers else str(self.layers)
            raise InvalidGenome(
                f"the backbone has {len(rows)} LIVs, but must have {allowed}, as option 'layers' of the space says"
            )
        backbone.check(rows)
        used = {row[0] for row in rows}
        for number, definition in defined.items():
            check_definition(number, definition, used, self.levels, self.io.width)
        for number in sorted(used - set(defined)):
            if number in self.unavailable:
                raise InvalidGenome(
                    f"class {DIGITS[number]} ({POOL[number].name}) cannot be at width {self.io.width}: "
                    f"{self.unavailable[number]}"
                )
        layers = backbone.plan(rows, defined, self.io.width)
        self._budget.check(layers)
        return Genome(Backbone(self, rows, defined, layers))

    def _genome(self, drawn: Drawn) -> Genome:
        return Genome(Backbone(self, *drawn))

    def tree(self, genome: Genome) -> Backbone:
        """The LIVs of a genome, what it defines and what is shared; parsed where another process or space made it."""
        tree = genome.tree
        if not isinstance(tree, Backbone) or tree.space is not self:
            made = self.parse(genome.text).tree
            assert isinstance(made, Backbone)
            tree = made
            genome.remember(tree)
        return tree

    # Ranks

    def rank(self, genome: Genome) -> int:
        """The number of a genome, from 0 to `size` - 1.

        Genomes are numbered by depth, then in the order of their digits, then by what defines their classes: the pool,
        then definitions of their own. Those that break a limit on costs have a rank too.
        """
        livs = self.tree(genome)
        numbers = {}
        for kind in {row[0] for row in livs.rows}:
            own, pooled = livs.defined.get(kind), kind not in self.unavailable
            numbers[kind] = 0 if own is None else self._places[own] + pooled
        return self._ranks.rank(livs.rows, numbers)

    def unrank(self, rank: int) -> Genome:
        """The genome of a number.

        Raises:
            InvalidGenome: the number is not from 0 to `size` - 1, or its genome breaks a limit on costs.
        """
        rank = index(rank)
        if not 0 <= rank < self.size:
            raise InvalidGenome(f"rank {rank} is not from 0 to {self.size - 1}, the genomes of 'star'")
        rows, numbers = self._ranks.unrank(rank)
        own = {kind: number - (kind not in self.unavailable) for kind, number in numbers.items()}
        return self._checked(rows, {kind: self._own[place] for kind, place in own.items() if place >= 0})

    def sample_uniform(self, rng: np.random.Generator, number: int) -> list[Genome]:
        """Different genomes in random order, all equally likely among those that meet the limits.

        They are drawn by rank, and those that break a limit left out, counted in `rejected`. Nearly all of a space of
        several depths are of the largest. Networks that can be written in more ways are drawn more often.

        Raises:
            InvalidSpace: there are fewer, or 10,000 in a row break a limit.
        """
        genomes, rejected = draw_ranks(self.name, self.unrank, range(self.size), number, rng)
        self.rejected["sample_uniform"] += rejected
        return genomes

    # What a genome costs, looks like and builds

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """What the whole model costs, at the space's context length or another.

        Weights that are shared count once, and so do caches and states; features that are taken are not computed again.
        """
        if context is not None and context < 1:
            raise InvalidSpace(f"context = {context}, but it must be at least 1")
        layers = self.tree(genome).layers
        own = backbone_cost(layers, self.io.width, self.context if context is None else context)
        return frame(self.io.width, self.io.vocab) + own

    def saved(self, genome: Genome, context: int | None = None) -> Cost:
        """What the model would cost more if its LIVs shared nothing."""
        layers, at = self.tree(genome).layers, self.context if context is None else context
        alone = backbone.plan_of([layer.operator for layer in layers])
        return backbone_cost(alone, self.io.width, at) - backbone_cost(layers, self.io.width, at)

    def graph(self, genome: Genome) -> Graph:
        """LIVs and the sums of their residual branches; what is shared comes from its leader or owner by ports."""
        return draw(self.tree(genome).layers)

    def build(self, genome: Genome) -> nn.Module:
        """The torch model, initialised from torch's global random state."""
        from spaces.blocks import liv
        from spaces.compile import LanguageModel

        return LanguageModel(self.io, liv.Backbone(self.io.width, self.tree(genome).layers))

    # Draws

    def sample(self, rng: np.random.Generator, size: int | None = None) -> Genome:
        """A random genome of at most `size` LIVs (default: the limit of the space).

        The depth is drawn evenly, and so are the classes of LIVs, strategies, and groups among those that can hold the
        LIV. At other levels than the backbone, a class in use has a definition of its own in half of the cases. What is
        so drawn is taken if it meets the limits. If not, another is drawn LIV by LIV, of classes and with sharing that
        leave enough for the cheapest LIVs that share nothing, and with definitions that fit; where no backbone without
        sharing meets the limits, LIV by LIV around one of the cheapest of all. So every genome whose classes can be at
        this width may be drawn, and nothing is drawn more than twice.

        Raises:
            InvalidSpace: no genome is that small.
        """
        most = self.layers if size is None else min(size, self.layers)
        if most < self.least:
            raise InvalidSpace(f"space 'star': all genomes have at least {self.least} LIVs, more than {size}")
        return self._genome(self._sampler.draw(most, rng))

    @cached_property
    def mutations(self) -> Mapping[str, Mutation]:
        """Named changes: of each number with a probability of 10 %, of one number, of the order or number of LIVs, and
        of the definition of a class."""
        return {name: partial(self._apply, name, change) for name, change in self._changes.named.items()}

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome | None:
        """The first genome with the numbers between two points from the second, repaired.

        A class that the second defines comes along where the first has none of it. None where no pair of points that
        was drawn gives another network within the limits.
        """
        first, second = self._genes(a), self._genes(b)
        for _ in range(TRIES):
            child = self._repaired("crossover", *self._changes.cross(first, second, rng))
            if child is not None and child.digest != a.digest:
                return child
        return None

    def _genes(self, genome: Genome) -> Genes:
        livs = self.tree(genome)
        return livs.rows, livs.defined

    def _apply(self, name: str, change: Change, genome: Genome, rng: np.random.Generator) -> Genome | None:
        """One named mutation with an effect, repaired; None where it cannot be made.

        What breaks a limit or changes numbers that mean nothing, such as the group of a LIV that shares nothing, is
        drawn again, at most `TRIES` times.
        """
        genes = self._genes(genome)
        for _ in range(TRIES):
            changed = change(genes, rng)
            if changed is None:
                return None
            made = self._repaired(name, *changed)
            if made is not None and made.digest != genome.digest:
                return made
        return None

    def _repaired(self, name: str, rows: Sequence[Row], defined: Definitions) -> Genome | None:
        """The genome of rows whose numbers are in range; None where it breaks a limit, counted in `rejected`."""
        rows = backbone.repaired(rows)
        used = {row[0] for row in rows}
        if any(number in self.unavailable and number not in defined for number in used):
            return None  # a class that only the other parent's definition made possible
        kept = {number: own for number, own in defined.items() if number in used}
        layers = backbone.plan(rows, kept, self.io.width)
        if not self._budget.fits(layers):
            self.rejected[name] += 1
            return None
        return Genome(Backbone(self, rows, kept, layers))
