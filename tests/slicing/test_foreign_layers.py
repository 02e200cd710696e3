"""Layers around other packages' models stay whole; the rest of the model is cut."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import inputs_for, module_set, random_units, randomize, run

import moda_keras as mk

BACKEND = keras.backend.backend()


def torch_module(folder):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
    return layers.TorchModuleWrapper(module, output_shape=(None, 8), name="foreign")


def jax_function(folder):
    jax_numpy = pytest.importorskip("jax.numpy")

    def call(params, inputs):
        return jax_numpy.tanh(inputs @ params["kernel"])

    kernel = np.random.default_rng(3).normal(0, 0.3, (8, 8)).astype("float32")
    return layers.JaxLayer(call, params={"kernel": kernel}, name="foreign")


def jax_function_with_init(folder):
    jax = pytest.importorskip("jax")

    def call(params, inputs):
        return jax.numpy.tanh(inputs @ params)

    def init(rng, inputs):
        return jax.random.normal(rng, (inputs.shape[-1], 8)) * 0.3

    return layers.JaxLayer(call, init, name="foreign")


def flax_module(folder):
    linen = pytest.importorskip("flax.linen")
    return layers.FlaxLayer(linen.Dense(8), name="foreign")


def saved_model(folder):
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(8, activation="relu")])
    randomize(inner).export(folder / "inner", verbose=False)
    return layers.TFSMLayer(str(folder / "inner"), name="foreign")


FOREIGN = {
    "torch": {"TorchModuleWrapper": torch_module},
    "jax": {
        "JaxLayer": jax_function,
        "JaxLayer with init": jax_function_with_init,
        "FlaxLayer": flax_module,
    },
    "tensorflow": {"JaxLayer": jax_function, "TFSMLayer": saved_model},
}[BACKEND]


def model_around(foreign):
    inputs = keras.Input((6,))
    x = layers.Dense(8, activation="relu", name="before")(inputs)
    x = layers.Dense(8, activation="relu", name="after")(foreign(x))
    return keras.Model(inputs, layers.Dense(4)(x))


@pytest.mark.parametrize("kind", FOREIGN)
def test_rest_of_the_model_is_cut(kind, tmp_path):
    model = randomize(model_around(FOREIGN[kind](tmp_path)))
    (whole,) = mk.explain(model).whole
    assert (whole.name, whole.kind) == ("foreign", kind.split()[0])
    assert "its inner layers are not visible" in whole.why_whole
    modules, x = module_set(model, random_units(model)), inputs_for(model)
    small = mk.compose(modules, [3, 0])
    expected = run(mk.masked_model(modules, [3, 0]), x)
    np.testing.assert_allclose(run(small, x), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected - run(model, x)[:, [3, 0]]).max() > 1e-3
    assert small.get_layer("before").units < 8 and small.get_layer("after").units < 8


@pytest.mark.parametrize("kind", FOREIGN)
def test_composed_model_has_weights_of_its_own(kind, tmp_path):
    model = randomize(model_around(FOREIGN[kind](tmp_path)))
    small, x = mk.compose(module_set(model, {}), [3, 0]), inputs_for(model)
    before = run(small, x)
    randomize(model, seed=7)
    np.testing.assert_array_equal(run(small, x), before)
