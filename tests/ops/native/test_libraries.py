"""Loading the native libraries, on machines with a GPU or without."""

import os
import shutil

import keras
import pytest

import moda_keras as mk
from moda_keras.ops.native import interface, libraries

IS_BUILT = libraries.CPU_PATH.exists()
needs_library = pytest.mark.skipif(not IS_BUILT, reason="the library was not built")
needs_cuda_library = pytest.mark.skipif(
    not libraries.CUDA_PATH.exists(), reason="the CUDA library was not built"
)


@pytest.fixture
def cuda_at(monkeypatch):
    def put(path):
        monkeypatch.setattr(libraries, "CUDA_PATH", path)
        libraries._cuda.cache_clear()

    yield put
    libraries._cuda.cache_clear()


@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "c++")) is None
    or os.environ.get("MODA_KERAS_BUILD_NATIVE") == "0",
    reason="nothing can be or was to be built",
)
def test_library_is_installed_where_it_can_be_built():
    assert libraries.reason_against_cpu() is None


def test_missing_library_is_the_reason(cuda_at, tmp_path):
    cuda_at(tmp_path / "libmoda_cuda.so")
    assert libraries.cuda() is None
    assert libraries.reason_against_cuda() == "libmoda_cuda.so was not built"


def test_file_that_is_no_library_is_the_reason(cuda_at, tmp_path):
    path = tmp_path / "libmoda_cuda.so"
    path.write_text("no library")
    cuda_at(path)
    assert libraries.cuda() is None
    assert libraries.reason_against_cuda().startswith("libmoda_cuda.so does not load (")


@needs_library
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VERSION", interface.VERSION + 1),
        ("NUMBERS", {**interface.NUMBERS, "MODA_FLOAT16": 3}),
        ("Options", interface.Batch),
    ],
)
def test_library_of_another_interface_is_refused(monkeypatch, name, value):
    monkeypatch.setattr(interface, name, value)
    with pytest.raises(OSError, match=r"built for another version.*Expected.*Received"):
        libraries.load_cpu(libraries.CPU_PATH)


@needs_library
def test_library_without_the_interface_is_refused():
    with pytest.raises(OSError, match="does not state its interface"):
        libraries.load_cuda(libraries.CPU_PATH)


@needs_cuda_library
def test_cuda_library_loads_with_or_without_a_gpu():
    library = libraries.load_cuda(libraries.CUDA_PATH)
    if library.moda_cuda_device_count() == 0:
        assert library.moda_cuda_problem()
        assert libraries.reason_against_cuda().startswith("CUDA finds no device (")
    else:
        assert libraries.reason_against_cuda() is None


@needs_cuda_library
def test_cuda_library_refuses_null():
    library = libraries.load_cuda(libraries.CUDA_PATH)
    assert library.moda_cuda_workspace_bytes(0, None, 1, None) == -1
    assert library.moda_cuda_objectives_forward(*[None, 1, *[None] * 6]) == 1


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch names a CUDA device")
def test_status_gives_the_reason_against_cuda(cuda_at, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "cuda: reference, because PyTorch finds none" in mk.ops.native_status()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cuda_at(tmp_path / "libmoda_cuda.so")
    assert "cuda: reference, because libmoda_cuda.so was not built" in mk.ops.native_status()
