"""Files that version 0.1.0 wrote must load for ever and mean the same."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest

import moda_keras as mk

# The files were saved by Keras 3.15, whose configs an older Keras does not read.
pytestmark = pytest.mark.skipif(
    tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15), reason="of a newer Keras"
)

FIXTURES = Path(__file__).parent / "fixtures"
# With PyTorch, Keras writes its optimizers as classes that only import where PyTorch is installed.
HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture(scope="module")
def expected():
    with np.load(FIXTURES / "expected.npz") as arrays:
        return dict(arrays)


def assert_predicts(model, x, outputs):
    np.testing.assert_allclose(model.predict(x, verbose=0), outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["counts_v1", "counts_v2", "units"])
def test_module_file_gives_the_same_units_and_the_same_composed_model(name, expected):
    modules = mk.load_modules(FIXTURES / f"{name}.modules")
    for activation, units in modules.units.items():
        np.testing.assert_array_equal(units, expected[f"{name}/{activation}"])
    assert_predicts(mk.compose(modules, ["dog", "ant"]), expected["x"], expected[name])


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("composed_counts_v1", "counts_v1"),
        ("composed_units", "units"),
        ("masked_units", "units"),
        ("modular_model", "modular_model"),
    ],
)
def test_saved_model_gives_the_same_outputs(file, name, expected):
    model = keras.saving.load_model(FIXTURES / f"{file}.keras", compile=HAS_TORCH)
    assert_predicts(model, expected["x"], expected[name])


@pytest.mark.skipif(not HAS_TORCH, reason="its optimizer was saved with PyTorch")
def test_modular_model_is_loaded_with_its_modular_loss():
    model = keras.saving.load_model(FIXTURES / "modular_model.keras")
    assert isinstance(model, mk.ModularModel)
    config = model.get_compile_config()["modular_loss"]["config"]
    assert (config["alpha"], config["gamma"], config["averaging"]) == (0.5, 0.2, "pair")
