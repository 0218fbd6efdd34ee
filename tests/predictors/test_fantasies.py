import numpy as np
import pytest

import predictors
import spaces
from predictors import Fantasies, Joint, Prediction
from predictors.fantasies import JITTER

GRID = spaces.load("mlp")
GENOMES = GRID.sample_uniform(np.random.default_rng(0), 60)
LOSSES = np.array([np.log(GRID.values(genome)["n_units_1"]) for genome in GENOMES])


class Line:
    """Losses are linear in features, with weights that are known up to a normal law."""

    def __init__(self, mean, covariance):
        self.weights, self.spread = mean, covariance
        self.best = -1.0

    def predict(self, items):
        return Prediction(items @ self.weights, np.sqrt(np.einsum("nd,de,ne->n", items, self.spread, items)))

    def covariance(self, items, others):
        return items @ self.spread @ others.T


def test_what_is_told_is_conditioned_on():
    """Against the law of the weights once the losses are known (Bishop 2006, equations 3.50 and 3.51)."""
    rng = np.random.default_rng(1)
    root = rng.standard_normal((3, 3))
    model = Line(rng.standard_normal(3), root @ root.T)
    pending, asked = rng.standard_normal((2, 3)), rng.standard_normal((5, 3))
    told = Fantasies(model, pending, rng.standard_normal((4, 2)))
    found = told.predict(asked)
    covariance = np.linalg.inv(np.linalg.inv(model.spread) + pending.T @ pending / JITTER)
    drawn = told.predict(pending).mean
    for row, losses in zip(found.mean, drawn, strict=True):
        weights = covariance @ (np.linalg.solve(model.spread, model.weights) + pending.T @ losses / JITTER)
        np.testing.assert_allclose(row, asked @ weights, atol=1e-3)
    std = np.sqrt(np.einsum("nd,de,ne->n", asked, covariance, asked))
    np.testing.assert_allclose(found.std, np.maximum(std, np.sqrt(JITTER)), atol=2e-3)
    np.testing.assert_allclose(told.best[:, 0], np.minimum(drawn.min(axis=1), -1.0), atol=1e-3)


def test_fantasies_are_drawn_from_what_is_predicted():
    rng = np.random.default_rng(2)
    root = rng.standard_normal((3, 3))
    model = Line(rng.standard_normal(3), root @ root.T)
    pending = rng.standard_normal((3, 3))
    drawn = Fantasies(model, pending, rng.standard_normal((20_000, 3))).predict(pending).mean
    np.testing.assert_allclose(drawn.mean(axis=0), model.predict(pending).mean, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), model.covariance(pending, pending), atol=0.15)


@pytest.mark.parametrize("name", predictors.PREDICTORS)
def test_covariances_go_with_the_predictions(name):
    model = predictors.load(name, space=GRID).fit(GENOMES[:30], LOSSES[:30])
    assert isinstance(model, Joint)
    some, others = GENOMES[20:40], GENOMES[35:60]
    covariance = model.covariance(some, some)
    np.testing.assert_allclose(np.diag(covariance), model.predict(some).std ** 2, atol=1e-6)
    assert np.linalg.eigvalsh(covariance).min() > -1e-6
    together = model.covariance([*some, *others], [*some, *others])
    np.testing.assert_allclose(model.covariance(some, others), together[:20, 20:], atol=1e-9)
