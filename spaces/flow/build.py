"""From a tree to its torch model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spaces.flow.grammar import FlowGrammar
from spaces.flow.reach import features
from spaces.flow.tree import Node

if TYPE_CHECKING:
    from torch import nn


def build(root: Node, grammar: FlowGrammar, outputs: int) -> nn.Module:
    """The model of a tree and its head, initialised from torch's global random state."""
    from spaces.networks.flow import Branching, Head, Sequential

    def module(node: Node) -> nn.Module:
        if node.form == "sequential":
            return Sequential(*[module(step) for step in node.steps])
        if node.form == "computation":
            return node.terminals[0].module(node.shape, node.out)
        if fused := grammar.fused(node):
            return fused.module()
        first, last = node.terminals
        inner = node.children[0]
        before = first.module(node.shape, inner.shape)
        if node.form == "routing":
            return Sequential(before, module(inner), last.module(inner.out, node.out))
        if len(node.children) == 1:
            branches, outs = [module(inner) for _ in range(node.copies)], (inner.out,) * node.copies
        else:
            branches = [module(child) for child in node.children]
            outs = tuple([child.out for child in node.children])
        return Branching(before, branches, last.module(outs, node.out))

    return Sequential(module(root), Head(features(root.out), outputs))
