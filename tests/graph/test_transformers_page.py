"""The code of docs/transformers.md runs and gives what it says."""

import re
from pathlib import Path

import numpy as np

import moda_keras as mk

PAGE = Path(__file__).parents[2] / "docs" / "transformers.md"


def test_page(capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, names)
    assert "'heads': 2, 'mlp': 16}" in capsys.readouterr().out
    x = names["sentences"]
    expected = mk.masked_model(names["modules"], [0, 2]).predict(x, verbose=0)
    np.testing.assert_allclose(names["small"].predict(x, verbose=0), expected, rtol=1e-4, atol=1e-6)
