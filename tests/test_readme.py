"""The README's example runs as it stands, and reaches the accuracies that it promises."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"
UNITS = README.parent / "docs" / "units.md"


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_example_reaches_its_accuracies(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    (block,) = python_blocks(README)
    keras.utils.set_random_seed(0)
    names = {}
    exec(block, names)
    mk, digits = names["mk"], names["digits"]
    test = digits.x_test, digits.y_test
    assert names["model"].evaluate(*test, verbose=0, return_dict=True)["accuracy"] > 0.88
    assert mk.metrics.reuse_accuracy(names["modules"], [1, 4, 7], *test) > 0.85
    assert np.nanmean(mk.metrics.module_size(names["modules"])) < 0.25
    weak, patched = (
        each.evaluate(*test, verbose=0, return_dict=True)["accuracy"]
        for each in (names["weak"], names["patched"])
    )
    assert patched > weak + 0.05
    assert keras.saving.load_model("one_four_seven.keras").output_shape == (None, 3)
    assert mk.load_modules("digits.modules").threshold == 0.9


def test_example_of_the_page_on_units_runs():
    pytest.importorskip("sklearn")
    (block,) = python_blocks(UNITS)
    names = {}
    exec(block, names)
    assert names["epsilons"]["features"] > 1e-3
