"""The example of the page on the output "other" runs, and shows what the page says."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from small_models import BACKEND

PAGE = Path(__file__).parents[2] / "docs" / "other-output.md"


@pytest.mark.skipif(BACKEND != "torch", reason="its parts are tested on every backend")
def test_example_runs(capsys):
    pytest.importorskip("sklearn")
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names = {}
    keras.utils.set_random_seed(0)
    exec(block, names)
    before, after = map(float, capsys.readouterr().out.splitlines()[-1].split())
    assert after > max(before, 0.97)
    x, is_chosen = names["digits"].x_test, names["is_chosen"]
    sure = [
        np.mean(names[name].predict(x[~is_chosen], verbose=0)[:, :2].max(axis=1) >= 0.9)
        for name in ("plain", "small", "calibrated")
    ]
    assert sure[0] > 2 * sure[1] and sure[2] <= sure[1]
