import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import keras
import pytest

import moda_keras as mk
from moda_keras.backend_choice import configured_backend


@pytest.mark.parametrize(("name", "is_eager"), [("moda.py", True), ("moda", False)])
def test_classes_are_registered_with_keras_on_import_but_in_the_command(name, is_eager, tmp_path):
    script = tmp_path / name
    script.write_text(
        "import sys, moda_keras; print('moda_keras.training.modular_model' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(mk.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.split()[-1] == str(is_eager)


def test_backend_that_is_not_installed_is_named_with_those_that_are(tmp_path):
    script = f"""
import importlib.util, os, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "tensorflow" else found(name, *rest)
os.environ.pop("KERAS_BACKEND", None)
os.environ["KERAS_HOME"] = {str(tmp_path)!r}
import moda_keras
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(mk.__file__).parents[1])}
    shown = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    ).stderr
    others = [name for name in ("torch", "jax") if importlib.util.find_spec(name)]
    assert f"Keras's backend 'tensorflow' is not installed. Installed: {others}" in shown
    assert f"Set the environment variable KERAS_BACKEND={others[0]}" in shown


def test_required_keras_is_one_that_loads_models_of_classes_derived_from_functional():
    """Keras 3.12 and 3.13 do not; tests/test_compatibility.py shows that this one does."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    (bound,) = [each for each in project["dependencies"] if each.startswith("keras")]
    oldest = tuple(map(int, bound.removeprefix("keras>=").split(".")))
    assert (3, 14) <= oldest <= tuple(map(int, keras.__version__.split(".")[:2]))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"backend": "jax"}', "jax"),
        ('{"floatx": "float32"}', "tensorflow"),
        ("{", "tensorflow"),
        ("[]", "tensorflow"),
        (None, "tensorflow"),
    ],
)
def test_configured_backend_is_that_of_the_file_or_keras_s_default(
    content, expected, tmp_path, monkeypatch
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if content is not None:
        (tmp_path / "keras.json").write_text(content)
    assert configured_backend() == expected
