"""The examples of pages on composed models run, and show what the pages say."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from small_models import BACKEND

PAGES = Path(__file__).parents[2] / "docs"


def example(page):
    """The names that the example of a page defines, once it has run; the block of its output."""
    pytest.importorskip("sklearn")
    text = (PAGES / page).read_text()
    blocks = re.findall(r"```(python)?\n(.*?)```", text, flags=re.DOTALL)
    names = {}
    keras.utils.set_random_seed(0)
    exec("".join(block for kind, block in blocks if kind), names)
    return names, [block for kind, block in blocks if not kind]


@pytest.mark.skipif(BACKEND != "torch", reason="its parts are tested on every backend")
def test_other_output(capsys):
    names, _ = example("other-output.md")
    before, after = map(float, capsys.readouterr().out.splitlines()[-1].split())
    assert after > max(before, 0.97)
    x, is_chosen = names["digits"].x_test, names["is_chosen"]
    sure = [
        np.mean(names[name].predict(x[~is_chosen], verbose=0)[:, :2].max(axis=1) >= 0.9)
        for name in ("plain", "small", "calibrated")
    ]
    assert sure[0] > 2 * sure[1] and sure[2] <= sure[1]


@pytest.mark.skipif(BACKEND != "torch", reason="its parts are tested on every backend")
def test_several_outputs(capsys):
    names, (shapes, _) = example("several-outputs.md")
    assert shapes in capsys.readouterr().out
    small, model, digits = names["small"], names["model"], names["digits"]
    x = digits.x_test[np.isin(digits.y_test, names["classes"])]
    found, full = small.predict(x, verbose=0), model.predict(x, verbose=0)
    of_classes = full["scores"][:, names["classes"]]
    assert np.mean(found["scores"].argmax(axis=1) == of_classes.argmax(axis=1)) > 0.9
    whole, cut, refitted = names["errors"]
    assert refitted < 2 * whole < 0.5 * cut
