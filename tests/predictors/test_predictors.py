import subprocess
import sys

import pytest

import predictors
import spaces
from predictors.testing import predictor_checks

SPACE = spaces.load("hybrid", spaces.tokens(256, 64), context=128, operators=12)
CELLS = spaces.load("nasbench201")


@pytest.mark.parametrize("space", [SPACE, CELLS], ids=lambda space: space.name)
@pytest.mark.parametrize("name", predictors.PREDICTORS)
@pytest.mark.parametrize("check", predictor_checks, ids=lambda check: check.__name__)
def test_conformance(check, name, space):
    check(lambda seed: predictors.load(name, space=space, seed=seed), space)


def test_names_that_lead_nowhere():
    with pytest.raises(predictors.InvalidPredictor) as caught:
        predictors.load("tree", space=SPACE)
    assert str(caught.value) == (
        "unknown predictor 'tree', did you mean 'trees'? allowed: trees, gaussian, stacked, deep, or 'package.module:attribute' for your own"
    )
    with pytest.raises(
        predictors.InvalidPredictor, match="cannot be imported: no module 'nowhere' is installed"
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
    assert (
        str(caught.value)
        == "features need a space with 'operators' and 'graph', which 'other', a Other, lacks"
    )


def test_importing_loads_no_model():
    code = "import sys, predictors; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert not {"sklearn", "scipy", "torch", "ray", "nas", "networkx"} & set(loaded.split())
