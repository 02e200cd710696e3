"""Each odd layer is seen through, whole or refused as its entry says; none is wrong."""

import keras
import numpy as np
import pytest
from keras import ops
from odd_layers import CATALOGUE
from odd_layers.catalogue import INLINED, KNOWN, REFUSED, WHOLE, data_of, model_of, randomize

import moda_keras as mk
from moda_keras import graph
from moda_keras.ops.backends import backend


def run(model, x, training=False):
    with keras.StatelessScope(), backend.without_gradients():
        return ops.convert_to_numpy(model(x, training=training))


def run_graph(traced, x, training=False):
    def call(step, args, kwargs):
        if graph.accepts_training(step.operation):
            kwargs = {**kwargs, "training": training}
        return step.operation(*args, **kwargs)

    with keras.StatelessScope(), backend.without_gradients():
        values = traced.run([ops.convert_to_tensor(x)], call)
        return ops.convert_to_numpy(values[traced.outputs[0]])


def assert_same(received, expected):
    assert np.isfinite(expected).all()
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(received, expected, rtol=1e-3, atol=2e-5 * max(scale, 1.0))


def state_of(layer, model):
    inside = list(layer._flatten_layers(include_self=True, recursive=True))
    nodes = [(len(each._inbound_nodes), len(each._outbound_nodes)) for each in inside]
    names = [each.name for each in inside]
    attributes = [{key: id(value) for key, value in vars(each).items()} for each in inside]
    # Without what TensorFlow notes about the variables that it tracks.
    of_weights = [
        sorted(key for key in vars(weight) if not key.startswith("_self_"))
        for weight in layer.variables
    ]
    values = [ops.convert_to_numpy(each).tobytes() for each in model.variables]
    return names, nodes, attributes, of_weights, values


def verdict_of(traced, layer):
    if layer in {step.operation for step in traced.steps}:
        return (WHOLE if layer in traced.opaque else KNOWN), traced.opaque.get(layer, "")
    assert traced.opaque == {}
    return INLINED, ""


def without_noise(model):
    for layer in model._flatten_layers(include_self=False, recursive=True):
        for name in ("rate", "stddev"):
            if isinstance(getattr(layer, name, None), float):
                setattr(layer, name, 0.0)


def losses_of(model, x):
    with backend.without_gradients():
        model(x, training=True)
    return sorted(float(ops.convert_to_numpy(loss)) for loss in model.losses)


def modules_of(model):
    """Random modules of classes 0 and 2; that of class 1 has all units."""
    random = np.random.default_rng(2)
    units = {
        each.name: random.random((3, each.units)) < [[0.6], [1.0], [0.6]]
        for each in mk.find_hidden_activations(model)
    }
    return mk.ModuleSet.from_units(model, units)


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.filterwarnings("ignore")
def test_layer(name):
    entry = CATALOGUE[name]
    if entry.only_torch and keras.backend.backend() != "torch":
        pytest.skip("Keras does not run it on this backend")
    model, layer = model_of(entry)
    if entry.verdict == REFUSED:
        with pytest.raises(ValueError, match=entry.why):
            mk.compose(modules_of(model), [0, 1, 2])
        return
    randomize(model, 0)
    before = state_of(layer, model)
    modules = modules_of(model)
    traced = modules.slicer.graph
    verdict, why = verdict_of(traced, layer)
    assert verdict == entry.verdict, f"{verdict}: {why}"
    assert entry.why in why
    small, masked = mk.compose(modules, [2, 0]), mk.masked_model(modules, [2, 0])
    whole = mk.compose(modules, [0, 1, 2])
    assert state_of(layer, model) == before
    check_outputs(model, traced, data_of(entry, 5), (small, masked, data_of(entry, 1)), whole)
    check_training(model, traced, data_of(entry, 5), whole)


def check_outputs(model, traced, x, cut, whole):
    small, masked, one = cut
    assert_same(run(small, one), run(masked, one))
    assert_same(run(whole, x), run(model, x))
    randomize(model, 1)
    assert_same(run_graph(traced, x), run(model, x))
    randomize(model, 0)


def check_training(model, traced, x, whole):
    without_noise(model), without_noise(whole)
    expected = run(model, x, training=True)
    if np.array_equal(expected, run(model, x, training=True)):
        assert_same(run_graph(traced, x, training=True), expected)
        assert_same(run(whole, x, training=True), expected)
    frozen = [path for path in (w.path for w in model.non_trainable_weights) if "seed" not in path]
    of_whole = [w for w in whole.non_trainable_weights if "seed" not in w.path]
    assert bool(frozen) == bool(of_whole)
    np.testing.assert_allclose(losses_of(whole, x), losses_of(model, x), rtol=1e-4)
