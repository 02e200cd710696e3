"""The README's example runs as it stands, for fewer epochs."""

import re
from pathlib import Path

import keras
import pytest

README = Path(__file__).parents[1] / "README.md"
UNITS = README.parent / "docs" / "units.md"


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_example_runs(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    (block,) = python_blocks(README)
    names = {}
    exec(re.sub(r"epochs=\d+", "epochs=1", block), names)
    assert keras.saving.load_model("one_four_seven.keras").output_shape == (None, 3)
    assert names["mk"].load_modules("digits.modules").threshold == 0.9
    assert names["patched"].output_shape == (None, 10)


def test_example_of_the_page_on_units_runs():
    pytest.importorskip("sklearn")
    (block,) = python_blocks(UNITS)
    names = {}
    exec(block, names)
    assert names["epsilons"]["features"] > 1e-3
