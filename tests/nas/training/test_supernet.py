import numpy as np
import pytest
import torch

import nas.search
import spaces
from nas.training.loop import train
from nas.training.recipe import Recipe
from nas.training.schedules import cosine_power
from nas.training.supernet import Relaxation, _halves, relax
from nas.training.tasks.images import ImageClassification
from nas.types import InvalidInput, Objective, Proposed
from spaces.networks.supernet import Architecture

IO = spaces.image(channels=1, height=8, width=8, classes=10)
CELLS = spaces.load("nasbench201", IO)
SMALL = {name: spaces.load(name, IO, channels=4, layers=3) for name in ("darts", "sharpdarts")}


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    return ImageClassification(batch=32)


def one_hot(space, genome, supernet):
    """The logits at which a supernet is the network of a genome alone, and what maps their parameters."""
    logits = {cell: torch.full_like(one.logits_EK, -1e4) for cell, one in supernet.architectures.items()}
    values = space.values(genome)
    if "cell" in logits:
        names = list(next(iter(space.fields.values())).values)
        for edge, operator in enumerate(values.values()):
            logits["cell"][edge, names.index(operator)] = 1e4
        return logits
    for cell, scores in logits.items():
        scores[:, -1] = 0
        first = 0
        for node in (2, 3, 4, 5):
            sources = map(int, values[f"{cell}_{node}_inputs"].split(","))
            for source, key in zip(sources, ("first", "second"), strict=True):
                operator = space.choices.index(values[f"{cell}_{node}_{key}"])
                scores[first + source, operator] = 1e4
            first += node
    return logits


@pytest.mark.parametrize("name", ["nasbench201", "darts", "sharpdarts"])
def test_a_supernet_of_one_hot_weights_is_the_network_of_a_genome(name):
    space = CELLS if name == "nasbench201" else SMALL[name]
    rng = np.random.default_rng(0)
    x = torch.randn(4, 1, 8, 8)
    for genome in [space.sample(rng) for _ in range(3)]:
        torch.manual_seed(0)
        supernet = space.supernet().eval()
        with torch.no_grad():
            for cell, logits in one_hot(space, genome, supernet).items():
                supernet.architectures[cell].logits_EK.copy_(logits)
        network = space.build(genome).eval()
        chosen = [logits.argmax(1).tolist() for logits in one_hot(space, genome, supernet).values()]
        for place, cell in enumerate(cells_of(network)):
            mixed = cells_of(supernet.network)[place]
            kind = 1 if name != "nasbench201" and place in (1, 2) else 0
            for k, edge in enumerate(edges_of(space, genome, kind)):
                source = mixed.mixed[edge].operators
                operator = chosen[kind][edge]
                if str(operator) in source and str(k) in dict(cell.operators.named_children()):
                    module = source[str(operator)]
                    module = module[0] if is_normed_pool(module) else module
                    cell.operators[k if name != "nasbench201" else str(k)].load_state_dict(
                        module.state_dict()
                    )
            if hasattr(cell, "inputs"):
                cell.inputs.load_state_dict(mixed.inputs.state_dict())
        for part in ("stem", "head", "norm"):
            if hasattr(network, part):
                getattr(network, part).load_state_dict(getattr(supernet.network, part).state_dict())
        if name == "nasbench201":
            for layer, mixed in zip(network.layers, supernet.network.layers, strict=True):
                if not hasattr(layer, "operators"):
                    layer.load_state_dict(mixed.state_dict())
        # Poolings are normalised in the supernet: with fresh statistics that scales by 1 / sqrt(1 + eps).
        torch.testing.assert_close(supernet(x), network(x), rtol=1e-3, atol=1e-4)
        assert (
            space.discretised(
                {cell: logits.numpy() for cell, logits in one_hot(space, genome, supernet).items()}
            )
            == genome
        )


def cells_of(network):
    return [m for m in network.modules() if type(m).__name__ in CELL_TYPES]


CELL_TYPES = ("CellBlock", "MixedCell", "DARTSCell", "MixedDARTSCell")


def is_normed_pool(module):
    return isinstance(module, torch.nn.Sequential) and "Pool" in type(module[0]).__name__


def edges_of(space, genome, kind):
    """The mixed edge of each operator of a cell."""
    if space.name == "nasbench201":
        return range(6)
    first, edges = 0, []
    for node in (2, 3, 4, 5):
        inputs = space.values(genome)[f"{('normal', 'reduce')[kind]}_{node}_inputs"]
        edges += [first + int(source) for source in inputs.split(",")]
        first += node
    return edges


def test_mixtures():
    torch.manual_seed(0)
    one = Architecture(3, 4, "softmax")
    with torch.no_grad():
        one.logits_EK.copy_(torch.tensor([[0.0, 1, 2, 3]] * 3))
    w = one.logits_EK.softmax(1)
    torch.testing.assert_close(one(), w)
    one.mixture = "max-w"
    torch.testing.assert_close(one(), 1 - w[:, 3:] + w)
    assert torch.equal(one().amax(1), torch.ones(3))


def test_cosine_power_annealing():
    for power in (1, 2, 10):
        rates = [cosine_power(step, 10, power) for step in range(11)]
        assert rates[0] == pytest.approx(1)
        assert rates[-1] == pytest.approx(0)
        assert rates == sorted(rates, reverse=True)
    assert cosine_power(5, 10, 10) == pytest.approx((10**1.5 - 10) / 90)
    assert cosine_power(3, 10, 1 + 1e-7) == pytest.approx(cosine_power(3, 10, 1), abs=1e-6)


def test_halves_are_the_same_images_in_every_epoch(digits):
    epochs = [{}, {}]
    batches = _halves(digits, 0)
    for seen in epochs:
        for _ in range(digits.steps_per_epoch):
            for half, (images, _) in enumerate(next(batches)):
                seen |= {image.tobytes(): half for image in images.numpy()}
    shared = epochs[0].keys() & epochs[1].keys()
    assert len(shared) > 500
    assert all(epochs[0][image] == epochs[1][image] for image in shared)


def test_a_few_steps_on_digits(digits):
    found = relax(SMALL["darts"], digits, steps=2, mixture="max-w")
    assert isinstance(found, Relaxation)
    assert len(found.losses) == 2
    for share_EK in found.shares.values():
        assert share_EK.shape == (14, 8)
        np.testing.assert_allclose(share_EK.sum(axis=1), 1)
    SMALL["darts"].check(found.genome)
    assert found.genome == SMALL["darts"].discretised(found.shares)
    drawn = {found.sample(np.random.default_rng(k)).text for k in range(5)}
    assert len(drawn) == 5


@pytest.mark.slow
@pytest.mark.parametrize("mixture", ["softmax", "max-w"])
@pytest.mark.parametrize("name", ["nasbench201", "darts", "sharpdarts"])
def test_what_is_found_is_trained(name, mixture):
    """A supernet learns the digits, and so does what it is discretised to."""
    pytest.importorskip("sklearn")
    task = ImageClassification(batch=64)
    space = CELLS if name == "nasbench201" else SMALL[name]
    looks = []
    found = relax(
        space,
        task,
        steps=120,
        mixture=mixture,
        architecture_lr=0.02,
        report=lambda *look: looks.append(look),
    )
    assert [step for step, _ in looks] == [20, 40, 60, 80, 100, 120]
    assert looks[-1][1] < 0.6 * looks[0][1]
    torch.manual_seed(0)
    model = space.build(found.genome)
    train(model, task, Recipe(lr=0.003), steps=100, seed=0)
    assert task.evaluate(model, "valid")["valid_accuracy"] > 0.8


def test_the_same_seed_learns_the_same(digits):
    first, second, other = (relax(SMALL["sharpdarts"], digits, steps=1, seed=seed) for seed in (0, 0, 1))
    assert first.losses == second.losses != other.losses
    for cell, shares in first.shares.items():
        assert np.array_equal(shares, second.shares[cell])


def test_the_strategy_proposes_what_the_supernet_found(digits, caplog):
    def strategy(task=digits):
        return nas.search.load(
            "gradient",
            space=SMALL["darts"],
            objectives=[Objective("valid_accuracy", "max")],
            task=task,
            steps=1,
        )

    one = strategy()
    with caplog.at_level("INFO", "nas"):
        first, *others = one.ask(4)
    assert caplog.messages[0].startswith("supernet: step 1 of 1, training loss ")
    assert first.origin == "supernet"
    assert {other.origin for other in others} == {"draw from the supernet"}
    assert len({proposal.genome.digest for proposal in (first, *others)}) == 4
    assert first.genome == relax(SMALL["darts"], digits, steps=1, mixture="max-w").genome
    again = strategy()
    for proposal in (first, *others[:2]):
        again.tell(Proposed(proposal))
    assert again._relaxation is None
    assert again.ask(1) == [others[2]]
    with pytest.raises(InvalidInput, match="which neither a table nor a function is"):
        strategy(task=None)
    with pytest.raises(InvalidInput, match="needs a space with a supernet, which 'mlp' lacks"):
        nas.search.load("gradient", space=spaces.load("mlp"), objectives=[Objective("loss")], task=digits)


@pytest.mark.slow
def test_useless_operators_lose_their_share():
    """Where the other operators give noise, the architecture takes the one through which the signal comes."""

    pytest.importorskip("sklearn")
    task = ImageClassification(batch=128)
    made = CELLS.supernet

    def sabotaged(mixture):
        supernet = made(mixture)
        for cell in cells_of(supernet.network):
            for mixed in cell.mixed:
                for name, operator in mixed.operators.items():
                    if name != "3":
                        mixed.operators[name] = Noise(operator)
        return supernet

    space = type("Sabotaged", (), {"supernet": staticmethod(sabotaged), "discretised": CELLS.discretised})()
    found = relax(space, task, steps=12, architecture_lr=0.05)
    shares = found.shares["cell"]
    assert (shares[:, 3].mean() > shares[:, [1, 2, 4]].mean(axis=0)).all()


class Noise(torch.nn.Module):
    def __init__(self, operator):
        super().__init__()
        self.operator = operator

    def forward(self, x):
        return self.operator(x) + 5 * torch.randn_like(x)
