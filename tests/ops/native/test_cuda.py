"""Loading the CUDA library, on machines with a GPU or without."""

import subprocess
import sys

import keras
import pytest

import moda_keras as mk
from moda_keras.ops.native import cuda


@pytest.fixture
def at_path(monkeypatch):
    def put(path):
        monkeypatch.setattr(cuda, "_PATH", path)
        cuda._loaded.cache_clear()

    yield put
    cuda._loaded.cache_clear()


def test_missing_library_is_the_reason(at_path, tmp_path):
    at_path(tmp_path / "libmoda_cuda.so")
    assert cuda.library() is None
    assert cuda.reason_against() == "the CUDA library was not built"


def test_file_that_is_no_library_is_the_reason(at_path, tmp_path):
    path = tmp_path / "libmoda_cuda.so"
    path.write_text("no library")
    at_path(path)
    assert cuda.library() is None
    assert cuda.reason_against().startswith("the CUDA library does not load (")


@pytest.mark.skipif(not cuda._PATH.exists(), reason="the CUDA library was not built")
def test_library_loads_with_or_without_a_gpu():
    library = cuda.load(cuda._PATH)
    if library.moda_cuda_device_count() == 0:
        assert library.moda_cuda_problem()
        assert cuda.reason_against().startswith("CUDA finds no device (")
    else:
        assert cuda.reason_against() is None


@pytest.mark.skipif(not cuda._PATH.exists(), reason="the CUDA library was not built")
def test_library_refuses_null():
    library = cuda.load(cuda._PATH)
    assert library.moda_cuda_workspace_bytes(0, None, 1, None) == -1
    assert library.moda_cuda_objectives_forward(*[None, 1, *[None] * 6]) == 1


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch names a CUDA device")
def test_status_says_why_cuda_does_not_serve(at_path, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "cuda: reference, because PyTorch finds none" in mk.ops.native_status()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    at_path(tmp_path / "libmoda_cuda.so")
    assert "cuda: reference, because the CUDA library was not built" in mk.ops.native_status()


def test_import_loads_no_library():
    code = "import moda_keras.ops.native.cuda as c; print(c._loaded.cache_info().currsize)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "0", result.stderr
