"""Spaces over flow grammars: a grammar bound to an input, an output and limits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spaces.cost import Cost
from spaces.errors import InvalidGenome, InvalidSpace, suggest
from spaces.fields import Choice, Real
from spaces.flow.build import build
from spaces.flow.counting import Counts, estimated
from spaces.flow.draw import Drawer
from spaces.flow.grammar import FlowGrammar
from spaces.flow.graph import graph
from spaces.flow.mutations import MUTATIONS, Changer, crossover, with_parameters
from spaces.flow.parsing import parsed
from spaces.flow.paths import blocked
from spaces.flow.reach import Reach, features
from spaces.flow.sizes import Sizes
from spaces.flow.terminal import Shape
from spaces.flow.tree import Node, Price
from spaces.flow.volume import FlowVolumes
from spaces.genome import DEEPEST, Genome
from spaces.graph import Graph
from spaces.io import IO, ImageIO, VectorIO, image
from spaces.mutations import Mutable, Mutation
from spaces.volume import VolumeCoded

if TYPE_CHECKING:
    from torch import nn

MOST_DISCARDED = 1000
"""How many draws in a row may be given up for another."""
LARGEST = 1000
"""The largest limit on nodes: trees of more would nest too deep to be written and read."""

TRIED_DRAWS, TRIED_NODES = 32, 40
"""How many genomes `check_modules` draws, and of how many nodes at most."""


class Derivation:
    """What stands behind a genome: its tree, and the space that made it. Never changed once made."""

    __slots__ = ("root", "space")

    def __init__(self, space: FlowSpace, root: Node) -> None:
        self.space, self.root = space, root

    @property
    def text(self) -> str:
        return self.root.text

    @property
    def digest(self) -> str:
        return self.root.digest


class FlowSpace(VolumeCoded, Mutable):
    """The genomes of a flow grammar for one input and output, within limits.

    The network ends in a mean over all positions and a linear layer.

    Args:
        grammar: what can be built.
        io: images in, logits out, or vectors in and out; default: `image()`.
        nodes: the most nodes of a derivation tree, its terminals among them.
        parameters, flops: the most that the whole model may have, head included; FLOPs of the forward pass of one
            sample. None: no limit.
        activations: the most elements that may be made for one sample, head left out: every output but those of
            views, as often as it is built. None: no limit.
        operators: the most operators, as often as they are built; identities and clones are none. None: no limit.
        weights: of forms by name, in place of those of the grammar.
        source: the name that `spaces.load` found the grammar under; a space with one pickles as that name.

    Raises:
        InvalidSpace: a limit is impossible, or the input and output are neither images nor vectors (which some grammars
            do not read).
        InvalidGrammar: a weight is impossible.
    """

    context = 1

    def __init__(
        self,
        grammar: FlowGrammar,
        io: IO | None = None,
        *,
        nodes: int = 512,
        parameters: int | None = 2**26,
        flops: int | None = None,
        activations: int | None = 2**24,
        operators: int | None = 1024,
        weights: Mapping[str, float] | None = None,
        source: str | None = None,
    ) -> None:
        io = image() if io is None else io
        self.grammar, self.name, self.io, self.source = grammar, grammar.name, io, source
        self.named = tuple(grammar.named)
        self.shape, outputs = _shapes(grammar, io)
        self.limits: dict[str, Any] = {
            "nodes": nodes,
            "parameters": parameters,
            "flops": flops,
            "activations": activations,
            "operators": operators,
        }
        least = {
            "nodes": 5,
            "parameters": outputs * (features(self.shape) + 1),
            "flops": 2 * outputs * features(self.shape),
            "activations": 2 * math.prod(self.shape),
            "operators": 2,
        }
        for key, value in self.limits.items():
            if value is None and key != "nodes":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least[key]:
                raise InvalidSpace(
                    f"space {self.name!r}: {key} = {value!r}, but it must be an integer of at least {least[key]:,} "
                    f"at input {self.shape}"
                )
        if nodes > LARGEST:
            raise InvalidSpace(f"space {self.name!r}: nodes = {nodes}, but the most is {LARGEST}")
        self.nodes = nodes
        self.limits["weights"] = dict(weights) if weights else None
        self.redrawn: Counter[str] = Counter()
        self.repaired = 0
        """How often a draw or mutant had no parameters before its head, and got a leaf with some where one fitted."""
        self.discarded = 0
        """How often a draw was given up for another: it could have no parameters or no gradient, or was too deep."""
        forks = [fork.ways for fork in grammar.terminals["fork"].values()]
        fewest = min([ways for ways in forks if ways > 2], default=0)
        self.weights = grammar.reweighted(weights or {})
        """The probability of each form."""
        sizes = Sizes(self.weights, forks.count(2) / len(forks), fewest, nodes)
        limit: Price = (_limit(parameters), _limit(flops), _limit(activations), _limit(operators))
        self._drawer = Drawer(Reach(grammar, sizes), (outputs, 2 * outputs, outputs))
        self._changer = Changer(self._drawer, limit)

    def __reduce__(self) -> Any:
        if self.source is not None:
            from spaces import load

            return partial(load, self.source, self.io, **self.limits), ()
        return partial(FlowSpace, self.grammar, self.io, **self.limits), ()

    def __repr__(self) -> str:
        return f"FlowSpace({self.name!r}, {self.io})"

    @property
    def operators(self) -> Mapping[str, Mapping[str, Choice | Real]]:
        """What may stand in a graph; none has choices of its own."""
        kinds = self.grammar.terminals.values()
        names = [t.name for kind in kinds for t in kind.values() if t.kind == "join" or not t.neutral]
        return {name: {} for name in names}

    @cached_property
    def mutations(self) -> Mapping[str, Mutation]:
        """The changes that can be made, by name; see `spaces.flow.mutations`."""
        return {name: partial(self._apply, change) for name, change in MUTATIONS.items()}

    @property
    def size(self) -> int | None:
        """Not counted, as what fits depends on the shapes."""
        return None

    @property
    def redraws(self) -> int:
        """How often a draw drew the first of two branches again, because nothing in reach could meet it."""
        return self._drawer.redrawn

    @property
    def memory(self) -> Mapping[str, tuple[int, int]]:
        """For each question of the look-ahead, how many answers are remembered, and how often one had to be found."""
        return self._drawer.reach.memory

    def count(self, nodes: int) -> int:
        """How many genomes have exactly so many nodes, before the other limits.

        Raises:
            InvalidSpace: that takes too many shapes (see `spaces.flow.counting`); `estimate` does not.
        """
        if not 5 <= nodes <= self.nodes:
            return 0
        return self._counts.trees(self.shape, None, nodes).total()

    @cached_property
    def _counts(self) -> Counts:
        return Counts(self._drawer.reach)

    def estimate(self, nodes: int, rng: np.random.Generator, draws: int = 1000) -> tuple[float, float]:
        """log10 of how many genomes have exactly so many nodes, before the other limits, and the standard error of the
        number relative to it (see `spaces.flow.counting`).

        Raises:
            InvalidSpace: no genome has so many nodes.
        """
        if not 5 <= nodes <= self.nodes or self._drawer.sizes.mass[nodes] == 0:
            raise InvalidSpace(
                f"space {self.name!r}: no genome has {nodes} nodes; allowed: 5, 7, 8 and 10 to {self.nodes}"
            )
        return estimated(self._drawer.reach, self.shape, nodes, draws, rng)

    @cached_property
    def _volumes(self) -> FlowVolumes:
        return FlowVolumes(self._drawer, self.shape, self._changer.limit)

    def at(self, io: IO) -> FlowSpace:
        """The same grammar and limits at another input and output."""
        return FlowSpace(self.grammar, io, source=self.source, **self.limits)

    # Draws

    def sample(self, rng: np.random.Generator, size: int | None = None) -> Genome:
        """A random genome of at most `size` nodes (default: the limit of the space).

        The law is that of the branching process whose forms are drawn by weight, two-way branchings by their share
        among the forks, given that the tree has at most so many nodes and does not start with a computation: the
        size is drawn from it exactly, then form and sizes of the parts. What fits the shape that has come this far
        and leaves room within the limits is drawn evenly. Of two branches the first is free; then a join is drawn
        evenly among those that something in reach of the second branch can meet, then its shape evenly, then the
        second branch by the same law among the trees that give this shape. Constant operators are left out, and a
        tree without parameters has one leaf exchanged for one with some (`repaired`). Where the limits do not allow
        that, as with copies of copies of a leaf, and where nothing of the input would come through to the head, as
        behind a softmax along an axis that it averages, another of the same size is drawn (`discarded`); so is one for
        what nests too deep to be read, as unusual weights make it.

        Raises:
            InvalidSpace: there is no genome that small, or 1,000 draws in a row were discarded.
        """
        most = self.nodes if size is None else min(size, self.nodes)
        if most < 5:
            raise InvalidSpace(
                f"space {self.name!r}: no genome has at most {size} nodes; the smallest have 5"
            )
        return self.sample_exactly(rng, self._drawer.sizes.draw(most, rng, least=5))

    def sample_exactly(self, rng: np.random.Generator, nodes: int) -> Genome:
        """A random genome of exactly so many nodes, by the law of `sample`.

        Raises:
            InvalidSpace: there is no genome of that size (there are none of fewer than 5, of 6 and of 9), or 1,000
                draws in a row were discarded.
        """
        sizes = self._drawer.sizes
        if not 5 <= nodes <= self.nodes or sizes.joins[nodes] is None:
            raise InvalidSpace(
                f"space {self.name!r}: no genome has {nodes} nodes; allowed: 5, 7, 8 and 10 to {self.nodes}"
            )
        for _ in range(MOST_DISCARDED):
            root = self._drawer.free(self.shape, None, nodes, self._changer.limit, (0, 1), rng)
            root = self._parametrized(root, rng)
            if root.price[0] and root.depth <= DEEPEST and not blocked(root):
                return self._genome(root)
            self.discarded += 1
        limits = [f"{key} = {limit:,}" for key, limit in self.limits.items() if isinstance(limit, int)]
        raise InvalidSpace(
            f"space {self.name!r}: {MOST_DISCARDED:,} draws of {nodes} nodes in a row had no parameters before the "
            f"head, or none that learns of the input, or nested deeper than {DEEPEST}; change the limits "
            f"({', '.join(limits)})"
        )

    def _parametrized(self, root: Node, rng: np.random.Generator) -> Node:
        if root.price[0]:
            return root
        self.repaired += 1
        return with_parameters(self._changer, root, rng) or root

    def _apply(
        self, change: Callable[..., Node | None], genome: Genome, rng: np.random.Generator
    ) -> Genome | None:
        """One named mutation; None where it cannot be made. The result may equal its parent."""
        parent = self.tree(genome)
        root = change(self._changer, parent, rng)
        if root is not None and parent.price[0]:
            root = self._parametrized(root, rng)
        return self._accepted(parent, root)

    def _accepted(self, parent: Node, root: Node | None) -> Genome | None:
        """What was made of a parent; None where it lacks parameters or a path from the input that the parent has."""
        if root is None or (parent.price[0] and not root.price[0]):
            return None
        return None if blocked(root) and not blocked(parent) else self._genome(root)

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome | None:
        """The first genome with a subtree of the second in place of one that reads the same shape, and what follows
        refitted to what it gives.

        None where no exchange fits and changes the first, or it would lack parameters or a path from the input that
        the first has.
        """
        parent = self.tree(a)
        return self._accepted(parent, crossover(self._changer, parent, self.tree(b), rng))

    # Genomes

    def parse(self, text: str) -> Genome:
        """The genome of a text; fields may stand in any order.

        Raises:
            InvalidGenome: the text is no genome of this space: where, what was found, what is allowed.
        """
        root = parsed(self.grammar, text, self.shape)
        self._check_limits(root)
        return self._genome(root)

    def _check_limits(self, root: Node) -> None:
        cost = self._cost(root)
        used = {
            "nodes": root.size,
            "parameters": cost.parameters,
            "flops": cost.flops_per_token,
            "activations": root.price[2],
            "operators": root.price[3],
        }
        for key, number in used.items():
            if self.limits[key] is not None and number > self.limits[key]:
                raise InvalidGenome(
                    f"the genome has {number:,.0f} {key}, more than the limit of {self.limits[key]:,}"
                )

    def check(self, genome: Genome) -> None:
        """Raises InvalidGenome, which names the place, if the genome is not of this space."""
        self.parse(genome.text)

    def tree(self, genome: Genome) -> Node:
        """The derivation tree of a genome in this space; parsed where another process or space made it."""
        derivation = genome.tree
        if not isinstance(derivation, Derivation) or derivation.space is not self:
            derivation = self.parse(genome.text).tree
            assert isinstance(derivation, Derivation)
            genome.remember(derivation)
        return derivation.root

    def _genome(self, root: Node) -> Genome:
        return Genome(Derivation(self, root))

    def architecture(self, name: str) -> Genome:
        """A known model by name.

        Raises:
            InvalidSpace: the name is unknown, or the model does not fit the input or the limits.
        """
        if name not in self.grammar.named:
            raise InvalidSpace(f"space {self.name!r} has no architecture {name!r}{suggest(name, self.named)}")
        try:
            return self.parse(self.grammar.named[name](self.shape))
        except InvalidGenome as error:
            raise InvalidSpace(f"space {self.name!r}: architecture {name!r} does not fit: {error}") from None

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """The parameters of the whole model, and the FLOPs of one sample."""
        return self._cost(self.tree(genome))

    def _cost(self, root: Node) -> Cost:
        head = self._drawer.reserve(0, features(root.out), (0, 1))
        parameters = int(root.price[0] + head[0])
        return Cost(parameters, parameters, int(root.price[1] + head[1]), 0)

    def graph(self, genome: Genome) -> Graph:
        """The canonical graph."""
        return graph(self.tree(genome))

    def build(self, genome: Genome) -> nn.Module:
        """The torch model, initialised from torch's global random state."""
        return build(self.tree(genome), self.grammar, _shapes(self.grammar, self.io)[1])

    def check_modules(self) -> None:
        """Builds and runs the operators that small draws have, on two samples on the CPU.

        Raises:
            InvalidGrammar: the module of one does not do what its shapes and its cost say; see `own_modules`.
        """
        from spaces.flow.own_modules import check_modules

        rng = np.random.default_rng(0)
        check_modules(self.tree(self.sample(rng, min(self.nodes, TRIED_NODES))) for _ in range(TRIED_DRAWS))


def _shapes(grammar: FlowGrammar, io: IO) -> tuple[Shape, int]:
    """The shape that goes in, and the number of outputs."""
    if isinstance(io, ImageIO):
        return (io.channels, io.height, io.width), io.classes
    if isinstance(io, VectorIO) and not grammar.images:
        return (io.features,), io.outputs
    what = "images" if grammar.images else "images or vectors"
    raise InvalidSpace(f"space {grammar.name!r} reads {what}, but it was given {io}")


def _limit(limit: int | None) -> float:
    return math.inf if limit is None else limit
