"""A search for graphs that slice wrongly. MODA_SLICING_EXAMPLES sets how many are tried."""

import os

import keras
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers
from masking import check_slicing, randomize

EXAMPLES = int(os.environ.get("MODA_SLICING_EXAMPLES", "25"))
CHANNELS = 4
# Each keeps the size of the map, so that any two tensors can be merged.
LAYERS = {
    "conv": lambda: layers.Conv2D(CHANNELS, 3, padding="same", activation="relu"),
    "pointwise": lambda: layers.Conv2D(CHANNELS, 1, use_bias=False),
    "depthwise": lambda: layers.DepthwiseConv2D(3, padding="same", activation="elu"),
    "separable": lambda: layers.SeparableConv2D(CHANNELS, 3, padding="same"),
    "dense": lambda: layers.Dense(CHANNELS, activation="tanh"),
    "norm": lambda: layers.BatchNormalization(),
    "relu": lambda: layers.ReLU(),
    "gelu": lambda: layers.Activation("gelu"),
    "pool": lambda: layers.MaxPooling2D(2, strides=1, padding="same"),
    "average": lambda: layers.AveragePooling2D(2, strides=1, padding="same"),
    "layer norm": lambda: layers.LayerNormalization(),
}
MERGES = {
    "add": lambda x, y: layers.Add()([x, y]),
    "subtract": lambda x, y: layers.Subtract()([x, y]),
    "multiply": lambda x, y: layers.Multiply()([x, y]),
    "average": lambda x, y: layers.Average()([x, y]),
    "concatenate": lambda x, y: layers.Conv2D(CHANNELS, 1)(layers.Concatenate()([x, y])),
}
STEPS = st.one_of(
    st.tuples(st.sampled_from(sorted(LAYERS)), st.integers(0, 9)),
    st.tuples(st.sampled_from(sorted(MERGES)), st.integers(0, 9), st.integers(0, 9)),
)


def build(steps, ending):
    inputs = keras.Input((5, 5, 2))
    tensors = [layers.Conv2D(CHANNELS, 3, padding="same", activation="relu")(inputs)]
    for kind, *sources in steps:
        # Counted from the end, so that most graphs are deep.
        read = [tensors[-1 - source % len(tensors)] for source in sources]
        tensors.append(MERGES[kind](*read) if len(read) == 2 else LAYERS[kind]()(*read))
    x = ending()(tensors[-1])
    return randomize(keras.Model(inputs, layers.Dense(4)(x)))


@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(
    steps=st.lists(STEPS, min_size=2, max_size=5),
    ending=st.sampled_from([layers.Flatten, layers.GlobalAveragePooling2D]),
    fraction=st.sampled_from([0.35, 0.15]),
)
def test_random_graph(steps, ending, fraction):
    check_slicing(build(steps, ending), fraction=fraction)
