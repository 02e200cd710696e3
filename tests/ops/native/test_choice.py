import subprocess
import sys

import keras
import numpy as np
import pytest

import moda_keras as mk
from moda_keras.ops.backends import backend
from moda_keras.ops.native import choice, libraries

ACTIVATIONS = [np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype="float32")]
LABELS = [0, 0, 1]
IS_NATIVE = None in backend.native_devices().values()
needs_native = pytest.mark.skipif(not IS_NATIVE, reason="no native operations on this backend")


def objectives(activations=ACTIVATIONS):
    values = mk.MODALoss().objectives(activations, LABELS, 2)
    return {name: float(keras.ops.convert_to_numpy(value)) for name, value in values.items()}


@pytest.fixture(autouse=True)
def fresh_usage(monkeypatch):
    monkeypatch.setattr(choice, "usage", choice.Usage())


@pytest.fixture
def set_mode(monkeypatch):
    return lambda value: monkeypatch.setattr(choice, "mode", lambda: value)


@pytest.fixture
def without_library(monkeypatch):
    monkeypatch.setattr(libraries, "_cpu", lambda: (None, "it was not built"))


def test_status_names_backend_and_devices():
    status = mk.ops.native_status()
    assert f"backend: {keras.backend.backend()}" in status
    for device in backend.native_devices():
        assert f"{device}: " in status


def test_status_gives_the_reason_for_the_reference(set_mode):
    set_mode("0")
    assert "because MODA_KERAS_NATIVE=0" in mk.ops.native_status()


def test_status_without_library_gives_the_reason(without_library):
    assert "none, because it was not built" in mk.ops.native_status()


@needs_native
def test_status_names_the_devices_that_use_the_native_operations(set_mode):
    set_mode("auto")
    assert ": native" in mk.ops.native_status()


@needs_native
def test_errors_of_a_native_call_are_not_swallowed(monkeypatch, set_mode):
    from moda_keras.ops.native import torch_operators

    def fail(*args):
        raise RuntimeError("out of order")

    set_mode("auto")
    monkeypatch.setattr(torch_operators, "objectives", fail)
    with pytest.raises(RuntimeError, match="out of order"):
        objectives()


@needs_native
def test_missing_library_warns_once(without_library, set_mode, recwarn):
    set_mode("auto")
    with pytest.warns(UserWarning, match="reference operations.*it was not built"):
        objectives()
    recwarn.clear()
    objectives()
    assert not [w for w in recwarn if "moda_keras" in str(w.message)]
    assert "used the reference: it was not built" in mk.ops.native_status()


@needs_native
def test_missing_library_raises_if_native_is_required(without_library, set_mode):
    set_mode("1")
    with pytest.raises(choice.NativeUnavailableError, match=r"MODA_KERAS_NATIVE=1.*not built"):
        objectives()


@pytest.mark.skipif(IS_NATIVE, reason="this backend has native operations")
def test_backend_without_native_operations_raises_only_if_they_are_required(set_mode):
    set_mode("auto")
    objectives()
    set_mode("1")
    with pytest.raises(choice.NativeUnavailableError, match=r"MODA_KERAS_NATIVE=1 requires"):
        objectives()


def test_unknown_mode_is_named(monkeypatch):
    choice.mode.cache_clear()
    monkeypatch.setenv("MODA_KERAS_NATIVE", "yes")
    with pytest.raises(ValueError, match=r"MODA_KERAS_NATIVE.*one of.*'yes'"):
        choice.mode()
    choice.mode.cache_clear()


@needs_native
def test_wrong_input_raises_as_it_does_with_the_reference(set_mode):
    set_mode("1")
    with pytest.raises(ValueError, match="labels from 0 to 1"):
        mk.MODALoss().objectives(ACTIVATIONS, [0, 0, 2], 2)
    with pytest.raises(ValueError, match="one label for each"):
        mk.MODALoss().objectives(ACTIVATIONS, [0, 0], 2)


@needs_native
def test_integer_activations_use_the_reference(set_mode):
    set_mode("auto")
    integers = [ACTIVATIONS[0].astype("int32")]
    assert objectives(integers) == pytest.approx(objectives())


def test_import_loads_no_library():
    code = (
        "import moda_keras; from moda_keras.ops.native import libraries as l;"
        "print(l._cpu.cache_info().currsize, l._cuda.cache_info().currsize)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "0 0", result.stderr
