"""A search for graphs that slice wrongly: 50 of them, or as many as MODA_SLICING_EXAMPLES says.

Every layer keeps the shape of the map, so that any two tensors can be merged.
"""

import os

import keras
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers, ops
from masking import check_slicing, count, first_units, module_set, random_units, randomize

import moda_keras as mk

# JAX compiles every graph, at about a second each.
DEFAULT_EXAMPLES = {"jax": "10"}.get(keras.backend.backend(), "50")
EXAMPLES = int(os.environ.get("MODA_SLICING_EXAMPLES", DEFAULT_EXAMPLES))
CHANNELS, MOST_LAYERS = 4, 30
SHAPE = (5, 5, CHANNELS)


def gated(x):
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(3, 1, activation="relu")(gate)
    return layers.Multiply()([x, layers.Conv2D(CHANNELS, 1, activation="sigmoid")(gate)])


def residual(x):
    y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(x)))
    return layers.Add()([x, layers.Conv2D(CHANNELS, 1)(y)])


def padded(x):
    return layers.Conv2D(CHANNELS, 3, activation="relu")(layers.ZeroPadding2D(1)(x))


def padded_with_ones(x):
    widths = [[0, 0], [1, 1], [1, 1], [0, 0]]
    return layers.DepthwiseConv2D(3)(ops.pad(x, widths, constant_values=1.0))


def multiplied_depthwise(x):
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu")(x)
    return layers.Conv2D(CHANNELS, 1)(x)


def as_sequence(x):
    x = layers.Dense(CHANNELS, activation="elu")(layers.Reshape((25, CHANNELS))(x))
    return ops.reshape(x, (-1, *SHAPE))


def swapped_halves(x):
    first, second = ops.split(x, 2, axis=-1)
    return ops.concatenate([second, layers.ReLU()(first)], axis=-1)


def transposed(x):
    return layers.Permute((2, 1, 3))(ops.silu(ops.transpose(x, (0, 2, 1, 3))))


def nested(x=None):
    inner = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(CHANNELS, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
        ]
    )
    return inner if x is None else inner(x)


LAYERS = {
    "conv": lambda: layers.Conv2D(CHANNELS, 3, padding="same", activation="relu"),
    "pointwise": lambda: layers.Conv2D(CHANNELS, 1, use_bias=False),
    "depthwise": lambda: layers.DepthwiseConv2D(3, padding="same", activation="elu"),
    "multiplied depthwise": lambda: multiplied_depthwise,
    "separable": lambda: layers.SeparableConv2D(CHANNELS, 3, padding="same"),
    "transposed conv": lambda: layers.Conv2DTranspose(CHANNELS, 3, padding="same"),
    "grouped": lambda: layers.Conv2D(CHANNELS, 3, groups=2, padding="same", activation="relu"),
    "grouped pointwise": lambda: layers.Conv2D(CHANNELS, 1, groups=CHANNELS),
    "dense": lambda: layers.Dense(CHANNELS, activation="tanh"),
    "norm": lambda: layers.BatchNormalization(),
    "group norm": lambda: layers.GroupNormalization(2),
    "rms norm": lambda: layers.RMSNormalization(epsilon=0.1),
    "layer norm": lambda: layers.LayerNormalization(epsilon=0.1),
    "relu": lambda: layers.ReLU(),
    "gelu": lambda: layers.Activation("gelu"),
    "prelu": lambda: layers.PReLU(shared_axes=[1, 2]),
    "pool": lambda: layers.MaxPooling2D(2, strides=1, padding="same"),
    "average pool": lambda: layers.AveragePooling2D(2, strides=1, padding="same"),
    "padded": lambda: padded,
    "padded with ones": lambda: padded_with_ones,
    "residual": lambda: residual,
    "gated": lambda: gated,
    "as sequence": lambda: as_sequence,
    "swapped halves": lambda: swapped_halves,
    "transposed": lambda: transposed,
    "nested": lambda: nested,
}
# One of each for a graph, called wherever it is drawn.
SHARED = {
    "shared conv": lambda: layers.Conv2D(CHANNELS, 3, padding="same", activation="relu"),
    "shared norm": lambda: layers.BatchNormalization(),
    "shared depthwise": lambda: layers.DepthwiseConv2D(3, padding="same"),
    "shared model": nested,
}
MERGES = {
    "add": lambda x, y: layers.Add()([x, y]),
    "subtract": lambda x, y: layers.Subtract()([x, y]),
    "multiply": lambda x, y: layers.Multiply()([x, layers.Activation("tanh")(y)]),
    "average": lambda x, y: layers.Average()([x, y]),
    "maximum": lambda x, y: ops.maximum(x, y),
    "concatenate": lambda x, y: layers.Conv2D(CHANNELS, 1)(layers.Concatenate()([x, y])),
    "concatenate, grouped": lambda x, y: layers.Conv2D(CHANNELS, 1, groups=2)(
        layers.Concatenate()([x, y])
    ),
}
SOURCE = st.integers(0, 9)
STEPS = st.one_of(
    st.tuples(st.sampled_from(sorted(LAYERS)), SOURCE),
    st.tuples(st.sampled_from(sorted(SHARED)), SOURCE),
    st.tuples(st.sampled_from(sorted(MERGES)), SOURCE, SOURCE),
)
ENDINGS = [layers.Flatten, layers.GlobalAveragePooling2D]


def build(steps, ending):
    inputs = keras.Input((5, 5, 2))
    tensors = [layers.Conv2D(CHANNELS, 3, padding="same", activation="relu")(inputs)]
    shared = {}
    for kind, *sources in steps:
        # Counted from the end, so that most graphs are deep.
        read = [tensors[-1 - source % len(tensors)] for source in sources]
        if kind in SHARED:
            made = shared.setdefault(kind, SHARED[kind]())
        else:
            made = MERGES[kind] if kind in MERGES else LAYERS[kind]()
        tensors.append(made(*read))
    x = ending()(tensors[-1])
    return randomize(keras.Model(inputs, layers.Dense(4)(x)))


def graphs(most):
    return given(
        steps=st.lists(STEPS, min_size=2, max_size=most),
        ending=st.sampled_from(ENDINGS),
        fraction=st.sampled_from([0.35, 0.15]),
        align=st.sampled_from([1, 1, 2]),
    )


@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@graphs(MOST_LAYERS - 3)
def test_random_graph(steps, ending, fraction, align):
    check_slicing(build(steps, ending), fraction=fraction, align=align, tolerance=1e-4)


@settings(
    max_examples=EXAMPLES // 5, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@graphs(12)
def test_random_graph_is_explained(steps, ending, fraction, align):
    """What `explain` says to stay is what the smallest composed model has; no other has less."""
    model = build(steps, ending)
    explained = mk.explain(model)
    small = mk.compose(module_set(model, first_units(model)), [0])
    assert (explained.kept, explained.parameters) == (count(small), count(model))
    assert count(mk.compose(module_set(model, random_units(model, fraction)), [2])) >= count(small)


@pytest.mark.parametrize("kind", [*LAYERS, *SHARED])
def test_kind_of_layer_behind_constants(kind):
    steps = [("norm", 0), (kind, 0), ("shared norm", 0), (kind, 0), ("add", 0, 2)]
    check_slicing(build(steps, layers.Flatten), fraction=0.35)
