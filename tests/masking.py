"""The meaning of a module: the original with masked units. What slicing is checked against."""

import keras
import numpy as np
from inlined import Inlined

from moda_keras import find_hidden_activations
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reuse.masked_model import masked_model
from moda_keras.slicing import Slicer

CLASSES = [3, 0, 2]


def randomize(model, seed=0):
    """Gives every weight a value that matters: no zero bias, no unit scale."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if weight.name in ("gamma", "variance", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, shape).astype("float32"))
        elif "kernel" in weight.name or "embeddings" in weight.name:
            is_depthwise = len(shape) > 2 and shape[-1] == 1
            fan_in = int(np.prod(shape[: -2 if is_depthwise else -1]))
            weight.assign(rng.normal(0, (2 / fan_in) ** 0.5, shape).astype("float32"))
        elif weight.dtype.startswith("float"):
            weight.assign(rng.normal(0, 0.4, shape).astype("float32"))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return model


def random_units(model, fraction=0.7, seed=0):
    """Masks with this fraction of every activation's units."""
    rng = np.random.default_rng(seed)
    return {
        h.name: rng.permutation(h.units) < round(fraction * h.units)
        for h in find_hidden_activations(model)
    }


def inputs_for(model, samples=3, seed=1):
    rng = np.random.default_rng(seed)
    return [
        rng.normal(0.3, 1.0, (samples, *tensor.shape[1:])).astype("float32")
        for tensor in model.inputs
    ]


def run(model, x):
    x = x[0] if len(x) == 1 else x
    # JAX compiles every new shape of every operation, or else the model as a whole.
    if keras.backend.backend() == "jax" and len(model.layers) > 12:
        return model.predict_on_batch(x)
    return keras.ops.convert_to_numpy(model(x, training=False))


def module_set(model, units):
    classes = model.output_shape[-1]
    by_class = {name: np.repeat(mask[None], classes, axis=0) for name, mask in units.items()}
    return ModuleSet.from_units(model, by_class)


def scale(values):
    return max(np.abs(values).max(), 1e-6)


def first_units(model):
    """The least that a model can have: one unit of every hidden activation."""
    return {name: np.arange(units) < 1 for name, units in Slicer(model).units.items()}


def count(model_or_layer):
    """The number of its parameters."""
    return sum(int(np.prod(weight.shape)) for weight in model_or_layer.trainable_weights)


def relative_difference(received, expected):
    return np.abs(received - expected).max() / np.abs(expected).max()


def check_slicing(model, units=None, classes=CLASSES, tolerance=1e-5, fraction=0.7, align=1):
    """Asserts that the sliced model is the masked one, and that this says something."""
    units = random_units(model, fraction) if units is None else units
    x = inputs_for(model)
    expected = run(masked_model(module_set(model, units), classes), x)
    if keras.backend.backend() == "torch":
        # The masked model runs the same graph as the sliced one: a wrong graph shows here alone.
        whole = run(model, x)
        np.testing.assert_allclose(
            run(Inlined(model), x), whole, rtol=1e-4, atol=1e-5 * scale(whole)
        )
    slicer = Slicer(model)
    plan = slicer.plan(units, np.array(classes), align=align)
    sliced = slicer.build(plan)
    received = run(sliced, x)
    assert np.isfinite(expected).all()
    assert received.shape == (3, len(classes))
    if fraction >= 0.5 and len(classes) > 1:
        assert np.ptp(expected, axis=0).max() > 0, "the masked model does not read its input"
    difference = relative_difference(received, expected)
    assert difference < tolerance
    assert plan.trainable_size == count(sliced)
    assert plan.fills == len(fill_layers(sliced))
    return sliced


def fill_layers(model):
    return [layer.name for layer in model.layers if type(layer).__name__ == "ChannelFill"]
