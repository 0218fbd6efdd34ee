"""Mutations and crossover of the trees of flow grammars: a change is made where it fits, and what follows is refitted.

Where a change gives another shape, what stands to its right is kept where its terminals fit the new shape, and else
drawn anew towards the shape that it gave; a post or a join that no longer fits gives way to one that does.
A mutation tries a few places in random order, and returns None where none of them changes the network.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from spaces.flow.draw import NOTHING, Drawer
from spaces.flow.parsing import closed, refitted
from spaces.flow.reach import features
from spaces.flow.terminal import Scope, Shape, Terminal
from spaces.flow.tree import Fit, Node, Price, branched, chained, fit, leaf, minus, plus, times, within
from spaces.genome import DEEPEST
from spaces.mutations import shuffled

PLACES = 8
"""How many places a mutation tries."""
GROWTH = 32
"""By how many nodes a mutation makes a tree larger at most; but for duplicates, which repeat what there is."""


class Site(NamedTuple):
    """A node and where it stands: its parent's site, its place among the children, how often it is built."""

    node: Node
    parent: Site | None
    place: int
    times: int


@functools.lru_cache(16)  # a search mutates one genome many times
def sites(root: Node) -> tuple[Site, ...]:
    """Every form of a tree, parents first."""
    found = [Site(root, None, 0, 1)]
    for site in found:
        times = site.times * site.node.copies
        for place, child in enumerate(site.node.children):
            found.append(Site(child, site, place, times))
    return tuple(found)


class Changer:
    """Where the trees of a space may change: its drawer, and the limits of whole trees."""

    def __init__(self, drawer: Drawer, limit: Price) -> None:
        self.drawer, self.reach, self.sizes, self.limit = drawer, drawer.reach, drawer.sizes, limit
        terminals = self.reach.grammar.terminals
        self.terminals: dict[str, list[Terminal]] = {
            kind: list(each.values()) for kind, each in terminals.items()
        }

    def fits(self, root: Node) -> bool:
        """Whether a tree is within the limits of the space."""
        head = self.drawer.reserve(0, features(root.out), (0, 1))
        return (
            root.size <= self.sizes.most
            and root.depth <= DEEPEST
            and root.form != "computation"
            and within(plus(root.price, head), self.limit)
        )

    def room(self, root: Node, site: Site) -> Price:
        """What a node at the site may take in place of the one there, where the root's shape stays."""
        head = self.drawer.reserve(0, features(root.out), (0, 1))
        left = minus(self.limit, plus(root.price, head))
        return plus(times(left, 1 / site.times), site.node.price)

    def settled(self, root: Node, site: Site, node: Node, rng: np.random.Generator) -> Node | None:
        """The tree of `placed`; None where that is, or the network stays the same."""
        new = self.placed(root, site, node, rng)
        return new if new is not None and new.items != root.items else None

    def placed(self, root: Node, site: Site, node: Node, rng: np.random.Generator) -> Node | None:
        """The tree with another node at a site, what follows refitted; None where that, or a limit, forbids it."""
        new: Node | None = node
        while new is not None and site.parent is not None:
            new, site = self._above(root, site, new, rng), site.parent
        return new if new is not None and self.fits(new) else None

    def _above(self, root: Node, site: Site, node: Node, rng: np.random.Generator) -> Node | None:
        assert site.parent is not None
        parent, place = site.parent.node, site.place
        children = (*parent.children[:place], node, *parent.children[place + 1 :])
        if parent.form == "sequential":
            if place == 1 or node.out == site.node.out:
                return chained(*children)
            second = refitted(children[1], node.out, parent.scope)
            if second is None:
                budget = minus(self.room(root, site.parent), node.price)
                second = self.toward(node.out, parent.scope, children[1].size, budget, parent.out, rng)
            return None if second is None else chained(node, second)
        before = fit(parent.terminals[0], parent.shape, parent.scope)
        assert before is not None
        return self.closing(parent, before, children, rng)

    def closing(
        self, old: Node, before: Fit, children: tuple[Node, ...], rng: np.random.Generator
    ) -> Node | None:
        """A routing or branching with these children, and its post or join, or any that fits in its place."""
        post = old.terminals[1]
        others = [each for each in self.terminals[post.kind] if each is not post]
        for after in (post, *shuffled(others, rng)):
            made = closed(old.form, before, children, after, old.shape, old.scope)
            if made is not None:
                return made
        return None

    def toward(
        self, shape: Shape, scope: Scope, n: int, budget: Price, want: Shape, rng: np.random.Generator
    ) -> Node | None:
        """A tree of n nodes that gives the wanted shape; None where none is known within the budget."""
        price = self.reach.price(shape, scope, want, n)
        if price is None or not within(price, budget):
            return None
        return self.drawer.toward(shape, scope, n, budget, want, rng)


def resample(changer: Changer, root: Node, rng: np.random.Generator) -> Node | None:
    """Draws a subtree anew, its size by the law; half of the time with the shape that it gave, else with any."""
    places = sites(root)
    site = places[int(rng.random() * len(places))]
    old, sizes = site.node, changer.sizes
    room = min(sizes.most - root.size, GROWTH) + old.size
    n = sizes.draw(room, rng, least=2 if site.parent else 5)
    budget = changer.room(root, site)
    if rng.random() < 0.5 or site.parent is None:
        tail = NOTHING if site.parent else (0, 1)
        limit = budget if site.parent else changer.limit
        if within(changer.drawer.floor(old.shape, n, tail), limit):
            made = changer.settled(
                root, site, changer.drawer.free(old.shape, old.scope, n, limit, tail, rng), rng
            )
            if made is not None:
                return made
    new = changer.toward(old.shape, old.scope, n, budget, old.out, rng)
    return None if new is None else changer.settled(root, site, new, rng)


def change(changer: Changer, root: Node, rng: np.random.Generator) -> Node | None:
    """Puts another terminal of the kind in the place of one."""
    places = [(site, place) for site in sites(root) for place in range(len(site.node.terminals))]
    for site, place in _few(places, rng):
        old = site.node
        now = old.terminals[place]
        for other in _few([each for each in changer.terminals[now.kind] if each is not now], rng):
            node = _exchanged(changer, old, place, other, rng)
            made = None if node is None else changer.settled(root, site, node, rng)
            if made is not None:
                return made
    return None


def _exchanged(
    changer: Changer, old: Node, place: int, other: Terminal, rng: np.random.Generator
) -> Node | None:
    """A node with another terminal in a place; a fork of other ways takes its branches from those there are."""
    shape, scope = old.shape, old.scope
    before = fit(other if place == 0 else old.terminals[0], shape, scope)
    if before is None or before.constant:
        return None
    if old.form == "computation":
        return leaf(before, shape, scope)
    if place == 1:
        return closed(old.form, before, old.children, other, shape, scope)
    children = old.children
    if old.form == "branching":
        children = (children[0], children[-1]) if other.ways == 2 else children[:1]
    refits = [refitted(child, before.out, before.scope) for child in children]
    kept = tuple([child for child in refits if child is not None])
    return changer.closing(old, before, kept, rng) if len(kept) == len(refits) else None


def insert(changer: Changer, root: Node, rng: np.random.Generator) -> Node | None:
    """Puts a step that keeps the shape before or after a node; half of the time one with an identity beside it."""
    reach, sizes = changer.reach, changer.sizes
    for site in _few(sites(root), rng):
        old, before, beside = site.node, rng.random() < 0.5, rng.random() < 0.5
        shape = old.shape if before else old.out
        room = min(sizes.most - root.size, GROWTH) - (6 if beside else 1)
        if room < 2:
            continue
        n = sizes.draw(room, rng)
        budget = minus(changer.room(root, site), old.price)
        if beside:
            budget = minus(budget, (0, 0, math.prod(shape), 1))
        new = changer.toward(shape, old.scope, n, budget, shape, rng)
        if new is None:
            continue
        if beside:
            new = residual(reach.grammar.terminals, new)
        made = changer.settled(root, site, chained(new, old) if before else chained(old, new), rng)
        if made is not None:
            return made
    return None


def residual(terminals: Mapping[str, Mapping[str, Terminal]], node: Node) -> Node:
    """The sum of a node that keeps the shape and its input."""
    shape, scope = node.shape, node.scope
    keep = leaf(Fit(terminals["computation"]["identity"], shape, shape, scope), shape, scope)
    fork = Fit(terminals["fork"]["clone_2"], shape, shape, scope)
    return branched(
        fork, (node, keep), Fit(terminals["join"]["add"], (shape,) * 2, shape, scope), shape, scope
    )


def delete(changer: Changer, root: Node, rng: np.random.Generator) -> Node | None:
    """Takes out one part of a sequential, or all but one branch of a branching, whose input that branch can take."""
    places = [(site, k) for site in sites(root) for k in range(len(site.node.children))]
    places = [(site, k) for site, k in places if site.node.form != "routing"]
    for site, k in _few(places, rng):
        kept = refitted(site.node.children[k], site.node.shape, site.node.scope)
        made = None if kept is None else changer.settled(root, site, kept, rng)
        if made is not None:
            return made
    return None


def swap(changer: Changer, root: Node, rng: np.random.Generator) -> Node | None:
    """Exchanges the two parts of a sequential, or two branches whose order matters."""
    places = [site for site in sites(root) if len(site.node.children) == 2]
    for site in _few(places, rng):
        old = site.node
        first, second = old.children
        if first.items == second.items or (old.form == "branching" and old.terminals[1].neutral):
            continue
        if old.form == "sequential":
            before = refitted(second, old.shape, old.scope)
            after = None if before is None else refitted(first, before.out, old.scope)
            node = None if before is None or after is None else chained(before, after)
        else:
            fork = fit(old.terminals[0], old.shape, old.scope)
            assert fork is not None
            node = changer.closing(old, fork, (second, first), rng)
        made = None if node is None else changer.settled(root, site, node, rng)
        if made is not None:
            return made
    return None


def duplicate(changer: Changer, root: Node, rng: np.random.Generator) -> Node | None:
    """Repeats a pattern behind itself, where it fits the shape that it gives."""
    room = changer.sizes.most - root.size - 1
    places = [site for site in sites(root) if site.node.size <= room and site.node.items]
    for site in _few(places, rng):
        twin = refitted(site.node, site.node.out, site.node.scope)
        made = None if twin is None else changer.settled(root, site, chained(site.node, twin), rng)
        if made is not None:
            return made
    return None


MUTATIONS: Mapping[str, Callable[[Changer, Node, np.random.Generator], Node | None]] = {
    "resample": resample,
    "change": change,
    "insert": insert,
    "delete": delete,
    "swap": swap,
    "duplicate": duplicate,
}


def crossover(changer: Changer, a: Node, b: Node, rng: np.random.Generator) -> Node | None:
    """The first tree with a subtree of the second that fits in place of one of its own, and what follows refitted.

    None where they have nothing to exchange that fits and changes the first.
    """
    donors = [site.node for site in sites(b)[1:]]
    for site in _few(sites(a)[1:], rng):
        old = site.node
        for donor in _few(donors, rng):
            node = refitted(donor, old.shape, old.scope)
            if node is None or node.items == old.items:
                continue
            made = changer.settled(a, site, node, rng)
            if made is not None:
                return made
    return None


def with_parameters(changer: Changer, root: Node, rng: np.random.Generator) -> Node | None:
    """The tree with one leaf changed to one that has parameters and gives the same shape; None where none fits."""
    for site in shuffled([site for site in sites(root) if site.node.form == "computation"], rng):
        old = site.node
        fits = [each for each in changer.reach.leaves(old.shape, old.out) if each.price[0]]
        for found in shuffled(fits, rng):
            made = changer.placed(root, site, leaf(found, old.shape, old.scope), rng)
            if made is not None:
                return made
    return None


def _few(items: Iterable[Any], rng: np.random.Generator) -> Iterator[Any]:
    """A few of the items in random order."""
    return islice(shuffled(items, rng), PLACES)
