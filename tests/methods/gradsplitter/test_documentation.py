"""The code of docs/methods/gradsplitter.md runs."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "methods" / "gradsplitter.md"


def test_example_runs():
    pytest.importorskip("sklearn")
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(block, names)
    assert names["composed"].output_shape == names["separate"].output_shape == (None, 3)
    assert not names["modules"].units["filters"].all()
