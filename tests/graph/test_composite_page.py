"""The code of docs/composite-layers.md runs and gives what it shows."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "composite-layers.md"


def test_page(capsys):
    text = PAGE.read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    (shown,) = re.findall(r"```\n(net: .*?)```", text, re.DOTALL)
    assert capsys.readouterr().out == shown
    assert names["small"].output_shape == (None, 2)
    assert names["functional"].output_shape == (None, 3)
