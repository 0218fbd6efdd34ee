"""Performance predictors: models that rank genomes before they are trained.

Losses are what is predicted: lower is better. `import predictors` loads no model; scikit-learn comes with the
first fit.
"""

from __future__ import annotations

from predictors.acquisition import expected_improvement, log_expected_improvement
from predictors.fantasies import Fantasies
from predictors.types import Context, InvalidPredictor, Joint, Prediction, Predictor
from spaces import Space
from spaces.lookup import resolve

PREDICTORS = {
    "trees": "predictors.trees:Trees",
    "gaussian": "predictors.gaussian:GaussianProcess",
    "stacked": "predictors.stacked:Stacked",
    "deep": "predictors.deep:DeepEnsemble",
}
"""The predictors known by name, and where they are."""


def load(name: str, *, space: Space, seed: int = 0) -> Predictor:
    """A predictor by name, or a user's own as "package.module:attribute", not fitted yet.

    Args:
        name: one of `PREDICTORS`, or the place of a class or function that takes `space` and `seed`.
        space: what the genomes to be ranked are from.
        seed: what everything random in it follows from.

    Raises:
        InvalidPredictor: the name is unknown or does not lead to a predictor, or the space does not suit it.
    """
    make = resolve(name, PREDICTORS, "predictor", InvalidPredictor)
    return make(space=space, seed=seed)


__all__ = [
    "PREDICTORS",
    "Context",
    "Fantasies",
    "InvalidPredictor",
    "Joint",
    "Prediction",
    "Predictor",
    "expected_improvement",
    "load",
    "log_expected_improvement",
]
