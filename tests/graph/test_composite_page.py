"""The code of docs/composite-layers.md runs and gives what it shows."""

import re
from pathlib import Path

import keras

PAGE = Path(__file__).parents[2] / "docs" / "composite-layers.md"


def test_page(capsys):
    text = PAGE.read_text(encoding="utf-8")
    keras.utils.clear_session()  # names that Keras chooses begin anew
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    (shown,) = re.findall(r"```\n(net: .*?)```", text, re.DOTALL)
    assert capsys.readouterr().out == shown
    assert names["small"].output_shape == (None, 2)
    assert names["functional"].output_shape == (None, 3)
