"""einspace in large numbers: what is drawn, by which law, and how it trains."""

from collections import Counter

import numpy as np
import pytest
import torch

import spaces
from tests.spaces.flow.law import shares

pytestmark = pytest.mark.slow


def test_ten_thousand_draws_follow_the_law():
    """Those of at most 60 nodes, which the limits on costs mostly leave alone."""
    space = spaces.load("einspace")
    rng = np.random.default_rng(0)
    roots = [space.tree(space.sample(rng, size=60)) for _ in range(10_000)]
    bare = sum(root.price[0] == 0 for root in roots)
    print(
        f"nodes: mean {np.mean([root.size for root in roots]):.1f}, most {max(root.size for root in roots)}"
    )
    print(
        f"drawn again: {space.discarded} trees, {space.redraws} branches; given parameters: {space.repaired}"
    )
    print(f"without parameters: {bare} of {len(roots):,}")
    assert bare == 0
    for name, (found, wanted) in shares(space._drawer.sizes, roots).items():
        print(f"{name}: {found:.4f} of the forms, {wanted:.4f} by the law")
        assert abs(found - wanted) < (0.04 if name in ("tied", "two") else 0.02)


def problem(space, genome, seed, dtype):
    """What goes wrong in one step, None where nothing does; `dtype` double tells vanishing gradients from none."""
    torch.manual_seed(seed)
    model = space.build(genome).to(dtype).train()
    logits = model(torch.randn(4, 3, 16, 16).to(dtype))
    torch.nn.functional.cross_entropy(logits, torch.randint(10, (4,))).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if not logits.isfinite().all():
        return "output not finite"
    if not all(gradient.isfinite().all() for gradient in gradients):
        return "gradient not finite"
    largest = max([float(gradient.abs().max()) for gradient in gradients[:-2]], default=0.0)
    if largest > 1e-6:
        return None
    if dtype == torch.float64:
        return "vanishing gradient" if largest > 1e-14 else "no gradient"
    return problem(space, genome, seed, torch.float64)


def test_three_hundred_draws_run_forward_and_backward():
    limits = {"parameters": 1_000_000, "flops": 10_000_000, "activations": 1_000_000}
    space = spaces.load("einspace", spaces.image(3, 16, 16, classes=10), **limits)
    rng = np.random.default_rng(1)
    problems = Counter(problem(space, space.sample(rng), seed, torch.float32) for seed in range(300))
    print(f"of 300: {dict(problems)}")
    assert problems["output not finite"] + problems["gradient not finite"] <= 6
    assert problems["no gradient"] <= 3
