"""What composed and masked models put out, whatever the original ends in."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops
from masking import inputs_for, randomize, relative_difference, run
from small_models import random_modules

import moda_keras as mk

CLASSES = [2, 0]


@keras.saving.register_keras_serializable(package="tests")
def halved_softmax(x):
    return ops.softmax(x / 2.0)


def network(head, shape=(5,)):
    inputs = keras.Input(shape)
    x = layers.Dense(8, activation="relu", name="units")(inputs)
    return randomize(keras.Model(inputs, head(x)))


def shared_softmax(x):
    layer = layers.Dense(4, activation="softmax")
    return layer(layer(layers.Dense(4)(x)))


def masked_softmax():
    inputs, allowed = keras.Input((5,)), keras.Input((4,))
    x = layers.Dense(4)(layers.Dense(8, activation="relu", name="units")(inputs))
    return randomize(keras.Model([inputs, allowed], layers.Softmax()(x, mask=allowed > 0)))


def changed_layer(change):
    model = network(lambda x: layers.Dense(4, activation="softmax", name="head")(x))
    if change == "lora":
        model.get_layer("head").enable_lora(2)
    else:
        model.get_layer("head").quantize("int8")
    return model


LOGITS = {
    "sparsemax": lambda x: ops.sparsemax(layers.Dense(4)(x)),
    "log_softmax": lambda x: ops.log_softmax(layers.Dense(4)(x)),
    "softmax, then a cast": lambda x: ops.cast(ops.softmax(layers.Dense(4)(x)), "float32"),
    "temperature": lambda x: layers.Softmax()(layers.Dense(4)(x) / 3.0),
    "own softmax": lambda x: layers.Dense(4, activation=halved_softmax)(x),
}
# A softmax is in the way of the logits.
BURIED = {
    "log of softmax": lambda x: ops.log(layers.Softmax()(layers.Dense(4)(x))),
    "clipped softmax": lambda x: ops.clip(layers.Dense(4, activation="softmax")(x), 0.01, 1.0),
    "mean of two": lambda x: layers.Average()(
        [layers.Dense(4, activation="softmax")(x), layers.Dense(4, activation="softmax")(x)]
    ),
    "shared layer": shared_softmax,
}
MODELS = {
    **{name: lambda head=head: network(head) for name, head in {**LOGITS, **BURIED}.items()},
    "recurrent": lambda: network(layers.LSTM(4), (3, 5)),
    "recurrent softmax": lambda: network(layers.SimpleRNN(4, activation="softmax"), (3, 5)),
    "trained slopes": lambda: network(lambda x: layers.PReLU()(layers.Dense(4)(x))),
    "softmax with a mask": masked_softmax,
    "softmax with LoRA": lambda: changed_layer("lora"),
    "quantized softmax": lambda: changed_layer("int8"),
}


@pytest.mark.filterwarnings("ignore:The softmax")
@pytest.mark.parametrize("name", MODELS)
def test_composed_model_is_the_masked_one_and_of_all_classes_the_original(name, tmp_path):
    model = MODELS[name]()
    modules, x = random_modules(model, fraction=0.6), inputs_for(model, 5)
    composed = mk.compose(modules, CLASSES)
    received = run(composed, x)
    assert relative_difference(received, run(mk.masked_model(modules, CLASSES), x)) < 1e-5
    composed.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    assert relative_difference(run(loaded, x), received) < 1e-6
    whole, expected = mk.ModuleSet.from_units(model, {}), run(model, x)
    for build in (mk.compose, mk.masked_model):
        assert relative_difference(run(build(whole, range(4)), x), expected) < 1e-5


@pytest.mark.parametrize("change", ["lora", "int8"])
def test_softmax_of_a_layer_that_stays_whole_is_taken_over_the_chosen_classes(change):
    modules = mk.ModuleSet.from_units(changed_layer(change), {})
    values = run(mk.compose(modules, CLASSES), inputs_for(modules.model))
    np.testing.assert_allclose(values.sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", BURIED)
def test_softmax_in_the_way_of_the_logits_is_named(name):
    modules = mk.ModuleSet.from_units(network(BURIED[name]), {})
    with pytest.warns(UserWarning, match="cannot be taken over the chosen classes alone"):
        mk.compose(modules, CLASSES)
    weak = network(layers.Dense(3))
    for call in (
        lambda: mk.compose(modules, CLASSES, logits=True),
        lambda: modules[1].to_model(logits=True),
        lambda: mk.replace(weak, modules[1], target_class=0),
        lambda: mk.replace(modules.model, mk.ModuleSet.from_units(weak, {})[1], target_class=0),
    ):
        with pytest.raises(ValueError, match="model whose logits can be read"):
            call()


@pytest.mark.parametrize("name", ["sparsemax", "own softmax", "log_softmax"])
def test_any_activation_that_is_constant_over_one_class_is_said_to_be(name):
    modules = mk.ModuleSet.from_units(network(LOGITS[name]), {})
    with pytest.warns(UserWarning, match="over one class is constant"):
        constant = run(mk.compose(modules, [1]), inputs_for(modules.model))
    assert np.ptp(constant) < 1e-6


@pytest.mark.parametrize("activation", [None, "sigmoid", "elu", "softplus"])
def test_output_of_one_class_without_softmax_is_said_nothing_of(activation):
    modules = mk.ModuleSet.from_units(network(layers.Dense(4, activation=activation)), {})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert np.ptp(run(mk.compose(modules, [1]), inputs_for(modules.model))) > 0
