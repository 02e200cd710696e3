"""Non-linear operations that no units are observed at are named, and no others."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import moda_keras as mk
from moda_keras import graph


def gated(x):
    values, gate = ops.split(x, 2, axis=-1)
    return values * ops.sigmoid(gate)


OVERLOOKED = {
    "maximum with zero": lambda x: ops.maximum(x, 0.0),
    "maxout of layers": lambda x: layers.Maximum()([layers.Dense(4)(x), layers.Dense(4)(x)]),
    "maxout of a reshape": lambda x: ops.max(layers.Reshape((4, 2))(x), axis=-1),
    "gated linear unit": ops.glu,
    "where": lambda x: ops.where(x > 0, x, 0.0),
    "sine": ops.sin,
    "clip behind a normalization": lambda x: ops.clip(layers.BatchNormalization()(x), 0, 6),
}
SEEN = {
    "gated by hand": gated,
    "activation": ops.relu,
    "mish by hand": lambda x: x * ops.tanh(ops.softplus(x)),
    "concatenated rectifiers": lambda x: ops.concatenate([ops.relu(x), ops.relu(-x)], axis=-1),
    "clipped activation": lambda x: ops.minimum(ops.relu(x), 1.0),
    "maximum before an activation": lambda x: layers.ReLU()(ops.maximum(x, -1.0)),
    "gate of an activation": lambda x: ops.relu(x) * layers.Dense(8, "sigmoid")(ops.relu(x)),
    "maximum over positions": lambda x: ops.max(layers.Reshape((2, 4))(ops.relu(x)), axis=1),
}


def network(middle, before=lambda x: x, after=lambda x: x):
    inputs = keras.Input((6,))
    x = middle(layers.Dense(8)(before(inputs)))
    x = layers.Dense(5, activation="relu", name="seen")(x)
    return keras.Model(inputs, after(layers.Dense(3)(x)))


def overlooked(model):
    return graph.find_overlooked_operations(graph.trace(model))


@pytest.mark.parametrize("name", OVERLOOKED)
def test_operation_in_the_place_of_an_activation_is_found(name):
    assert len(overlooked(network(OVERLOOKED[name]))) == 1


@pytest.mark.parametrize("name", SEEN)
def test_operation_beside_an_activation_is_not(name):
    assert overlooked(network(SEEN[name])) == []


def test_operations_on_inputs_and_outputs_are_not():
    clipped = {"before": lambda x: ops.clip(x, 0, 1), "after": lambda x: ops.clip(x, -9, 9)}
    assert overlooked(network(layers.ReLU(), **clipped)) == []


def test_decompose_from_model_and_diagnose_name_the_operation():
    model = network(lambda x: ops.maximum(x, 0.0))
    (name,) = overlooked(model)
    expected = rf"No units are observed at the operations \['{name}'\]"
    with pytest.warns(UserWarning, match=expected):
        modules = mk.decompose(model, np.ones((6, 6)), np.arange(6) % 3, verbose=0)
    with pytest.warns(UserWarning, match=expected):
        mk.ModularModel.from_model(model)
    (found,) = [each for each in modules.diagnose() if each.sign == "unseen"]
    assert found.figures["operations"] == 1 and name in found.message
