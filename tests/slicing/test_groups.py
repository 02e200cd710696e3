"""Units that share their fate, and the weights that read units, against nets worked out by hand."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize

from moda_keras.slicing import Slicer, unit_groups
from moda_keras.slicing.groups import connected
from moda_keras.slicing.outgoing_norms import outgoing_norms


def conv(x, filters, name, activation="relu", **options):
    return layers.Conv2D(filters, 3, padding="same", activation=activation, name=name, **options)(x)


def head(x, classes=2, **options):
    return layers.Dense(classes, name="logits", **options)(layers.GlobalAveragePooling2D()(x))


def residual_stream(x):
    """Two blocks on one stream, with normalization on the way."""
    x = conv(x, 5, "stem")
    for block in "ab":
        y = layers.BatchNormalization()(conv(conv(x, 3, f"in_{block}"), 5, f"c{block}", None))
        x = layers.ReLU(name=f"out_{block}")(layers.Add()([x, y]))
    return head(x)


def pre_activation(x):
    """The stream itself has no activation."""
    x = conv(x, 4, "stem", None)
    for block in "ab":
        y = layers.ReLU(name=block)(layers.BatchNormalization()(x))
        x = layers.Add()([x, conv(y, 4, f"c{block}", None)])
    return head(x)


def depthwise(x):
    x = conv(x, 4, "expand")
    x = layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    return head(conv(x, 3, "project"))


def concatenation(x):
    x = layers.Concatenate()([conv(x, 2, "left"), conv(x, 3, "right")])
    x = layers.ReLU(name="both")(layers.BatchNormalization()(x))
    return head(x)


def gated(x):
    """Squeeze and excitation: the gate of a channel goes with the channel."""
    x = conv(x, 4, "map")
    gate = layers.Dense(3, activation="relu", name="squeeze")(layers.GlobalAveragePooling2D()(x))
    gate = layers.Dense(4, activation="sigmoid")(gate)
    x = layers.Multiply()([x, layers.Reshape((1, 1, 4))(gate)])
    return head(layers.ReLU(name="after")(x))


def shared(x):
    layer = layers.Conv2D(2, 3, padding="same", name="twice")
    x = layers.ReLU(name="first")(layer(x))
    return head(layers.ReLU(name="second")(layer(x)))


def logits_as_units(x):
    x = conv(x, 3, "features")
    return layers.GlobalAveragePooling2D()(conv(x, 2, "scores"))


# Per activation the groups, numbered from 0 in each activation that begins new ones.
EXPECTED = {
    residual_stream: {
        "stem": "s0 s1 s2 s3 s4", "in_a": "a0 a1 a2", "out_a": "s0 s1 s2 s3 s4",
        "in_b": "b0 b1 b2", "out_b": "s0 s1 s2 s3 s4",
    },
    pre_activation: {"a": "s0 s1 s2 s3", "b": "s0 s1 s2 s3"},
    depthwise: {"expand": "e0 e1 e2 e3", "depthwise": "e0 e1 e2 e3", "project": "p0 p1 p2"},
    concatenation: {"left": "l0 l1", "right": "r0 r1 r2", "both": "l0 l1 r0 r1 r2"},
    gated: {"map": "m0 m1 m2 m3", "squeeze": "s0 s1 s2", "after": "m0 m1 m2 m3"},
    shared: {"first": "f0 f1", "second": "f0 f1"},
    logits_as_units: {"features": "f0 f1 f2", "scores": "o0 o1"},
}  # fmt: skip


def model_of(make):
    image = keras.Input((6, 6, 2))
    return randomize(keras.Model(image, make(image)))


@pytest.mark.parametrize("make", EXPECTED, ids=lambda make: make.__name__)
def test_units_that_share_their_fate_are_one_group(make):
    groups = unit_groups(Slicer(model_of(make)))
    names, expected = {}, EXPECTED[make]
    assert groups.of_units.keys() == expected.keys()
    for activation, ids in groups.of_units.items():
        for unit, label in zip(ids.tolist(), expected[activation].split(), strict=True):
            assert names.setdefault(unit, label) == label
    assert len(set(names.values())) == len(names) == groups.number


def test_logits_that_are_units_are_known():
    groups = unit_groups(Slicer(model_of(logits_as_units)))
    np.testing.assert_array_equal(groups.of_outputs, groups.of_units["scores"])
    groups = unit_groups(Slicer(model_of(depthwise)))
    assert groups.of_outputs.tolist() == [-1, -1]


def test_the_states_of_a_recurrent_layer_are_its_units():
    steps = keras.Input((4, 3))
    sequence, state = layers.GRU(5, return_sequences=True, return_state=True, name="rnn")(steps)
    x = layers.Concatenate()([layers.GlobalMaxPooling1D()(sequence), state])
    x = layers.ReLU(name="read")(x)
    groups = unit_groups(Slicer(randomize(keras.Model(steps, layers.Dense(2)(x)))))
    assert groups.of_units["read"].tolist() == [*groups.of_units["rnn"].tolist()] * 2


def test_components_are_those_of_a_search():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 60, (2, 40))
    expected = np.arange(60)
    for _ in range(60):
        for a, b in zip(first, second, strict=True):
            expected[[a, b]] = min(expected[a], expected[b])
    np.testing.assert_array_equal(connected(60, first, second), expected)


def test_norms_are_those_of_the_weights_that_read_a_unit():
    image = keras.Input((4, 4, 2))
    x = conv(image, 3, "first")
    y = layers.BatchNormalization()(conv(x, 3, "second"))
    x = layers.Flatten()(layers.MaxPooling2D()(layers.Add()([x, y])))
    x = layers.Dense(4, activation="relu", name="fc")(x)
    model = randomize(keras.Model(image, layers.Dense(2, name="logits")(x)))
    norms = outgoing_norms(Slicer(model))
    kernels = {
        name: np.asarray(model.get_layer(name).get_weights()[0], "float64")
        for name in ("second", "fc", "logits")
    }
    for unit in range(3):
        flat = sum((kernels["fc"][3 * place + unit] ** 2).sum() for place in range(4))
        own = (kernels["second"][:, :, unit] ** 2).sum()
        assert norms["second"][unit] == pytest.approx(flat**0.5)
        assert norms["first"][unit] == pytest.approx((flat + own) ** 0.5)
    for unit in range(4):
        assert norms["fc"][unit] == pytest.approx((kernels["logits"][unit] ** 2).sum() ** 0.5)


def test_units_whose_readers_are_not_known_have_norm_1():
    inputs = keras.Input((4,))
    x = layers.Dense(3, activation="relu", name="features")(inputs)
    model = keras.Model(inputs, layers.LayerNormalization()(x))
    np.testing.assert_array_equal(outgoing_norms(Slicer(model))["features"], np.ones(3))
