"""Declaring a grammar through which shapes flow.

    M -> sequential(M, M) | branching(fork, M..., join) | routing(pre, M, post) | computation(op)

A shape enters on the left and every terminal gives the next one, or None where it does not fit. A pre may open a
scope (any hashable value, such as the height and width before an image was unfolded), which the posts inside its
routing see, until another pre opens one. Forks of two ways have two different branches; forks of more ways have
one branch, built that many times with weights of its own each time.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from spaces.errors import InvalidGrammar, suggest
from spaces.fields import spell
from spaces.flow.terminal import Scope, Shape, Sums, Terminal, equal, no_axes, same, same_axes
from spaces.flow.tree import Node

if TYPE_CHECKING:
    from torch import nn

KINDS = ("fork", "join", "pre", "post", "computation")
POWERS = tuple(2**k for k in range(1, 11))
"""The ways of forks: costs are shared out among copies, and floats divide exactly by these."""
FORMS = ("sequential", "branching", "routing", "computation")


class Fused(NamedTuple):
    """One module in place of a routing."""

    name: str
    module: Callable[[], nn.Module]


class FlowGrammar:
    """A grammar over the terminals that are added to it; declare it at the top of a module.

    Every grammar has terminals that leave a shape alone: the computation, pre and post "identity", a fork
    "clone_N" of each number of ways, and the join "add". They cost nothing but the sum, so that there is always
    something that fits.

    Args:
        name: of the space.
        clones: the ways of the clones, 2 among them.
        computation: the probability of that form; the three others share the rest evenly.
        fuse: for a routing, the name and the maker of one module that is all of it; None where its parts are built.
        named: the text of known models, for an input shape, by name.
        about: a line for lists of spaces.
        images: whether it reads images alone, and no vectors.

    Raises:
        InvalidGrammar: a name is taken or no name, a number of ways or the probability is impossible.
    """

    def __init__(
        self,
        name: str,
        *,
        clones: tuple[int, ...] = (2, 4, 8),
        computation: float = 0.32,
        fuse: Callable[[Node], Fused | None] | None = None,
        named: Mapping[str, Callable[[Shape], str]] | None = None,
        about: str | None = None,
        images: bool = False,
    ) -> None:
        self.images = images
        self.name, self._fuse, self.named, self.about = name, fuse, dict(named or {}), about
        if 2 not in clones:
            raise InvalidGrammar(f"grammar {name!r}: clones = {clones}, but 2 must be among them")
        if not 0 < computation < 1:
            raise InvalidGrammar(
                f"grammar {name!r}: computation = {computation}, but it must be between 0 and 1"
            )
        rest = (1 - computation) / (len(FORMS) - 1)
        self.weights = {form: computation if form == "computation" else rest for form in FORMS}
        self.terminals: dict[str, dict[str, Terminal]] = {kind: {} for kind in KINDS}
        for kind in ("computation", "pre", "post"):
            self._add(Terminal("identity", kind, same, _identity, neutral=True, view=True, sums=same_axes))
        for ways in clones:
            self._add(
                Terminal(
                    f"clone_{ways}",
                    "fork",
                    same,
                    _clone(ways),
                    neutral=True,
                    view=True,
                    ways=ways,
                    sums=same_axes,
                )
            )
        self._add(Terminal("add", "join", equal, _add, neutral=True, sums=same_axes))

    def fused(self, node: Node) -> Fused | None:
        """The one module that a node is built as, if it is a routing that has one."""
        return self._fuse(node) if node.form == "routing" and self._fuse else None

    def computation(
        self,
        name: str,
        *,
        module: Callable[[Shape, Shape], nn.Module],
        gives: Callable[[Shape], Shape | None] = same,
        cost: Callable[[Shape, Shape], tuple[int, int]] | None = None,
        constant: Callable[[Shape], bool] | None = None,
        sums: Sums = no_axes,
    ) -> None:
        """Adds an operator of a leaf.

        Args:
            module: from the shapes that go in and come out, the torch module.
            gives: the shape that comes out.
            cost: its parameters and FLOPs (2 for a multiply-add), from the same shapes as `module`; None: none.
            constant: whether its output does not depend on its input at a shape; never drawn there.
            sums: what tells the sum of its output over some axes, see `Sums`; networks whose mean over all positions
                is told by nothing are not drawn.
        """
        self._add(Terminal(name, "computation", gives, module, cost, constant=constant, sums=sums))

    def pre(
        self,
        name: str,
        *,
        gives: Callable[[Shape], Shape | None],
        module: Callable[[Shape, Shape], nn.Module],
        opens: Callable[[Shape], Scope] | None = None,
        view: bool = True,
        sums: Sums = no_axes,
    ) -> None:
        """Adds what goes before the inside of a routing.

        Args:
            gives, module, sums: as for computations.
            opens: the scope that holds inside; None: that of outside.
            view: whether its output has the elements of its input, moved, and takes no memory of its own.
        """
        self._add(Terminal(name, "pre", gives, module, view=view, opens=opens, sums=sums))

    def post(
        self,
        name: str,
        *,
        gives: Callable[..., Shape | None],
        module: Callable[[Shape, Shape], nn.Module],
        scoped: bool = False,
        view: bool = True,
        sums: Sums = no_axes,
    ) -> None:
        """Adds what goes after the inside of a routing; one of the name of a pre must be the same operator.

        Args:
            gives: of the shape, and of the scope too where it is `scoped`.
            module, view, sums: as for pres.
        """
        self._add(Terminal(name, "post", gives, module, view=view, scoped=scoped, sums=sums))

    def fork(
        self,
        name: str,
        *,
        ways: int,
        gives: Callable[[Shape], Shape | None],
        module: Callable[[Shape, Shape], nn.Module],
        view: bool = True,
        sums: Sums = no_axes,
    ) -> None:
        """Adds what hands an input to branches.

        Args:
            ways: how many, a power of 2.
            gives: the shape that every branch gets.
            module: gives as many tensors.
            view, sums: as for pres; `sums` of what every branch gets.
        """
        self._add(Terminal(name, "fork", gives, module, view=view, ways=ways, sums=sums))

    def join(
        self,
        name: str,
        *,
        ways: int,
        gives: Callable[[tuple[Shape, ...]], Shape | None],
        wants: Callable[[Shape, Shape | None], tuple[int | None, ...] | None],
        module: Callable[[tuple[Shape, ...], Shape], nn.Module],
        cost: Callable[[tuple[Shape, ...], Shape], tuple[int, int]] | None = None,
        sums: Sums = no_axes,
    ) -> None:
        """Adds what makes one tensor of the outputs of the branches.

        Args:
            ways: how many branches.
            gives: of the shapes of all branches.
            wants: of the shape of the first of two branches, and that of the result or None, what the second must
                be: a shape, where no result is given with None for the sizes that are free; None where none will do.
            module: takes as many tensors.
            cost, sums: as for computations; `sums` of every branch.
        """
        self._add(Terminal(name, "join", gives, module, cost, ways=ways, wants=wants, sums=sums))

    def _add(self, terminal: Terminal) -> None:
        place = f"grammar {self.name!r}, {terminal.kind} {terminal.name!r}"
        if spell(terminal.name) != terminal.name:
            raise InvalidGrammar(f"{place}: is no name, and could not be read back from a text")
        if terminal.name in self.terminals[terminal.kind]:
            raise InvalidGrammar(f"{place}: there is one already")
        if terminal.kind == "fork":
            clones = [each.ways for each in self.terminals["fork"].values() if each.neutral]
            if terminal.ways not in POWERS:
                raise InvalidGrammar(f"{place}: ways = {terminal.ways!r}; allowed: 2, 4, 8, ..., 1024")
            if terminal.ways > 2 and not terminal.neutral and max(clones) == 2:
                raise InvalidGrammar(
                    f"{place}: ways = {terminal.ways}, but no clone has more than 2, which would fit everywhere"
                )
        self._check_call(f"{place}: gives", terminal.gives, 2 if terminal.scoped else 1)
        self._check_call(f"{place}: module", terminal.module, 2)
        self._check_call(f"{place}: wants", terminal.wants, 2)
        self._check_call(f"{place}: sums", terminal.sums, 2)
        for what, function, number in (
            ("cost", terminal.cost, 2),
            ("constant", terminal.constant, 1),
            ("opens", terminal.opens, 1),
        ):
            if function is not None:
                self._check_call(f"{place}: {what}", function, number)
        self.terminals[terminal.kind][terminal.name] = terminal

    @staticmethod
    def _check_call(place: str, function: Callable[..., Any], number: int) -> None:
        """Raises InvalidGrammar if a function cannot be called with so many arguments."""
        try:
            inspect.signature(function).bind(*range(number))
        except TypeError as error:
            raise InvalidGrammar(
                f"{place} must be a function of {number} argument{'s' if number > 1 else ''}: {error}"
            ) from None

    def reweighted(self, weights: Mapping[str, float]) -> dict[str, float]:
        """The probabilities of the forms, with other weights for some.

        Raises:
            InvalidGrammar: no such form, a weight is no positive number.
        """
        for form, weight in weights.items():
            if form not in FORMS:
                raise InvalidGrammar(f"grammar {self.name!r} has no form {form!r}{suggest(form, FORMS)}")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
                raise InvalidGrammar(
                    f"grammar {self.name!r}: the weight of {form!r} is {weight!r}, but it must be a positive number"
                )
        merged = {**self.weights, **weights}
        total = sum(merged.values())
        return {form: weight / total for form, weight in merged.items()}


def _identity(shape: Shape, out: Shape) -> nn.Module:
    from spaces.networks.flow import Identity

    return Identity()


def _clone(ways: int) -> Callable[[Shape, Shape], nn.Module]:
    def module(shape: Shape, out: Shape) -> nn.Module:
        from spaces.networks.flow import Clone

        return Clone(ways)

    return module


def _add(shapes: tuple[Shape, ...], out: Shape) -> nn.Module:
    from spaces.networks.flow import Add

    return Add()
