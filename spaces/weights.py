"""Weights of productions, learned from genomes that did well: a probabilistic update of the grammar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from spaces.errors import InvalidSpace
from spaces.flow import FlowSpace
from spaces.flow.tree import Node
from spaces.genome import Genome
from spaces.mutations import sites
from spaces.space import GrammarSpace


def learned_weights(
    space: GrammarSpace | FlowSpace, genomes: Sequence[Genome], prior: float = 8.0
) -> dict[str, float]:
    """Weights under which a space draws its productions about as often as these genomes use them.

    For each nonterminal the shares are those among its nodes in all genomes, with the present weights counting as
    `prior` nodes more (the mean of a Dirichlet posterior), so that nothing dies out and few genomes change little.
    The forms of a flow grammar are the productions of its one nonterminal. A production
    of several nonterminals takes the mean of its shares, by how often each nonterminal was derived.
    Limits and guards, which also decide what is drawn, are left out of account. In estimation-of-distribution
    algorithms over grammars this is one generation's update (Salustowicz and Schmidhuber 1997, Probabilistic
    Incremental Program Evolution; Megane et al. 2021, Probabilistic Grammatical Evolution).

    Raises:
        InvalidSpace: the space has no grammar, or prior is not above 0.
        InvalidGenome: one of the genomes is not of the space.
    """
    if not isinstance(space, GrammarSpace | FlowSpace):
        raise InvalidSpace(
            f"weights are learned for a GrammarSpace or a FlowSpace, but {space.name!r} is a {type(space).__name__}"
        )
    if not prior > 0:
        raise InvalidSpace(f"prior = {prior}, but it must be above 0")
    if isinstance(space, FlowSpace):
        forms = Counter(form for genome in genomes for form in _forms(space.tree(genome)))
        return {
            form: (forms[form] + prior * weight) / (forms.total() + prior)
            for form, weight in space.weights.items()
        }
    used: Counter[tuple[str, str]] = Counter()
    derived: Counter[str] = Counter()
    for genome in genomes:
        for site in sites(space.grammar.start, space.tree(genome)):
            used[site.nonterminal, site.node.production.name] += 1
            derived[site.nonterminal] += 1
    weights: dict[str, float] = {}
    for name, production in space.grammar.productions.items():
        ratios, seen = 0.0, 0.0
        for nonterminal in production.nonterminals:
            total = sum(other.weight for other in space.grammar.of(nonterminal))
            share = (used[nonterminal, name] + prior * production.weight / total) / (
                derived[nonterminal] + prior
            )
            ratios += (derived[nonterminal] + prior) * share * total
            seen += derived[nonterminal] + prior
        weights[name] = ratios / seen
    return weights


def _forms(root: Node) -> Iterator[str]:
    """The form of every node of a tree."""
    left = [root]
    while left:
        node = left.pop()
        yield node.form
        left += node.children
