"""The README's example runs as it stands, for fewer epochs."""

import re
from pathlib import Path

import keras
import pytest

README = Path(__file__).parents[1] / "README.md"


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_example_runs(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    (block,) = python_blocks()
    names = {}
    exec(re.sub(r"epochs=\d+", "epochs=1", block), names)
    assert keras.saving.load_model("one_four_seven.keras").output_shape == (None, 3)
    assert names["mk"].load_modules("digits.modules").threshold == 0.9
    assert names["patched"].output_shape == (None, 10)
