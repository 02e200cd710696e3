"""Builds the core with the sanitizers and runs its own tests, in C++."""

import os
import shutil
import subprocess
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which(os.environ.get("CXX", "c++"))

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler"),
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="the same on every backend"),
]


def run(*command, **variables):
    result = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return result.stdout


def supports(sanitizers, folder):
    source = folder / "probe.cpp"
    source.write_text("int main() { return 0; }")
    flags = [f"-fsanitize={sanitizers}"]
    result = subprocess.run([COMPILER, *flags, source, "-o", folder / "probe"], capture_output=True)
    return result.returncode == 0


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_core_is_right_and_clean_under_sanitizers(sanitizers, tmp_path):
    if not supports(sanitizers, tmp_path):
        pytest.skip(f"the compiler has no -fsanitize={sanitizers}")
    build = tmp_path / "build"
    options = ["-DMODA_TESTS=ON", "-DMODA_CUDA=0"]
    options.append(f"-DMODA_SANITIZE={sanitizers}")
    run("cmake", "-GNinja", "-S", ROOT, "-B", build, *options)
    run("cmake", "--build", build, "--target", "core_test")
    for instructions in ("baseline", "avx2", "avx512"):
        output = run(build / "core_test", MODA_KERAS_ISA=instructions)
        assert "all of the core's tests passed" in output
