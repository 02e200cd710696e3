"""The code of docs/methods/baselines.md runs."""

import re
from pathlib import Path

import keras
import pytest

PAGE = Path(__file__).parents[3] / "docs" / "methods" / "baselines.md"


def test_example_of_the_page():
    pytest.importorskip("sklearn")
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(block.splitlines()) <= 17
    keras.utils.set_random_seed(0)
    names = {}
    exec(block, names)
    digits = names["digits"]
    chosen = digits.y_test < 2
    for model in (names["whole"], names["fresh"]):
        right = model.predict(digits.x_test[chosen], verbose=0).argmax(1) == digits.y_test[chosen]
        assert right.mean() > 0.9
    assert names["fresh"].count_params() == names["small"].count_params()
    assert names["fresh"].count_params() < 0.9 * names["model"].count_params()
