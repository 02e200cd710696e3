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
    block, trained = python_blocks(README)
    keras.utils.set_random_seed(0)
    names = {}
    exec(block, names)
    mk, digits = names["mk"], names["digits"]
    test = digits.x_test, digits.y_test
    assert names["model"].evaluate(*test, verbose=0, return_dict=True)["accuracy"] > 0.88
    assert mk.metrics.reuse_accuracy(names["modules"], [1, 4, 7], *test) > 0.85
    assert np.nanmean(mk.metrics.module_size(names["modules"])) < 0.25
    assert keras.saving.load_model("one_four_seven.keras").output_shape == (None, 3)
    assert mk.load_modules("digits.modules").threshold == 0.9
    if keras.backend.backend() == "torch":  # its parts are tested on every backend
        exec(trained, names)
        assert names["small"].count_params() <= 0.1 * names["model"].count_params()
        assert mk.metrics.reuse_accuracy(names["pair"], [4, 7], *test) > 0.6
        of_pair = np.isin(digits.y_test, [4, 7])
        scores = names["small"].predict(digits.x_test[of_pair], verbose=0)
        right = np.array([4, 7])[scores.argmax(axis=1)] == digits.y_test[of_pair]
        assert np.mean(right) > 0.9


def test_example_of_the_page_on_units_runs():
    pytest.importorskip("sklearn")
    (block,) = python_blocks(UNITS)
    names = {}
    exec(block, names)
    assert names["epsilons"]["features"] > 1e-3
