"""What setup.py puts where: CMake is replaced by a script that "installs" empty libraries."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = ["libmoda_core.so", "libmoda_cuda.so"]

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for CMake"),
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="the same on every backend"),
]
FAKE_CMAKE = f"""#!{sys.executable}
import pathlib, sys
state = pathlib.Path(__file__).with_suffix(".prefix")
for argument in sys.argv:
    if argument.startswith("-DCMAKE_INSTALL_PREFIX="):
        state.write_text(argument.split("=", 1)[1])
if "install" in sys.argv:
    folder = pathlib.Path(state.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    for name in {LIBRARIES}:
        (folder / name).touch()
"""


@pytest.fixture
def project(tmp_path):
    project = tmp_path / "project"
    (project / "moda_keras").mkdir(parents=True)
    (project / "moda_keras" / "__init__.py").touch()
    shutil.copy(ROOT / "setup.py", project)
    (project / "pyproject.toml").write_text(
        '[project]\nname = "moda_keras"\nversion = "0"\n'
        '[tool.setuptools]\npackages = ["moda_keras"]\n'
    )
    fake = tmp_path / "bin" / "cmake"
    fake.parent.mkdir()
    fake.write_text(FAKE_CMAKE)
    fake.chmod(0o755)
    return project


def run_setup(project, *command):
    path = f"{project.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        [sys.executable, "setup.py", *command],
        cwd=project,
        env={**os.environ, "PATH": path, "MODA_KERAS_BUILD_NATIVE": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def libraries_in(folder):
    return sorted(path.name for path in folder.rglob("lib*"))


def test_editable_installation_puts_all_libraries_into_the_source_tree(project):
    run_setup(project, "editable_wheel")
    assert libraries_in(project / "moda_keras") == LIBRARIES


def test_build_puts_all_libraries_beside_the_modules(project):
    run_setup(project, "build", "--build-base", "out")
    (built,) = project.glob("out/lib*/moda_keras")
    assert libraries_in(built) == LIBRARIES
    assert libraries_in(project / "moda_keras") == []
