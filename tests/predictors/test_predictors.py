import subprocess
import sys

import pytest

import predictors
import spaces
from predictors.testing import predictor_checks

SPACE = spaces.load("hybrid", spaces.tokens(256, 64), context=128, operators=12)


@pytest.mark.parametrize("name", predictors.PREDICTORS)
@pytest.mark.parametrize("check", predictor_checks, ids=lambda check: check.__name__)
def test_conformance(check, name):
    check(lambda seed: predictors.load(name, space=SPACE, seed=seed), SPACE)


def test_names_that_lead_nowhere():
    with pytest.raises(predictors.InvalidPredictor) as caught:
        predictors.load("tree", space=SPACE)
    assert str(caught.value) == (
        "unknown predictor 'tree', did you mean 'trees'? allowed: trees, or 'package.module:attribute'"
    )
    with pytest.raises(
        predictors.InvalidPredictor, match=r"cannot import 'nowhere'.*No module named 'nowhere'"
    ):
        predictors.load("nowhere:Trees", space=SPACE)
    with pytest.raises(predictors.InvalidPredictor, match="has no 'Treees', did you mean 'Trees'"):
        predictors.load("predictors.trees:Treees", space=SPACE)


def test_a_users_own_predictor():
    from predictors.trees import Trees

    assert isinstance(predictors.load("predictors.trees:Trees", space=SPACE, seed=3), Trees)


def test_a_space_without_a_grammar_is_refused():
    class Other:
        name = "other"

    with pytest.raises(predictors.InvalidPredictor) as caught:
        predictors.load("trees", space=Other())
    assert str(caught.value) == "features need a space with a grammar, but 'other' is a Other"


def test_importing_loads_no_model():
    code = "import sys, predictors; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert not {"sklearn", "scipy", "torch", "ray", "nas", "networkx"} & set(loaded.split())
