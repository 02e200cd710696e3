"""No public call changes the user's model: names, nodes, weights and config stay as they are."""

import keras
import numpy as np
import pytest
from keras import layers

import moda_keras as mk


def model_with_everything():
    """Nested models with equal names, attention, both directions, a shared layer."""
    keras.utils.set_random_seed(0)
    branches = []
    for _ in range(2):
        inner = keras.Input((6, 4))
        x = layers.MultiHeadAttention(2, 3, dropout=0.1, name="attention")(inner, inner)
        branches.append(keras.Model(inner, layers.Dense(4, activation="relu", name="d")(x)))
    inputs = keras.Input((6, 4), name="sequence")
    x = layers.Add(name="sum")([branch(inputs) for branch in branches])
    x = layers.Bidirectional(layers.GRU(3, name="gru"), name="both")(x)
    shared = layers.Dense(6, activation="relu", name="shared")
    x = shared(shared(x))
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="mine")


def snapshot(model):
    every = model._flatten_layers(include_self=True, recursive=True)
    return (
        [(layer.name, len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in every],
        [layer.trainable for layer in every],
        model.get_config(),
        [weight.path for weight in model.weights],
    )


X = np.random.default_rng(0).normal(size=(12, 6, 4)).astype("float32")
Y = np.arange(12) % 3


CALLS = {
    "find_hidden_activations": lambda model, modules: mk.find_hidden_activations(model),
    "from_model": lambda model, modules: mk.ModularModel.from_model(model),
    "choose_epsilons": lambda model, modules: mk.choose_epsilons(model, X, verbose=0),
    "decompose": lambda model, modules: mk.decompose(model, X, Y, verbose=0),
    "compose": lambda model, modules: mk.compose(modules, [0, 2]),
    "compose_other": lambda model, modules: mk.compose(modules, [0, 1], other=True),
    "masked_model": lambda model, modules: mk.masked_model(modules, [0, 2]),
    "to_model": lambda model, modules: modules[1].to_model(),
    "side_by_side": lambda model, modules: mk.side_by_side(modules, [0, 2], logits=True),
    "module_size": lambda model, modules: mk.metrics.module_size(modules),
    "module_overlap": lambda model, modules: mk.metrics.module_overlap(modules),
    "count_flops": lambda model, modules: mk.metrics.count_flops(model),
    "reuse_accuracy": lambda model, modules: mk.metrics.reuse_accuracy(modules, [0, 1], X, Y),
    "cohesion": lambda model, modules: mk.metrics.cohesion(modules, X, Y),
    "tune_threshold": lambda model, modules: modules.tune_threshold(X, Y),
    "diagnose": lambda model, modules: modules.diagnose(X, Y),
    "replace": lambda model, modules: mk.replace(model, modules[0], target_class=1),
}


@pytest.fixture(scope="module")
def decomposed():
    model = model_with_everything()
    before, weights = snapshot(model), model.get_weights()
    return model, mk.decompose(model, X, Y, threshold=0.5, verbose=0), before, weights


@pytest.mark.parametrize("call", CALLS)
def test_call_leaves_the_model_as_it_was(call, decomposed):
    model, modules, before, weights = decomposed
    CALLS[call](model, modules)
    assert snapshot(model) == before
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_layers_of_nested_models_keep_their_names():
    model = model_with_everything()
    modular = mk.ModularModel.from_model(model)
    assert [h.name for h in modular.hidden_activations][:4] == [
        "attention",
        "d",
        "attention_1",
        "d_1",
    ]
    for nested in (layer for layer in model.layers if isinstance(layer, keras.Model)):
        assert nested.get_layer("d").name == "d"


def test_training_adds_no_node():
    model = mk.ModularModel.from_model(model_with_everything())
    before = snapshot(model)[0]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, modular_loss=mk.MODALoss())
    model.fit(X, Y, epochs=1, batch_size=6, verbose=0)
    assert snapshot(model)[0] == before
