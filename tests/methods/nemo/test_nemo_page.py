"""The code of docs/methods/nemo.md runs."""

import re
from pathlib import Path

import keras
import pytest

PAGE = Path(__file__).parents[3] / "docs" / "methods" / "nemo.md"


def test_example_of_the_page():
    pytest.importorskip("sklearn")
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(block.splitlines()) <= 15
    keras.utils.set_random_seed(0)
    names = {}
    exec(block, names)
    mk, digits = names["mk"], names["digits"]
    test = digits.x_test, digits.y_test
    assert mk.metrics.reuse_accuracy(names["modules"], [1, 4, 7], *test) > 0.8
    assert names["bare"].count_params() < names["plain"].count_params()
    assert names["bare"].count_params() < names["small"].count_params()
