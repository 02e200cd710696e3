"""The examples run from a shell, as a user would run them."""

import subprocess
import sys
from pathlib import Path

import keras
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="once is enough, on the fastest")
def test_quickstart_goes_through_every_step(tmp_path):
    command = [sys.executable, str(EXAMPLES / "quickstart.py"), "--epochs", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for line in ("accuracy:", "Modules of", "composed:", "weak model with a module:"):
        assert line in done.stdout
