import subprocess
import sys

import keras
import numpy as np
import pytest

import moda_keras as mk
from moda_keras.ops.backends import adapter
from moda_keras.ops.native import core as native

ACTIVATIONS = [np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype="float32")]
LABELS = [0, 0, 1]
SERVES = native.extension() is not None and None in adapter.native_devices().values()
needs_native = pytest.mark.skipif(not SERVES, reason="no native operations on this backend")


def objectives():
    values = mk.MODALoss().objectives(ACTIVATIONS, LABELS, 2)
    return {name: float(keras.ops.convert_to_numpy(value)) for name, value in values.items()}


@pytest.fixture(autouse=True)
def no_earlier_failures(monkeypatch):
    monkeypatch.setattr(native, "_failures", {})
    native._warn_that_reference_serves.cache_clear()


@pytest.fixture
def set_mode(monkeypatch):
    return lambda value: monkeypatch.setattr(native, "mode", lambda: value)


@pytest.fixture
def without_extension(monkeypatch):
    monkeypatch.setattr(native, "_load", lambda: (None, "it was not built"))


def fail(*args, **kwargs):
    raise RuntimeError("out of order")


def test_status_names_backend_and_devices():
    status = mk.ops.native_status()
    assert f"backend: {keras.backend.backend()}" in status
    for device in adapter.native_devices():
        assert f"{device}: " in status


def test_status_gives_the_reason_for_the_reference(set_mode):
    set_mode("0")
    assert "because MODA_KERAS_NATIVE=0" in mk.ops.native_status()


def test_status_without_extension_says_why(without_extension):
    assert "none: it was not built" in mk.ops.native_status()


@needs_native
def test_status_with_extension_says_where_it_serves(set_mode):
    set_mode("auto")
    assert ": native" in mk.ops.native_status()


@needs_native
def test_failing_call_warns_once_and_the_reference_serves(monkeypatch, set_mode, recwarn):
    set_mode("0")
    expected = objectives()
    set_mode("auto")
    break_adapter(monkeypatch)

    with pytest.warns(UserWarning, match="off from now on: a call failed.*out of order"):
        assert objectives() == pytest.approx(expected)
    recwarn.clear()
    assert objectives() == pytest.approx(expected)
    assert not [w for w in recwarn if "moda_keras" in str(w.message)]
    assert "out of order" in mk.ops.native_status()


@needs_native
def test_failing_call_raises_if_native_is_demanded(monkeypatch, set_mode):
    set_mode("1")
    break_adapter(monkeypatch)
    with pytest.raises(native.NativeUnavailableError, match=r"MODA_KERAS_NATIVE=1.*out of order"):
        objectives()


def break_adapter(monkeypatch):
    backend = keras.backend.backend()
    module = sys.modules[f"moda_keras.ops.backends.{backend}_native"]
    monkeypatch.setattr(module, "objectives", fail)


@needs_native
def test_missing_extension_warns_once(without_extension, set_mode):
    set_mode("auto")
    with pytest.warns(UserWarning, match="reference operations.*it was not built"):
        objectives()


@needs_native
def test_missing_extension_raises_if_native_is_demanded(without_extension, set_mode):
    set_mode("1")
    with pytest.raises(native.NativeUnavailableError, match=r"MODA_KERAS_NATIVE=1.*not built"):
        objectives()


@pytest.mark.skipif(SERVES, reason="the native operations serve here")
def test_backend_without_native_operations_raises_only_if_they_are_demanded(set_mode):
    set_mode("auto")
    objectives()
    set_mode("1")
    with pytest.raises(native.NativeUnavailableError, match=r"MODA_KERAS_NATIVE=1 demands"):
        objectives()


def test_unknown_mode_is_named(monkeypatch):
    native.mode.cache_clear()
    monkeypatch.setenv("MODA_KERAS_NATIVE", "yes")
    with pytest.raises(ValueError, match=r"MODA_KERAS_NATIVE.*one of.*'yes'"):
        native.mode()
    native.mode.cache_clear()


@needs_native
def test_wrong_input_raises_as_it_does_with_the_reference(set_mode):
    set_mode("1")
    with pytest.raises(ValueError, match="labels from 0 to 1"):
        mk.MODALoss().objectives(ACTIVATIONS, [0, 0, 2], 2)
    with pytest.raises(ValueError, match="one label for each"):
        mk.MODALoss().objectives(ACTIVATIONS, [0, 0], 2)


@needs_native
def test_what_native_cannot_take_goes_to_the_reference(set_mode):
    set_mode("auto")
    integers = [np.array([[1, 0], [1, 0], [0, 1]], dtype="int32")]
    values = mk.MODALoss().objectives(integers, LABELS, 2)
    expected = objectives()
    assert {k: float(keras.ops.convert_to_numpy(v)) for k, v in values.items()} == pytest.approx(
        expected
    )


def test_import_builds_nothing_and_loads_no_extension():
    code = "import sys, moda_keras; print('moda_keras._native' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False", result.stderr
