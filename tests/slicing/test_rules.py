"""Every kind of layer behind channels of which some are constant, and not zero."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from masking import check_slicing, fill_layers, randomize

from moda_keras import find_hidden_activations
from moda_keras.layers import ModularActivation
from moda_keras.slicing import Opaque, Slicer, registry

MAPS = {
    "conv": layers.Conv2D(5, 3),
    "conv padded": layers.Conv2D(5, 3, padding="same"),
    "conv strided, padded": layers.Conv2D(5, 3, strides=2, padding="same"),
    "conv dilated": layers.Conv2D(5, 3, dilation_rate=2),
    "conv dilated, padded": layers.Conv2D(5, 3, dilation_rate=2, padding="same"),
    "conv pointwise without bias": layers.Conv2D(5, 1, padding="same", use_bias=False),
    "conv without bias": layers.Conv2D(5, 3, use_bias=False),
    "conv grouped": layers.Conv2D(4, 3, groups=2),
    "conv grouped, padded": layers.Conv2D(9, 3, groups=3, padding="same", activation="elu"),
    "conv grouped by channel": layers.Conv2D(12, 3, groups=6, use_bias=False),
    "conv transposed": layers.Conv2DTranspose(5, 3, strides=2, padding="same"),
    "separable": layers.SeparableConv2D(5, 3, depth_multiplier=2),
    "separable padded": layers.SeparableConv2D(5, 3, padding="same"),
    "depthwise": layers.DepthwiseConv2D(3, depth_multiplier=2),
    "depthwise padded": layers.DepthwiseConv2D(3, padding="same", activation="elu"),
    "depthwise strided without bias": layers.DepthwiseConv2D(3, strides=2, use_bias=False),
    "dense on a map": layers.Dense(5),
    "dense with tanh on a map": layers.Dense(5, activation="tanh", use_bias=False),
    "batch norm": layers.BatchNormalization(),
    "batch norm without scale": layers.BatchNormalization(scale=False, center=False),
    "batch norm on another axis": layers.BatchNormalization(axis=1),
    "layer norm": layers.LayerNormalization(),
    "group norm": layers.GroupNormalization(3),
    "group norm by channel": layers.GroupNormalization(6),
    "group norm without scale": layers.GroupNormalization(2, scale=False, center=False),
    "rms norm": layers.RMSNormalization(),
    "rms norm over the map": layers.RMSNormalization(axis=(1, 2, 3)),
    "unit norm": layers.UnitNormalization(),
    "unit norm on another axis": layers.UnitNormalization(axis=1),
    "prelu": layers.PReLU(),
    "prelu shared over the map": layers.PReLU(shared_axes=[1, 2]),
    "prelu shared by all": layers.PReLU(shared_axes=[1, 2, 3]),
    "leaky relu": layers.LeakyReLU(negative_slope=0.3),
    "relu": layers.ReLU(negative_slope=0.1, threshold=0.2, max_value=1.0),
    "elu": layers.ELU(0.7),
    "gelu": layers.Activation("gelu"),
    "softmax": layers.Softmax(),
    "softmax activation": layers.Activation("softmax"),
    "modular activation": ModularActivation("softplus"),
    "dropout": layers.Dropout(0.5),
    "spatial dropout": layers.SpatialDropout2D(0.5),
    "gaussian noise": layers.GaussianNoise(0.5),
    "gaussian dropout": layers.GaussianDropout(0.5),
    "rescaling": layers.Rescaling(2.0, offset=0.5),
    "rescaling by channel": layers.Rescaling([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    "normalization adapted": layers.Normalization(),
    "normalization given": layers.Normalization(
        mean=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], variance=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    ),
    "adaptive pooling": layers.AdaptiveAveragePooling2D(2),
    "adaptive max pooling": layers.AdaptiveMaxPooling2D(2),
    "center crop": layers.CenterCrop(3, 3),
    "average pooling": layers.AveragePooling2D(2),
    "average pooling padded": layers.AveragePooling2D(3, strides=2, padding="same"),
    "max pooling padded": layers.MaxPooling2D(3, strides=2, padding="same"),
    "zero padding": layers.ZeroPadding2D(1),
    "cropping": layers.Cropping2D(1),
    "upsampling": layers.UpSampling2D(2),
    "upsampling bilinear": layers.UpSampling2D(2, interpolation="bilinear"),
    "global average pooling": layers.GlobalAveragePooling2D(keepdims=True),
    "global max pooling": layers.GlobalMaxPooling2D(keepdims=True),
    "permute": layers.Permute((2, 1, 3)),
    "permute channels away": layers.Permute((3, 1, 2)),
    "reshape": layers.Reshape((-1, 6)),
    "reshape of pairs": layers.Reshape((49, 3, 2)),
}  # fmt: skip
OPERATIONS = {
    "relu": ops.relu,
    "silu": ops.silu,
    "clip": lambda x: ops.clip(x, -0.5, 0.5),
    "leaky relu": lambda x: ops.leaky_relu(x, 0.3),
    "scale and shift": lambda x: 1.0 - x * 2.0,
    "maximum with a number": lambda x: ops.maximum(x, 0.1),
    "times an array": lambda x: x * np.arange(1.0, 7.0, dtype="float32"),
    "transpose": lambda x: ops.transpose(x, (0, 2, 1, 3)),
    "softmax": ops.softmax,
    "square root": lambda x: ops.sqrt(ops.abs(x) + 0.1),
    "quotient": lambda x: x / (2.0 + ops.square(x)),
    "power": lambda x: ops.abs(x) ** 1.5,
    "transpose channels away": lambda x: ops.transpose(x, (0, 3, 2, 1)),
    "transpose there and back": lambda x: ops.transpose(
        ops.relu(ops.transpose(x, (0, 3, 1, 2))), (0, 2, 3, 1)
    ),
    "reshape": lambda x: ops.reshape(x, (-1, 49, 6)),
    "reshape to pairs": lambda x: ops.reshape(x, (-1, 49, 3, 2)),
    "mean": lambda x: ops.mean(x, axis=(1, 2)),
    "mean of rows": lambda x: ops.mean(x, axis=1),
    "mean, axes kept": lambda x: ops.mean(x, axis=(1, -2), keepdims=True),
    "mean over channels": lambda x: ops.mean(x, axis=-1, keepdims=True),
    "mean over all": lambda x: x - ops.mean(x, axis=(1, 2, 3), keepdims=True),
    "max": lambda x: ops.max(x, axis=(1, 2)),
    "max with an initial value": lambda x: ops.max(x, axis=1, initial=0.1),
    "sum": lambda x: ops.sum(0.1 * x, axis=(1, 2)),
    "pad": lambda x: ops.pad(x, [[0, 0], [1, 1], [0, 1], [0, 0]]),
    "pad with a number": lambda x: ops.pad(x, [[0, 0], [1, 1], [0, 1], [0, 0]], "constant", 0.5),
    "pad by reflection": lambda x: ops.pad(x, [[0, 0], [1, 1], [0, 1], [0, 0]], "reflect"),
    "pad channels": lambda x: ops.pad(x, [[0, 0], [0, 0], [0, 0], [1, 1]]),
    "squeeze": lambda x: ops.squeeze(x[:, 1:2], axis=1),
    "expand dims": lambda x: ops.squeeze(ops.expand_dims(x, 1), 1),
    "one row": lambda x: x[:, 2],
    "every other column": lambda x: x[:, :, ::2],
    "one position": lambda x: x[:, 0, -1],
    "first channels": lambda x: x[..., :4],
    "chosen columns": lambda x: ops.take(x, [0, 2], axis=2),
    "a new axis": lambda x: x[:, None, 2],
    "split channels": lambda x: ops.add(*ops.split(x, 2, axis=-1)),
    "split at channels": lambda x: ops.concatenate(ops.split(x, [1, 3], axis=-1)[::-1], axis=-1),
    "split rows": lambda x: ops.subtract(*ops.split(x[:, :6], 2, axis=1)),
    "part of a split": lambda x: ops.split(x, 3, axis=-1)[0],
    "pooling": lambda x: ops.average_pool(x, 2, 2),
}
# What no rule can slice, or what comes behind it: channels mix, or positions become channels.
WHOLE_ON_MAPS = {
    "batch norm on another axis", "layer norm", "rms norm over the map", "center crop",
    "unit norm on another axis", "softmax", "softmax activation", "rescaling by channel",
    "permute channels away", "reshape of pairs",
}  # fmt: skip
WHOLE_OPERATIONS = {
    "times an array", "softmax", "transpose channels away", "reshape to pairs",
    "mean over channels", "mean over all", "max with an initial value", "pad channels",
    "first channels", "chosen columns",
}  # fmt: skip


def stays_whole(model):
    return any(isinstance(rule, Opaque) for rule in Slicer(model).rules.values())


def network(middle, shape=(9, 9, 3), first=None):
    """`middle` reads six channels, masked and then shifted: the masked ones are constants."""
    inputs = keras.Input(shape)
    x = (first or layers.Conv2D(6, 3, activation="relu"))(inputs)
    x = layers.BatchNormalization()(x)
    x = middle(x)
    pool = {4: layers.GlobalAveragePooling2D, 3: layers.GlobalAveragePooling1D}.get(len(x.shape))
    x = pool()(x) if pool else layers.Flatten()(x)
    x = layers.Dense(7, activation="tanh")(x)
    return randomize(keras.Model(inputs, layers.Dense(4)(x)))


@pytest.mark.parametrize("name", MAPS)
def test_layer_on_maps(name):
    layer = type(MAPS[name]).from_config(MAPS[name].get_config())
    model = network(layer)
    check_slicing(model)
    assert stays_whole(model) == (name in WHOLE_ON_MAPS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_on_maps(name):
    model = network(OPERATIONS[name])
    check_slicing(model)
    assert stays_whole(model) == (name in WHOLE_OPERATIONS)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv1D(5, 3, padding="causal"),
        layers.Conv1D(5, 3, strides=2),
        layers.Conv1DTranspose(5, 3),
        layers.SeparableConv1D(5, 3, padding="same"),
        layers.DepthwiseConv1D(3, depth_multiplier=2, padding="same"),
        layers.MaxPooling1D(2),
        layers.ZeroPadding1D(2),
        layers.Cropping1D(1),
        layers.UpSampling1D(2),
        layers.Dense(5),
        layers.LSTM(5, return_sequences=True),
        layers.MultiHeadAttention(2, 3),
    ],
    ids=lambda layer: layer.name,
)
def test_layer_on_sequences(layer):
    def middle(x):
        is_attention = isinstance(layer, layers.MultiHeadAttention)
        return layer(x, x) if is_attention else layer(x)

    model = network(middle, (9, 3), layers.Conv1D(6, 3, activation="relu"))
    check_slicing(model)
    assert not stays_whole(model)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv3D(5, 2, padding="same"),
        layers.MaxPooling3D(2),
        layers.ZeroPadding3D(1),
        layers.GlobalAveragePooling3D(),
    ],
    ids=lambda layer: layer.name,
)
def test_layer_on_volumes(layer):
    model = network(layer, (4, 4, 4, 2), layers.Conv3D(6, 2, activation="relu"))
    check_slicing(model)
    assert not stays_whole(model)


@pytest.mark.parametrize(
    "layer",
    [
        layers.BatchNormalization(),
        layers.Dense(5),
        layers.Reshape((2, 3)),
        layers.Reshape((1, 6)),
        layers.RepeatVector(3),
        layers.RMSNormalization(),
    ],
    ids=[
        "batch_norm",
        "dense",
        "reshape_to_two_axes",
        "reshape_to_sequence",
        "repeat_vector",
        "rms_norm",
    ],
)
def test_layer_on_vectors(layer):
    check_slicing(network(layer, (5,), layers.Dense(6, activation="relu")))


# ------------------------------------------------------------------------------- memory layouts


def needs_channels_first(layer):
    """TensorFlow on a CPU lacks some of these layers, and one gives wrong values."""
    backend = keras.backend.backend()
    if backend == "tensorflow" and isinstance(layer, layers.SeparableConv2D):
        pytest.skip("tensorflow: channels_first SeparableConv2D differs from channels_last")
    try:
        layer(np.zeros((1, 6, 7, 7), "float32"))
    except Exception as error:
        pytest.skip(
            f"{keras.backend.backend()} refuses channels_first here: {type(error).__name__}"
        )


CHANNELS_FIRST = {
    "conv": lambda: layers.Conv2D(5, 3, padding="same", data_format="channels_first"),
    "conv transposed": lambda: layers.Conv2DTranspose(5, 3, data_format="channels_first"),
    "separable": lambda: layers.SeparableConv2D(5, 3, data_format="channels_first"),
    "depthwise": lambda: layers.DepthwiseConv2D(3, padding="same", data_format="channels_first"),
    "max pooling": lambda: layers.MaxPooling2D(2, data_format="channels_first"),
    "average pooling": lambda: layers.AveragePooling2D(2, data_format="channels_first"),
    "global": lambda: layers.GlobalAveragePooling2D(data_format="channels_first"),
    "global keepdims": lambda: layers.GlobalMaxPooling2D(
        data_format="channels_first", keepdims=True
    ),
    "zero padding": lambda: layers.ZeroPadding2D(1, data_format="channels_first"),
    "cropping": lambda: layers.Cropping2D(1, data_format="channels_first"),
    "upsampling": lambda: layers.UpSampling2D(2, data_format="channels_first"),
    "spatial dropout": lambda: layers.SpatialDropout2D(0.5, data_format="channels_first"),
    "prelu": lambda: layers.PReLU(shared_axes=[2, 3]),
    "batch norm": lambda: layers.BatchNormalization(axis=1),
    "batch norm on another axis": lambda: layers.BatchNormalization(axis=-1),
    "relu": lambda: layers.ReLU(),
    "flatten to channels last": lambda: layers.Flatten(data_format="channels_first"),
    "flatten in memory order": lambda: layers.Flatten(data_format="channels_last"),
    "reshape in memory order": lambda: layers.Reshape((-1,)),
    "reshape to rows": lambda: layers.Reshape((6, 49)),
    "pooling of another format": lambda: layers.MaxPooling2D(2, data_format="channels_last"),
    "dense over the last axis": lambda: layers.Dense(5),
}


@pytest.mark.parametrize("name", CHANNELS_FIRST)
def test_layer_on_channels_first_maps(name):
    needs_channels_first(CHANNELS_FIRST[name]())
    inputs = keras.Input((3, 9, 9))
    # The first convolution reads channels last, so that TensorFlow gets here without a GPU.
    x = layers.Permute((2, 3, 1))(inputs)
    x = layers.Permute((3, 1, 2))(layers.Conv2D(6, 3)(x))
    x = layers.BatchNormalization(axis=1)(layers.ReLU()(x))
    x = CHANNELS_FIRST[name]()(x)
    x = layers.Reshape((-1,))(x) if len(x.shape) > 2 else x
    x = layers.Dense(7, activation="tanh")(x)
    check_slicing(randomize(keras.Model(inputs, layers.Dense(4)(x))))


def test_flattened_map_is_indexed_channels_last():
    inputs = keras.Input((2, 2, 3))
    x = layers.Flatten()(layers.ReLU(name="maps")(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    plan = Slicer(model).plan({"maps": np.array([False, True, False])}, np.array([0, 1]))
    rows = {kept.variable.name: kept.indices[0].tolist() for kept in plan.kept_weights}
    assert rows["kernel"] == [1, 4, 7, 10]


def test_flattened_channels_first_map_is_indexed_in_the_order_of_its_flatten():
    def kernel_rows(data_format):
        inputs = keras.Input((3, 2, 2))
        x = layers.BatchNormalization(axis=1)(inputs)
        x = layers.Flatten(data_format=data_format)(layers.ReLU(name="maps")(x))
        model = keras.Model(inputs, layers.Dense(2, name="head")(x))
        plan = Slicer(model).plan({"maps": np.array([False, True, False])}, np.array([0, 1]))
        return next(w.indices[0].tolist() for w in plan.kept_weights if w.variable.name == "kernel")

    assert kernel_rows("channels_first") == [1, 4, 7, 10]
    assert kernel_rows("channels_last") == [4, 5, 6, 7]


# -------------------------------------------------------------------------------- what is slim


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (layers.Conv2D(5, 3, padding="same"), "kernel"),
        (layers.SeparableConv2D(5, 3), "pointwise_kernel"),
        (layers.DepthwiseConv2D(3), "kernel"),
        (layers.BatchNormalization(), "gamma"),
        (layers.PReLU(), "alpha"),
        (layers.Conv2D(6, 3, groups=3), "kernel"),
        (layers.GroupNormalization(3), "gamma"),
        (layers.RMSNormalization(), "scale"),
    ],
    ids=[
        "conv",
        "separable",
        "depthwise",
        "batch_norm",
        "prelu",
        "grouped",
        "group_norm",
        "rms_norm",
    ],
)
def test_weights_of_dropped_channels_are_gone(layer, name):
    inputs = keras.Input((9, 9, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="maps")(inputs)
    x = layers.GlobalAveragePooling2D()(type(layer).from_config(layer.get_config())(x))
    model = keras.Model(inputs, layers.Dense(4)(x))
    plan = Slicer(model).plan({"maps": np.arange(6) < 2}, np.arange(4))
    layer_weights = {id(w) for w in model.layers[2].weights if w.name == name}
    kept = next(w for w in plan.kept_weights if id(w.variable) in layer_weights)
    lengths = dict(zip(kept.variable.shape, map(len, kept.indices), strict=True))
    assert lengths[12 if 12 in lengths else 6] == 2


def test_constant_is_folded_into_the_bias_of_an_unpadded_convolution():
    sliced = check_slicing(network(layers.Conv2D(5, 3, use_bias=False, name="conv")))
    assert sliced.get_layer("conv").use_bias
    assert sliced.get_layer("conv").kernel.shape[2] < 6


def test_constant_before_a_padded_convolution_keeps_its_zero_border():
    sliced = check_slicing(network(layers.Conv2D(5, 3, padding="same", name="conv")))
    assert sliced.get_layer("conv").kernel.shape[2] == 6


@pytest.mark.parametrize("dims", [(6,), (5, 6)], ids=["vectors", "sequences"])
def test_dot_over_channels(dims):
    def features(x):
        return layers.ReLU()(layers.Dense(6)(x))

    inputs = keras.Input(dims)
    x = layers.Dot(axes=-1)([features(inputs), layers.BatchNormalization()(features(inputs))])
    model = randomize(keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x))))
    check_slicing(model)
    units = {h.name: np.arange(6) < 2 for h in find_hidden_activations(model)}
    plan = Slicer(model).plan(units, np.arange(4))
    dot = next(each for each in plan.steps if isinstance(each.step.operation, layers.Dot))
    assert [len(channels.kept) for channels in dot.slice.inputs] == [2, 2]


def test_gate_of_masked_channels_is_gone():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, activation="relu", name="maps")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="gate")(gate)
    x = layers.GlobalAveragePooling2D()(layers.Multiply()([x, gate]))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    sliced = check_slicing(model, {"maps": np.arange(8) < 3})
    assert tuple(sliced.get_layer("gate").kernel.shape) == (1, 1, 3, 3)
    assert fill_layers(sliced) == []


def test_groups_of_masked_channels_are_gone():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, activation="relu", name="maps")(inputs)
    x = layers.Conv2D(12, 3, groups=4, padding="same", name="grouped")(x)
    x = layers.GroupNormalization(4, name="norm")(x)
    model = randomize(keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x))))
    sliced = check_slicing(model, {"maps": np.isin(np.arange(8), [0, 5, 4])})
    assert sliced.get_layer("grouped").groups == 2
    assert tuple(sliced.get_layer("grouped").kernel.shape) == (3, 3, 2, 6)
    assert sliced.get_layer("norm").groups == 2


@pytest.mark.parametrize("policies", [("mixed_float16", "float32"), ("float32", "bfloat16")])
def test_model_that_mixes_dtypes(policies):
    first, second = policies
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 3, activation="relu", dtype=first)(inputs)
    x = layers.BatchNormalization(dtype=first)(x)
    y = ops.cast(layers.Conv2D(6, 1, activation="relu", dtype=second)(x), "float32")
    x = layers.Add(dtype="float32")([x, y])
    x = layers.Conv2D(5, 3, padding="same", dtype="float32")(x)
    model = keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    sliced = check_slicing(randomize(model), tolerance=0.03)
    dtypes = [layer.dtype_policy.name for layer in sliced.layers if layer.weights]
    assert dtypes == [first, first, second, "float32", "float32"]


@pytest.mark.parametrize("options", [{}, {"negative_slope": 0.1, "max_value": 2.0}])
def test_call_of_the_function_relu_is_cut(options):
    inputs = keras.Input((6,))
    x = keras.activations.relu(layers.Dense(8, name="features")(inputs), **options)
    x = layers.BatchNormalization()(x)
    model = randomize(keras.Model(inputs, layers.Dense(5)(keras.activations.relu(x))))
    sliced = check_slicing(model)
    assert sliced.get_layer("features").units < 8 and not fill_layers(sliced)


def test_rule_of_a_class_goes_before_that_of_a_call_with_its_name(monkeypatch):
    known = {name: list(rules) for name, rules in registry._RULES.items()}
    monkeypatch.setattr(registry, "_RULES", known)

    @registry.register_rule(layers.ReLU)
    class Own(registry.Rule):
        """A user's, of the layer and not of `keras.activations.relu`."""

    assert isinstance(registry.rules_for(layers.ReLU)[0], Own)
    assert not any(isinstance(rule, Own) for rule in registry._RULES["ReLU"])
