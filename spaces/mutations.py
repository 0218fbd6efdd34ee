"""Mutations and crossover of derivation trees: each change is made where it fits, never tried and thrown away.

A mutation lists the places where it can be made, in random order, and makes it at the first that has room.
It returns None where there is no such place.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

from spaces.derivation import ONCE, Attributes, Node, Table, Vector, divided, multiplied, plus, within
from spaces.engine import Engine
from spaces.errors import NoNeighbour
from spaces.fields import Real
from spaces.genome import Genome

Group = tuple[Node, ...]
Item = TypeVar("Item")

Mutation = Callable[[Genome, np.random.Generator], Genome | None]
"""A named change of a genome of one space; None where it cannot be made."""

TRIES = 32
"""How often a mutation is drawn again when it gives a network equal to its parent."""


class Mutable:
    """What a space does with its named mutations."""

    name: str
    redrawn: Counter[str]
    """How often each mutation gave a network equal to its parent and was drawn again."""

    @property
    def mutations(self) -> Mapping[str, Mutation]:
        """The changes that can be made, by name."""
        raise NotImplementedError

    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """A neighbour by one mutation drawn evenly from `mutations`; never a network equal to its parent.

        A mutation that canonicalises to the parent is drawn again, at most 32 times, counted in `redrawn`.

        Raises:
            NoNeighbour: no mutation can be made, or all that were drawn gave a network equal to the parent.
        """
        mutations = self.mutations
        names: list[str] = []
        unchanged = False
        for _ in range(TRIES):
            names = names or list(mutations)  # one that failed may have tried a few of its places only
            name = names[int(rng.random() * len(names))]
            new = mutations[name](genome, rng)
            if new is None:
                names.remove(name)
            elif new.digest != genome.digest:
                return new
            else:
                self.redrawn[name] += 1
                unchanged = True
        reason = f"{TRIES} draws gave none or the same network" if unchanged else "none can be made"
        raise NoNeighbour(f"no mutation of space {self.name!r} changes {genome.text}: {reason}")


class Site(NamedTuple):
    """A node and where it stands: its parent's site, the field and the place in it, how often its resources count."""

    node: Node
    nonterminal: str
    parent: Site | None
    field: int
    place: int
    times: Vector

    @property
    def at(self) -> Attributes:
        """The attributes that the node inherits."""
        return self.node.table.at


@functools.lru_cache(16)  # a search mutates one genome many times
def sites(start: str, root: Node) -> tuple[Site, ...]:
    """Every node of a tree with its place, parents first; `start` is the nonterminal of the root."""
    found = [Site(root, start, None, 0, 0, ONCE)]
    for site in found:
        node = site.node
        if node.children:
            times = _times_below(site)
            for k, (part, group) in enumerate(
                zip(node.production.children.values(), node.children, strict=True)
            ):
                for i, below in enumerate(group):
                    found.append(Site(below, part.nonterminal, site, k, i, times))
    return tuple(found)


def _times_below(site: Site) -> Vector:
    """How often the resources of the node's children count."""
    return multiplied(site.times, site.node.table.times[site.node.index])


def replaced(site: Site, node: Node) -> Node:
    """The root of the tree with another node at a site; all that is not above the site is shared."""
    while site.parent is not None:
        parent = site.parent.node
        group = parent.children[site.field]
        group = (*group[: site.place], node, *group[site.place + 1 :])
        node = with_group(parent, site.field, group)
        site = site.parent
    return node


def with_group(node: Node, field: int, group: Group) -> Node:
    """The same node with other children in one field."""
    children = (*node.children[:field], group, *node.children[field + 1 :])
    return Node(node.table, node.index, node.reals, children)


def room(engine: Engine, root: Node, site: Site) -> Vector:
    """What a node at the site may take in place of the one there."""
    return plus(divided(plus(engine.limit, root.cost, -1), site.times), site.node.cost)


def shuffled(items: Iterable[Item], rng: np.random.Generator) -> Iterator[Item]:
    """The items in random order, drawn one at a time: mostly the first is taken."""
    items = list(items)
    while items:
        i = int(rng.random() * len(items))
        items[i], items[-1] = items[-1], items[i]
        yield items.pop()


def resample(engine: Engine, root: Node, rng: np.random.Generator) -> Node | None:
    """Draws a subtree anew, from the nonterminal that it was derived from, where that has more than one."""
    places = [site for site in sites(engine.grammar.start, root) if engine.varies(site.nonterminal, site.at)]
    if not places:
        return None
    site = places[int(rng.random() * len(places))]
    return replaced(site, engine.draw(site.nonterminal, site.at, room(engine, root, site), rng))


def change(engine: Engine, root: Node, rng: np.random.Generator) -> Node | None:
    """Changes one choice or number: an ordered choice to a neighbour, a number nearby.

    Where the guard allows no other value of a choice beside the others, those that must follow do. Children
    whose attributes change with the choice are drawn anew.
    """
    places = [(site, k) for site in sites(engine.grammar.start, root) for k in range(len(site.node.values))]
    for site, k in shuffled(places, rng):
        node, table = site.node, site.node.table
        number = len(table.production.choices)
        if k >= number:
            rule = list(table.production.reals.values())[k - number]
            reals = list(node.reals)
            reals[k - number] = nearby(rule, reals[k - number], rng)
            return replaced(site, Node(table, node.index, tuple(reals), node.children))
        budget = room(engine, root, site)
        for indices in shuffled(alternatives(table, node.index, k), rng):
            for index in shuffled(indices, rng):
                if table.child_at[index] is table.child_at[node.index]:
                    new = Node(table, index, node.reals, node.children)
                    if within(new.cost, budget):
                        return replaced(site, new)
                elif index in table.fitting(budget):
                    return replaced(site, engine.fill(table, index, budget, rng, node.reals))
    return None


def alternatives(table: Table, index: int, k: int) -> list[list[int]]:
    """For each value to which choice k may move, the assignments that have it and differ least elsewhere."""
    here = table.codes[index]
    option = list(table.production.choices.values())[k]
    order = list(range(len(option.values)))
    if option.ordered:
        order = [*reversed(range(here[k])), -1, *range(here[k] + 1, len(option.values))]
    found: list[list[int]] = []
    passed = False  # an ordered choice moves to the nearest value on each side that the guard allows
    for place in order:
        if place == -1:
            passed = False
        elif place != here[k] and not passed:
            indices = _nearest(table, here, k, place)
            if indices:
                found.append(indices)
                passed = option.ordered
    return found


def _nearest(table: Table, here: tuple[int, ...], k: int, place: int) -> list[int]:
    """The assignments with a value of choice k that differ least from these in the other choices."""
    same = table.index.get((*here[:k], place, *here[k + 1 :]))
    if same is not None:
        return [same]
    rows = [i for i, code in enumerate(table.codes) if code[k] == place]
    if not rows:
        return []
    distances = (np.array([table.codes[i] for i in rows]) != np.array(here)).sum(axis=1)
    return [rows[i] for i in np.flatnonzero(distances == distances.min())]


def nearby(rule: Real, value: float, rng: np.random.Generator) -> float:
    """A normal step of a fifth of the range (on the scale of the rule), reflected at the bounds."""
    low, high = (math.log(rule.low), math.log(rule.high)) if rule.log else (rule.low, rule.high)
    here = (math.log(value) if rule.log else value) + 0.2 * (high - low) * rng.standard_normal()
    span = high - low
    here = (here - low) % (2 * span)
    here = low + (here if here <= span else 2 * span - here)
    here = math.exp(here) if rule.log else here
    return min(max(here, rule.low), rule.high)


def _lists(engine: Engine, root: Node) -> Iterator[tuple[Site, int, Group]]:
    """Every list of children in the tree: the site of its node, the field, and the children."""
    for site in sites(engine.grammar.start, root):
        for k, part in enumerate(site.node.production.children.values()):
            if part.listed:
                yield site, k, site.node.children[k]


def insert(engine: Engine, root: Node, rng: np.random.Generator) -> Node | None:
    """Draws a new child into a list that has room."""
    for site, k, group in shuffled(list(_lists(engine, root)), rng):
        node = site.node
        part = list(node.production.children.values())[k]
        if len(group) == part.high:
            continue
        at = node.table.child_at[node.index]
        budget = _room_below(engine, root, site)
        if engine.fits(part.nonterminal, at, budget):
            i = int(rng.random() * (len(group) + 1))
            new = engine.draw(part.nonterminal, at, budget, rng)
            return replaced(site, with_group(node, k, (*group[:i], new, *group[i:])))
    return None


def delete(engine: Engine, root: Node, rng: np.random.Generator) -> Node | None:
    """Takes a child out of a list that may be shorter."""
    for site, k, group in shuffled(list(_lists(engine, root)), rng):
        part = list(site.node.production.children.values())[k]
        if len(group) > part.low:
            i = int(rng.random() * len(group))
            return replaced(site, with_group(site.node, k, (*group[:i], *group[i + 1 :])))
    return None


def duplicate(engine: Engine, root: Node, rng: np.random.Generator) -> Node | None:
    """Repeats a child of a list next to itself, where the list and the limits have room."""
    for site, k, group in shuffled(list(_lists(engine, root)), rng):
        part = list(site.node.production.children.values())[k]
        if len(group) == part.high:
            continue
        budget = _room_below(engine, root, site)
        for i in shuffled(list(range(len(group))), rng):
            twin = group[i]
            if within(twin.cost, budget):
                return replaced(site, with_group(site.node, k, (*group[:i], twin, *group[i:])))
    return None


def swap(engine: Engine, root: Node, rng: np.random.Generator) -> Node | None:
    """Exchanges two unequal children of a list whose order matters."""
    for site, k, group in shuffled(list(_lists(engine, root)), rng):
        if len(group) < 2 or site.node.production.form == "residual":
            continue
        pairs = [
            (i, j) for i in range(len(group)) for j in range(i) if group[i].canonical != group[j].canonical
        ]
        for i, j in shuffled(pairs, rng):
            changed = list(group)
            changed[i], changed[j] = changed[j], changed[i]
            return replaced(site, with_group(site.node, k, tuple(changed)))
    return None


def _room_below(engine: Engine, root: Node, site: Site) -> Vector:
    """What one more child of the node may take."""
    return divided(plus(engine.limit, root.cost, -1), _times_below(site))


MUTATIONS: Mapping[str, Callable[[Engine, Node, np.random.Generator], Node | None]] = {
    "resample": resample,
    "change": change,
    "insert": insert,
    "delete": delete,
    "duplicate": duplicate,
    "swap": swap,
}


def crossover(engine: Engine, a: Node, b: Node, rng: np.random.Generator) -> Node | None:
    """The first tree with a subtree of the second in it, of the same nonterminal under the same attributes.

    None where they have nothing to exchange that fits and changes the first.
    """
    donors: dict[tuple[str, Attributes], list[Node]] = {}
    for site in sites(engine.grammar.start, b)[1:]:
        donors.setdefault((site.nonterminal, site.at), []).append(site.node)
    for site in shuffled(sites(engine.grammar.start, a)[1:], rng):
        budget = room(engine, a, site)
        for node in shuffled(donors.get((site.nonterminal, site.at), []), rng):
            if within(node.cost, budget) and node.canonical != site.node.canonical:
                crossed = replaced(site, node)
                if crossed.canonical != a.canonical:
                    return crossed
    return None
