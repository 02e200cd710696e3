"""The examples run from a shell, as a user would run them."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="once is enough, on the fastest"
)


def run(tmp_path, name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pretrained_compares_the_ways(tmp_path):
    output = run(tmp_path, "pretrained.py", "--epochs", "12", "--fine-tuning", "1")
    lines = [line for line in output.splitlines() if "accuracy" in line]
    accuracy = {line[:38].strip(): float(line.rsplit(" ", 1)[1]) for line in lines}
    assert accuracy["only the head sliced"] > 0.9
    assert accuracy["slim, 20%, repaired"] > 0.9
    assert accuracy["slim, 5%, repaired"] > accuracy["slim, 5%"]


def test_quickstart_goes_through_every_step(tmp_path):
    output = run(tmp_path, "quickstart.py", "--epochs", "1")
    for line in ("accuracy:", "Modules of", "composed:", "weak model with a module:"):
        assert line in output


@pytest.mark.skipif(
    os.environ.get("MODA_KERAS_TEST_ALL") != "1", reason="starts workers; of the long form"
)
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_cluster_counts_as_one_machine(tmp_path, engine):
    pytest.importorskip({"dask": "distributed"}.get(engine, engine))
    output = run(tmp_path, "cluster.py", "--engine", engine, "--parts", "2")
    assert "equal to the modules of one pass over all data: True" in output
