"""The graph of one model is found in that of another, or the difference is told."""

import keras
import pytest
from keras import layers, ops

from moda_keras.graph import NoCommonPart, find_common_part, trace

X, Y = keras.Input((3,), name="x"), keras.Input((3,), name="y")
DENSE = layers.Dense(3, name="dense")
NORM = layers.BatchNormalization(name="norm")
LSTM = layers.LSTM(3, return_state=True, name="lstm")
SEQUENCE = keras.Input((4, 2), name="sequence")
_, HIDDEN, CELL = LSTM(SEQUENCE)


def found(part_output, whole_output, part_inputs, whole_inputs):
    part = trace(keras.Model(part_inputs, part_output))
    whole = trace(keras.Model(whole_inputs, [X if X in whole_inputs else SEQUENCE, whole_output]))
    return part, whole, find_common_part(part, whole, whole.outputs[1])


def test_tensors_are_paired_by_the_layers_that_make_them():
    output = layers.Add(name="sum")([DENSE(Y), Y])
    part, whole, pairs = found(output, output, [Y], [X, Y])
    assert {own.keras_tensor.name: other for own, other in pairs.items()} == {
        tensor.keras_tensor.name: tensor for tensor in (*whole.outputs[1:], *pairs.values())
    }
    assert pairs[part.inputs[0]] is whole.inputs[1]
    assert pairs[part.outputs[0]] is whole.outputs[1]
    assert len(pairs) == 3


def test_inputs_that_keras_named_are_paired_in_their_order():
    one, two = keras.Input((3,)), keras.Input((3,))
    _, whole, pairs = found(DENSE(one), DENSE(X), [one], [X])
    assert list(pairs.values()) == [whole.outputs[1], whole.inputs[0]]
    with pytest.raises(NoCommonPart, match="made of other inputs"):
        found(DENSE(two), DENSE(X), [one, two], [X, Y])


def copied(model):
    made = keras.models.clone_model(model)
    made.set_weights(model.get_weights())
    return made


def test_copy_of_a_network_for_images_of_any_size():
    image = keras.Input((None, None, 1), name="image")
    x = layers.Conv2D(2, 9, strides=2)(image)
    part = keras.Model(image, layers.GlobalMaxPooling2D()(x))
    whole = trace(copied(part))
    assert len(find_common_part(trace(part), whole, whole.outputs[0])) == 3


def test_copy_that_cannot_run_is_not_taken_for_the_same():
    part = keras.Model(X, ops.reshape(X, (-1, 7)))
    whole = trace(copied(part))
    with pytest.raises(NoCommonPart, match="it does not run on random inputs"):
        find_common_part(trace(part), whole, whole.outputs[0])


DIFFERENT = {
    "another class": (lambda: (layers.ReLU(name="a")(X), layers.ELU(name="b")(X)), "'b' is of cl"),
    "another shape": (
        lambda: (layers.Dense(3, name="a")(X), layers.Dense(4, name="b")(X)),
        "'b' has an output of another shape than 'a'",
    ),
    "other weights": (
        lambda: (layers.Dense(3, name="a")(X), layers.Dense(3, name="b")(X)),
        "'b' has other weights than 'a'",
    ),
    "no bias": (
        lambda: (layers.Dense(3, name="a")(X), layers.Dense(3, use_bias=False, name="b")(X)),
        "'b' has other weights than 'a'",
    ),
    "another argument": (
        lambda: (NORM(X), NORM(X, training=True)),
        "'norm' is called with other arguments than 'norm'",
    ),
    "another constant": (lambda: (X * 2.0, X * 3.0), "is called with other arguments"),
    "another function": (
        lambda: (layers.Activation("relu")(X), layers.Activation("gelu")(X)),
        "on random inputs it has other values",
    ),
    "another input": (lambda: (DENSE(X), DENSE(Y)), "made of other inputs"),
    "an input": (lambda: (DENSE(X), X), "made of other inputs"),
    "other wiring": (
        lambda: (layers.Add()([z := DENSE(X), z]), layers.Add()([DENSE(Y), DENSE(X)])),
        "what 'dense' puts out goes into other layers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DIFFERENT)
def test_difference_is_told(case):
    make, message = DIFFERENT[case]
    part, whole = make()
    with pytest.raises(NoCommonPart, match=message):
        found(part, whole, [X], [X, Y])


def test_another_output_of_a_layer_is_another_tensor():
    with pytest.raises(NoCommonPart, match="another output of 'lstm'"):
        found(HIDDEN, CELL, [SEQUENCE], [SEQUENCE])
