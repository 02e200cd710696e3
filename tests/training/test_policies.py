"""Training under every dtype policy, with activations of thousands."""

import keras
import numpy as np
import pytest
from keras import layers

import moda_keras as mk

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = np.arange(40) % 4


@pytest.fixture
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")  # JAX has no float64 by default
@pytest.mark.parametrize(
    "policy",
    ["float16", "mixed_float16", "bfloat16", "mixed_bfloat16", "float32", "float64"],
    indirect=True,
)
def test_200_steps_stay_finite(policy):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    # Their sum over the units is more than float16 holds.
    x = layers.Dense(64, activation="relu", kernel_initializer="he_normal")(inputs)
    model = mk.ModularModel(inputs, layers.Dense(4, dtype="float32")(x))
    optimizer = keras.optimizers.SGD(1e-9)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    task_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, task_loss, modular_loss=mk.MODALoss(warmup=None))
    start = [np.array(each) for each in model.get_weights()]
    logs = model.fit(1e4 * X, Y, batch_size=8, epochs=40, verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values()), logs
    assert logs["compactness"][0] > 1e3  # the activations are that large
    weights = model.get_weights()
    assert all(np.isfinite(np.asarray(each, "float64")).all() for each in weights)
    assert any((a != b).any() for a, b in zip(start, weights, strict=True)) or "16" in policy


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_are_wider_than_the_activations(dtype):
    units = np.abs(np.random.default_rng(0).normal(size=(8, 64))) * 1e4
    narrow = keras.ops.cast(keras.ops.convert_to_tensor(units, "float32"), dtype)
    wide = keras.ops.convert_to_numpy(keras.ops.cast(narrow, "float32"))
    received = mk.MODALoss().objectives([narrow], np.arange(8) % 4, 4)
    expected = mk.MODALoss().objectives([wide], np.arange(8) % 4, 4)
    for name, value in expected.items():
        assert float(received[name]) == pytest.approx(float(value), rel=1e-3), name
