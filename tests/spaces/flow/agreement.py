"""A tree run module by module, as obviously as can be, against what its nodes say of themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from spaces.flow.tree import Node

SAMPLES = 2


class Runner:
    """Runs trees part by part, every copy built anew; counts parameters and the elements that are made."""

    def __init__(self) -> None:
        self.parameters = 0
        self.activations = 0

    def run(self, node: Node, x: Tensor) -> Tensor:
        assert tuple(x.shape[1:]) == node.shape
        before = (self.parameters, self.activations)
        y = self._run(node, x)
        assert tuple(y.shape[1:]) == node.out, f"{node.text}: {tuple(y.shape[1:])}, but said to be {node.out}"
        assert self.parameters - before[0] == node.price[0], node.text
        assert self.activations - before[1] == node.price[2], node.text
        return y

    def _run(self, node: Node, x: Tensor) -> Tensor:
        if node.form == "sequential":
            return self.run(node.children[1], self.run(node.children[0], x))
        first, last = node.terminals[0], node.terminals[-1]
        if node.form == "computation":
            return self.apply(first, node.shape, node.out, x)
        inner = node.children[0]
        y = self.apply(first, node.shape, inner.shape, x)
        if node.form == "routing":
            return self.apply(last, inner.out, node.out, self.run(inner, y))
        children = node.children if len(node.children) > 1 else node.children * first.ways
        outs = tuple(child.out for child in children)
        parts = [self.run(child, part) for child, part in zip(children, y, strict=True)]
        return self.apply(last, outs, node.out, parts)

    def apply(self, terminal, shape, out, x):
        module = terminal.module(shape, out)
        self.parameters += sum(p.numel() for p in module.parameters())
        y = module(x)
        if not terminal.view:
            made = [y] if isinstance(y, Tensor) else y
            self.activations += sum(part.numel() for part in made) // SAMPLES
        return y


def agree(space, genome) -> None:
    """Raises AssertionError where the tree, the model built of it and their parts differ in shapes or counts."""
    root = space.tree(genome)
    with torch.device("meta"):
        x = torch.empty(SAMPLES, *root.shape)
        Runner().run(root, x)
        model = space.build(genome)
        assert tuple(model(x).shape) == (SAMPLES, getattr(space.io, "classes", None) or space.io.outputs)
    assert sum(p.numel() for p in model.parameters()) == space.cost(genome).parameters
