"""Mask generators in a CNN: where they are, what they compute, saving, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize, run
from mwt_models import chain, mask_by_loops, masks_of, residual, with_masks
from small_models import inputs_of, run_in_fresh_process, trainable_parameters

import moda_keras as mk
from moda_keras.graph import keep_whole
from moda_keras.methods import mwt


def call(layer, x):
    return keras.ops.convert_to_numpy(layer(keras.ops.convert_to_tensor(x, "float32")))


def mask_of(model, name, x, axis=-1):
    hidden, output = (model.get_layer(f"{name}_mask_{part}") for part in ("hidden", "output"))
    kernels = (keras.ops.convert_to_numpy(layer.kernel) for layer in (hidden, output))
    return mask_by_loops(x, *kernels, keras.ops.convert_to_numpy(output.bias), axis)


def test_masks_and_output_are_those_of_the_paper():
    """Masks behind the normalization and before the activation, in numpy around single layers."""
    cnn = chain()
    model = with_masks(cnn)
    x = 2 * inputs_of(cnn, 5)
    layer = cnn.get_layer
    values = np.maximum(call(layer("first_bn"), call(layer("first"), x)), 0)
    masks = {"normed": mask_of(model, "normed", values)}
    values = call(layer("normed_bn"), call(layer("normed"), values))
    values = np.maximum(values * masks["normed"][:, None, None], 0)
    values = call(layer("pool"), values)
    masks["own"] = mask_of(model, "own", values)
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in layer("own").weights)
    values = keras.ops.convert_to_numpy(keras.ops.conv(values.astype("float32"), kernel)) + bias
    values = call(keras.activations.gelu, values * masks["own"][:, None, None])
    expected = call(layer("logits"), values.reshape(5, -1))
    found = masks_of(model, x)
    for name in ("normed", "own"):
        assert 0.1 < (masks[name] == 0).mean() < 0.9
        assert np.ptp(masks[name], axis=0).max() > 0.3
        np.testing.assert_allclose(found[name], masks[name], atol=1e-5)
    np.testing.assert_allclose(run(model, [x]), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(run(cnn, [x]) - expected).max() > 0.1


def test_every_convolution_but_the_first_has_a_mask():
    names = [h.name for h in mwt.MwTModel.from_model(residual()).hidden_activations]
    assert sorted(names) == [
        "conv1a_mask", "conv1b_mask", "conv2a_mask", "conv2b_mask", "shortcut_mask",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("network", "masks", "kernels"),
    [("vgg16", 12, 4160), ("resnet18", 19, 4736)],
)
def test_generators_of_the_papers_networks(network, masks, kernels):
    """As many masks as the authors' code has; parameters by the description of a generator."""
    cnn = getattr(mk.zoo, network)()
    model = mwt.MwTModel.from_model(cnn)
    assert len(model.hidden_activations) == masks
    assert sum(h.units for h in model.hidden_activations) == kernels
    expected = 0
    for layer in cnn.layers:
        if isinstance(layer, layers.Conv2D) and layer.kernel.shape[2] != 3:
            inputs, filters = layer.kernel.shape[2:]
            width = filters if filters < 128 else filters // 2
            expected += inputs * width + width * filters + filters
    assert trainable_parameters(model) - trainable_parameters(cnn) == expected


def test_generators_begin_with_he_normal_weights_and_biases_of_one():
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 3))
    x = layers.Conv2D(128, 1, activation="relu")(image)
    x = layers.Conv2D(256, 1, name="wide")(x)
    outputs = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    model = mwt.MwTModel.from_model(keras.Model(image, outputs))
    hidden, output = (model.get_layer(f"wide_mask_{part}") for part in ("hidden", "output"))
    assert hidden.kernel.shape[2:] == (128, 128) and not hidden.use_bias
    for layer in (hidden, output):
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        assert kernel.std() == pytest.approx((2 / 128) ** 0.5, rel=0.03)
        assert np.abs(kernel).max() > 2.5 * kernel.std()  # not truncated
    assert (keras.ops.convert_to_numpy(output.bias) == 1).all()


@pytest.mark.parametrize("kind", ["same order", "activation between", "group"])
def test_mask_goes_behind_the_normalization(kind):
    image = keras.Input((5, 5, 2))
    x = layers.Conv2D(4, 1, activation="relu")(image)
    x = layers.Conv2D(4, 1, activation="relu" if kind == "same order" else None, name="conv")(x)
    x = layers.ReLU()(x) if kind == "activation between" else x
    norm = layers.GroupNormalization(2, name="n") if kind == "group" else None
    x = (norm or layers.BatchNormalization(name="n"))(x)
    outputs = layers.Dense(2)(layers.GlobalMaxPooling2D()(x))
    model = mwt.MwTModel.from_model(randomize(keras.Model(image, outputs)))
    product = model.get_layer("conv_masked")
    sources = [tensor._keras_history.operation.name for tensor in product.input]
    assert sources == ["n", "conv_mask"]
    assert "conv_activation" not in [layer.name for layer in model.layers]


def test_normalization_that_others_share_or_that_is_of_other_axes_is_not_the_convolutions():
    image = keras.Input((5, 4, 2))
    x = layers.Conv2D(4, 1, name="first")(image)
    norm = layers.BatchNormalization(name="shared")
    x = norm(layers.Conv2D(4, 1, name="a")(x))
    x = norm(layers.Conv2D(4, 1, name="b")(x))
    x = layers.BatchNormalization(axis=2, name="columns")(layers.Conv2D(4, 1, name="c")(x))
    model = mwt.MwTModel.from_model(keras.Model(image, layers.Dense(2)(layers.Flatten()(x))))
    for name in "abc":
        source = model.get_layer(f"{name}_masked").input[0]
        assert source._keras_history.operation.name == name


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_other_ranks_and_formats(rank, data_format):
    if data_format == "channels_first" and keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no such convolutions on CPUs")
    convolution = {1: layers.Conv1D, 3: layers.Conv3D}[rank]
    shape = (5,) * rank
    is_last = data_format == "channels_last"
    source = keras.Input((*shape, 2) if is_last else (2, *shape))
    form = {"data_format": data_format}
    first = convolution(3, 2, activation="relu", name="first", **form)
    x = convolution(4, 2, name="second", **form)(first(source))
    x = layers.ReLU()(layers.BatchNormalization(axis=-1 if is_last else 1, name="bn")(x))
    cnn = randomize(keras.Model(source, layers.Dense(3)(layers.Flatten(**form)(x))))
    model = with_masks(cnn)
    x = inputs_of(cnn, 4)
    axis = -1 if is_last else 1
    mask = mask_of(model, "second", call(first, x), axis)
    np.testing.assert_allclose(masks_of(model, x)["second"], mask, atol=1e-5)
    values = call(cnn.get_layer("bn"), call(cnn.get_layer("second"), call(first, x)))
    places = (slice(None), *[None] * rank, slice(None)) if is_last else (..., *[None] * rank)
    values = np.maximum(values * mask[places], 0)
    expected = call(cnn.layers[-1], call(cnn.layers[-2], values))
    np.testing.assert_allclose(run(model, [x]), expected, rtol=1e-4, atol=1e-5)


def test_depthwise_and_logit_convolutions_have_no_mask():
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, name="stem")(image)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.SeparableConv2D(5, 2, activation="relu", name="separable")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1, name="classes")(x))
    model = mwt.MwTModel.from_model(keras.Model(image, layers.Softmax()(x)))
    assert [h.name for h in model.hidden_activations] == ["separable_mask"]


def test_parallel_convolutions_of_the_input_are_all_first():
    image = keras.Input((6, 6, 2))
    branches = [layers.Conv2D(3, 3, padding="same", name=f"stem{i}")(image) for i in range(2)]
    x = layers.Conv2D(4, 1, name="mixed")(layers.Concatenate()(branches))
    model = mwt.MwTModel.from_model(keras.Model(image, layers.Dense(2)(layers.Flatten()(x))))
    assert [h.name for h in model.hidden_activations] == ["mixed_mask"]


def test_nested_models_are_seen_through_and_marks_of_the_user_are_none_of_masks():
    inner = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 1, name="conv")(inner)
    block = keras.Model(inner, mk.layers.ModularActivation("relu", name="marked")(x))
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(3, 1, name="conv")(image)
    outputs = layers.Dense(2)(layers.Flatten()(block(x)))
    model = mwt.MwTModel.from_model(keras.Model(image, outputs))
    assert [h.name for h in model.hidden_activations] == ["conv_1_mask"]


def test_original_is_left_as_it_was():
    cnn = chain()

    def snapshot():
        nodes = [(x.name, len(x._inbound_nodes), len(x._outbound_nodes)) for x in cnn.layers]
        return nodes, cnn.get_config(), [weight.path for weight in cnn.weights]

    before, weights = snapshot(), cnn.get_weights()
    cnn.get_layer("normed").trainable = False
    model = mwt.MwTModel.from_model(cnn)
    assert not model.get_layer("normed").trainable and model.get_layer("own").trainable
    cnn.get_layer("normed").trainable = True
    model.compile("sgd", "mse", modular_loss=mwt.MwTLoss())
    model.fit(inputs_of(cnn, 6), keras.utils.to_categorical([0, 1, 2, 0, 1, 2]), verbose=0)
    assert snapshot() == before
    assert all((a == b).all() for a, b in zip(weights, cnn.get_weights(), strict=True))
    assert not np.array_equal(model.get_layer("own").bias, cnn.get_layer("own").bias)


def test_training_adds_the_loss_of_the_masks():
    model = with_masks(chain())
    x, y = inputs_of(model, 9), np.arange(9) % 3
    loss = mwt.MwTLoss(0.7, 1.9)
    task = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", task, modular_loss=loss)
    logs = model.evaluate(x, y, batch_size=9, verbose=0, return_dict=True)
    expected = loss.objectives(list(masks_of(model, x).values()), y, 3)
    for name, value in expected.items():
        assert logs[name] == pytest.approx(float(value), rel=1e-4)
    total = logs["task_loss"] + 0.7 * logs["cohesion"] + 1.9 * logs["coupling"]
    assert logs["loss"] == pytest.approx(total, rel=1e-5)
    history = model.fit(x, y, batch_size=9, epochs=15, verbose=0).history
    modular = 0.7 * np.array(history["cohesion"]) + 1.9 * np.array(history["coupling"])
    assert modular[-1] < modular[0]


def test_model_and_loss_come_back_from_a_file(tmp_path):
    model = with_masks(chain())
    x = inputs_of(model, 3)
    task = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", task, modular_loss=mwt.MwTLoss(0.7))
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    code = """
import sys, keras, numpy as np, moda_keras as mk
model = keras.saving.load_model(sys.argv[1] + "/model.keras")
x = np.load(sys.argv[1] + "/x.npy")
print(type(model) is not mk.ModularModel, isinstance(model, mk.methods.mwt.MwTModel))
print(model.get_compile_config()["modular_loss"]["config"]["alpha"])
print([hidden.name for hidden in model.hidden_activations])
np.save(sys.argv[1] + "/y.npy", keras.ops.convert_to_numpy(model(x)))
model.fit(x, np.array([0, 1, 2]), verbose=0)
"""
    shown = run_in_fresh_process(code, tmp_path).splitlines()[-3:]
    assert shown == ["True True", "0.7", "['normed_mask', 'own_mask']"]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), run(model, [x]), rtol=1e-5, atol=1e-6)


class Own(layers.Conv2D):
    def call(self, inputs):
        return super().call(inputs) * 2


class Marking(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.mark = mk.layers.ModularActivation("relu")

    def call(self, inputs):
        return self.mark(inputs)


class HiddenMarking(Marking):
    """Is not seen through."""


keep_whole(HiddenMarking)


def two_convolutions(second):
    image = keras.Input((6, 6, 2))
    x = second(layers.Conv2D(2, 3, padding="same", name="first")(image))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)), name="mine")


def test_model_without_a_convolution_behind_another_is_refused():
    with pytest.raises(ValueError, match=r"at least two convolutions.*'mine'.*\['first'\]"):
        mwt.MwTModel.from_model(two_convolutions(layers.ReLU()))
    inputs = keras.Input((4,))
    dense = keras.Model(inputs, layers.Dense(2)(layers.Dense(3, activation="relu")(inputs)))
    with pytest.raises(ValueError, match=r"at least two convolutions"):
        mwt.MwTModel.from_model(dense)


def test_convolution_with_several_calls_is_refused():
    conv = layers.Conv2D(2, 3, padding="same", name="twice")
    with pytest.raises(ValueError, match=r"called once each.*\['twice'\]"):
        mwt.MwTModel.from_model(two_convolutions(lambda x: conv(conv(x))))


@pytest.mark.filterwarnings("ignore:The modular objectives cannot see")
def test_convolution_with_a_call_of_its_own_is_no_layer_with_kernels():
    own = Own(3, 1, activation="relu", name="own")
    with pytest.raises(ValueError, match=r"with the convolutions \['first'\]"):
        mwt.MwTModel.from_model(two_convolutions(own))


def test_marks_inside_layers_are_refused():
    def second(x):
        return HiddenMarking(name="marking")(layers.Conv2D(3, 1)(x))

    with pytest.raises(ValueError, match=r"marked activations of an MwTModel.*\['marking'\]"):
        mwt.MwTModel.from_model(two_convolutions(second))


def test_layers_of_ones_own_are_seen_through():
    def second(x):
        return Marking(name="marking")(layers.Conv2D(3, 1, name="inner")(x))

    model = mwt.MwTModel.from_model(two_convolutions(second))
    assert [each.name for each in model.hidden_activations] == ["inner_mask"]


def test_several_outputs_are_refused():
    cnn = chain()
    model = keras.Model(cnn.input, [cnn.output, cnn.get_layer("flatten").output])
    with pytest.raises(ValueError, match="one output"):
        mwt.MwTModel.from_model(model)
