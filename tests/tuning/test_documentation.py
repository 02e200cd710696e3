"""The examples of the page on tuning run."""

import re
from pathlib import Path

import numpy as np
import pytest
from small_models import BACKEND

PAGE = Path(__file__).parents[2] / "docs" / "tuning.md"


@pytest.mark.skipif(BACKEND != "torch", reason="its parts are tested on every backend")
def test_examples_run(capsys):
    pytest.importorskip("sklearn")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names = {}
    for block in blocks:
        exec(block.replace("epochs=20", "epochs=3"), names)
    assert len(blocks) == 4
    assert list(names["each"].threshold) == ["conv1", "conv2", "features"]
    measured = np.isfinite(names["history"]["modules/size"]).tolist()
    assert measured == [True, False, False, False, False, True]
    printed = capsys.readouterr().out
    assert "accuracy" in printed
    assert "affinity/" not in printed
