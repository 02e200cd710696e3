"""Each layer of the catalogue is seen through, whole or refused as its entry says; none is wrong."""

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
    of_weights = [sorted(vars(weight)) for weight in layer.variables]
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


def composed(model, units, classes):
    modules = mk.ModuleSet.from_units(model, units)
    return mk.compose(modules, classes), modules


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.filterwarnings("ignore")
def test_layer(name):
    entry = CATALOGUE[name]
    if entry.only_torch and keras.backend.backend() != "torch":
        pytest.skip("Keras does not run it on this backend")
    if entry.verdict == REFUSED:
        with pytest.raises(ValueError, match=entry.why):
            composed(model_of(entry)[0], {}, [0, 1, 2])
        return
    model, layer = model_of(entry)
    randomize(model, 0)
    before = state_of(layer, model)
    traced = graph.trace(model)
    verdict, why = verdict_of(traced, layer)
    assert verdict == entry.verdict, f"{verdict}: {why}"
    assert entry.why in why
    one, several = data_of(entry, 1), data_of(entry, 5)
    hidden = mk.find_hidden_activations(model)
    random = np.random.default_rng(2)
    units = {each.name: random.random((3, each.units)) < 0.6 for each in hidden}
    small, modules = composed(model, units, [2, 0])
    assert_same(run(small, one), run(mk.masked_model(modules, [2, 0]), one))
    whole, _ = composed(model, {}, [0, 1, 2])
    assert_same(run(whole, several), run(model, several))
    assert state_of(layer, model) == before
    randomize(model, 1)
    assert_same(run_graph(traced, several), run(model, several))
    randomize(model, 0)
    without_noise(model), without_noise(whole)
    expected = run(model, several, training=True)
    if np.array_equal(expected, run(model, several, training=True)):
        assert_same(run_graph(traced, several, training=True), expected)
        assert_same(run(whole, several, training=True), expected)
