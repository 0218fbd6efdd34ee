"""The conformance suite of spaces: what every space must do, ours or a user's.

@pytest.mark.parametrize("check", space_checks, ids=lambda check: check.__name__)
def test_mine(check):
    check(my_space)
"""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from spaces.counting import draw_below
from spaces.decisions import Decision
from spaces.errors import InvalidGenome
from spaces.flow import FlowSpace
from spaces.genome import Genome, Term, read
from spaces.io import IO, ImageIO, NodeIO, TokenIO, VectorIO
from spaces.product import ProductSpace
from spaces.protocol import Coded, Ranked, Space, tells_costs
from spaces.trees import TreeSpace

if TYPE_CHECKING:
    from torch import Tensor

DRAWS = 1000


def draws(space: Space, number: int, seed: int = 0) -> list[Genome]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(number)]


def nodes(genome: Genome) -> int:
    """The productions in a genome's text."""

    def count(value: str | Term | list[Term]) -> int:
        if isinstance(value, Term):
            return 1 + sum(map(count, value.fields.values()))
        return sum(map(count, value)) if isinstance(value, list) else 0

    return count(read(genome.text))


def check_draws_are_valid(space: Space) -> None:
    """Every draw passes the check, whatever size is asked for."""
    for genome in draws(space, DRAWS):
        space.check(genome)
    if not isinstance(space, TreeSpace | FlowSpace):
        return  # its genomes are all of one size, or no terms
    rng = np.random.default_rng(1)
    size = min(nodes(genome) for genome in draws(space, 50)) + 4
    for _ in range(50):
        genome = space.sample(rng, size=size)
        space.check(genome)
        assert nodes(genome) <= size, f"more than {size} nodes: {genome}"


def check_text_round_trip(space: Space) -> None:
    """Text parses back to an equal genome with the same digest."""
    for genome in draws(space, 300):
        parsed = space.parse(genome.text)
        assert parsed == genome
        assert hash(parsed) == hash(genome)
        assert parsed.digest == genome.digest


def check_pickle(space: Space) -> None:
    """Genomes pickle as little more than their text, and come back equal; spaces come back working."""
    import cloudpickle

    for genome in draws(space, 100):
        data = pickle.dumps(genome)
        assert len(data) <= len(genome.text.encode()) + 150
        copy = pickle.loads(data)
        assert copy == genome
        assert copy.digest == genome.digest
        space.check(copy)
    again = cloudpickle.loads(cloudpickle.dumps(space))
    assert draws(again, 20) == draws(space, 20)


def check_mutations(space: Space) -> None:
    """A mutation is valid and never equal to its parent; each named one gives valid genomes or None."""
    rng = np.random.default_rng(2)
    made: dict[str, int] = dict.fromkeys(space.mutations, 0)
    for genome in draws(space, 500):
        mutant = space.mutate(genome, rng)
        space.check(mutant)
        assert mutant.digest != genome.digest, f"an equal network: {genome} and {mutant}"
        name = list(space.mutations)[int(rng.integers(len(space.mutations)))]
        changed = space.mutations[name](genome, rng)
        if changed is not None:
            space.check(changed)
            made[name] += 1
    assert any(made.values()), "no named mutation could be made"


def check_crossover(space: Space) -> None:
    """Crossover is closed, what it gives differs from the first parent, and genomes of several nodes cross."""
    rng = np.random.default_rng(3)
    genomes = draws(space, 300)
    made = 0
    for a, b in itertools.pairwise(genomes):
        crossed = space.crossover(a, b, rng)
        if crossed is not None:
            made += 1
            space.check(crossed)
            assert crossed.digest != a.digest
    alone = isinstance(space, TreeSpace) and all(nodes(genome) == 1 for genome in genomes)
    assert made or alone, "nothing could be crossed"


def check_same_seed_same_draws(space: Space) -> None:
    """Draws and digests depend on the seed alone, in another process too."""
    import cloudpickle

    code = (
        "import sys, pickle, cloudpickle, numpy as np\n"
        "space = cloudpickle.load(sys.stdin.buffer)\n"
        "rng = np.random.default_rng(4)\n"
        "genomes = [space.sample(rng) for _ in range(20)]\n"
        "genomes += [space.mutate(g, rng) for g in genomes]\n"
        "sys.stdout.buffer.write(pickle.dumps([(g.text, g.digest) for g in genomes]))\n"
    )
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=cloudpickle.dumps(space),
        capture_output=True,
        env=environment,
        check=True,
    )
    rng = np.random.default_rng(4)
    genomes = [space.sample(rng) for _ in range(20)]
    genomes += [space.mutate(genome, rng) for genome in genomes]
    assert pickle.loads(done.stdout) == [(genome.text, genome.digest) for genome in genomes]


def check_refuses_other_texts(space: Space) -> None:
    """Text that is no genome is refused."""
    for text in ("", "nonsense", "nonsense()", "(", draws(space, 1)[0].text + ")"):
        try:
            genome = space.parse(text)
        except InvalidGenome:
            continue
        raise AssertionError(f"{text!r} was taken for {genome}")


def check_ranks(space: Space) -> None:
    """Where a space numbers its genomes, the numbers and the genomes match one to one."""
    if not isinstance(space, Ranked) or space.size is None:
        return
    rng = np.random.default_rng(6)
    for rank in (0, space.size - 1, *(draw_below(rng, space.size) for _ in range(100))):
        try:
            genome = space.unrank(rank)
        except InvalidGenome:  # over a limit
            assert not isinstance(space, ProductSpace), f"rank {rank} has no genome"
        else:
            assert space.rank(genome) == rank
    for genome in draws(space, 100):
        assert space.unrank(space.rank(genome)) == genome
        if isinstance(space, ProductSpace):
            assert space.genome(**space.values(genome)) == genome
    for rank in (-1, space.size):
        try:
            space.unrank(rank)
        except InvalidGenome:
            continue
        raise AssertionError(f"rank {rank} was taken")


def check_points(space: Any) -> None:
    """Where genomes are boxes of a cube, every point is a valid genome, and a box decodes to its genome.

    So are decisions, and those on the way to a genome derive it.
    """
    if not issubclass(type(space), Coded):
        return
    rng = np.random.default_rng(7)
    for _ in range(30):
        genome = space.derive(lambda decision: int(rng.integers(len(decision.options))))
        space.check(genome)
        made = iter(space.decisions(genome))
        assert space.derive(lambda decision: _agreed(decision, *next(made))) == genome  # noqa: B023 - used at once
        assert next(made, None) is None, f"{genome} was derived by fewer decisions than it tells"
    genomes = [space.decode(rng.random(space.dimensions)) for _ in range(100)]
    for genome in genomes:
        space.check(genome)
    for genome in genomes[:30]:
        low, high = space.box(genome)
        for inside in (low, space.encode(genome), np.nextafter(high, 0)):
            assert space.decode(inside) == genome, f"{inside} is in the box of {genome}"
    for outside in ([1.0] * space.dimensions, [float("nan")] * space.dimensions, []):
        try:
            genome = space.decode(outside)
        except InvalidGenome:
            continue
        raise AssertionError(f"{outside} was taken for {genome}")


def _agreed(decision: Decision, told: Decision, place: int) -> int:
    """The place of the option that was told, of the decision that is asked for."""
    assert decision == told
    return place


def check_builds_and_trains(space: Space) -> None:
    """Small draws build, have the parameters they declare, and learn a batch with finite gradients."""
    import torch

    if not tells_costs(space):
        return  # a space of table rows only, say
    genomes = sorted(draws(space, 100, seed=5), key=lambda genome: space.cost(genome).parameters)[10:60:10]
    for genome in genomes:
        torch.manual_seed(0)
        model = space.build(genome)
        assert sum(p.numel() for p in model.parameters()) == space.cost(genome).parameters
        inputs, targets = _batch(space.io)
        # Small steps: Hyena's sines of sines turn by their frequency, 10, at every layer, and overshoot at 1e-3.
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
        losses = []
        for _ in range(3):
            torch.manual_seed(1)  # the same units are dropped out, so that losses compare
            loss = _loss(space.io, model(*inputs), targets)
            loss.backward()
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:  # a memory's slots, say, that no token has read
                    assert torch.isfinite(parameter.grad).all(), f"{name} of {genome}"
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[-1] < losses[0], f"{genome} does not learn: {losses}"


def _batch(io: IO) -> tuple[tuple[Tensor, ...], Tensor]:
    """Random inputs and targets of two samples, or of a graph of eight nodes."""
    import torch

    if isinstance(io, TokenIO):
        tokens = torch.randint(io.vocab, (2, 33))
        return (tokens[:, :-1],), tokens[:, 1:]
    if isinstance(io, ImageIO):
        return (torch.randn(2, io.channels, io.height, io.width),), torch.randint(io.classes, (2,))
    if isinstance(io, NodeIO):
        return (torch.randn(8, io.features), torch.randint(8, (2, 20))), torch.randint(io.classes, (8,))
    return (torch.randn(2, io.features),), torch.randn(2, io.outputs)


def _loss(io: IO, outputs: Tensor, targets: Tensor) -> Tensor:
    """What is trained on: cross-entropy, or the squared error of vectors."""
    from torch.nn import functional

    if isinstance(io, VectorIO):
        assert outputs.shape == targets.shape
        return functional.mse_loss(outputs, targets)
    classes = io.vocab if isinstance(io, TokenIO) else io.classes
    assert outputs.shape == (*targets.shape, classes)
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


space_checks = (
    check_draws_are_valid,
    check_text_round_trip,
    check_pickle,
    check_mutations,
    check_crossover,
    check_same_seed_same_draws,
    check_refuses_other_texts,
    check_ranks,
    check_points,
    check_builds_and_trains,
)
