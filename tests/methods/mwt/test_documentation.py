"""The example of docs/methods/mwt.md runs as it stands."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "methods" / "mwt.md"


def test_example():
    pytest.importorskip("sklearn")
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(block.strip().splitlines()) <= 15
    names = {}
    exec(block.replace("epochs=30", "epochs=1"), names)
    assert names["small"].output_shape == names["tuned"].output_shape == (None, 3)
    assert names["small"].count_params() < names["modules"].model.count_params()
