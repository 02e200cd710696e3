"""The example of the page on reports runs."""

import re
from pathlib import Path

import pytest
from small_models import BACKEND

PAGE = Path(__file__).parents[2] / "docs" / "report.md"


@pytest.mark.skipif(BACKEND == "jax", reason="every call compiles a masked model of its own")
def test_example_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 1
    names = {}
    exec(blocks[0].replace("epochs=30", "epochs=1"), names)
    assert "Diagnosis" in (tmp_path / "report.html").read_text(encoding="utf-8")
    findings = names["modules"].diagnose(
        names["digits"].x_test, names["digits"].y_test, history=names["history"]
    )
    assert all(finding.message in capsys.readouterr().out for finding in findings[:1])
