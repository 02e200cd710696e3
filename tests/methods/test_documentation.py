"""The code of docs/labels.md runs."""

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "labels.md"


def test_labels():
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, names)
    assert names["small"].output_shape == (None, 2) and 0 <= names["accuracy"] <= 1
    np.testing.assert_allclose(names["two"](names["x"][:3]).shape, (3, 2))
