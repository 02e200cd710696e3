"""The counts are the papers' and, at 224x224 with 1,000 classes, the ImageNet models' own."""

from itertools import pairwise

import keras
import numpy as np
import pytest

import moda_keras as mk
from moda_keras import zoo

ARCHITECTURES = [
    zoo.vgg16,
    zoo.resnet18,
    zoo.mobilenet,
    zoo.lenet5,
    zoo.simcnn,
    zoo.rescnn,
    zoo.small_vgg,
    zoo.small_cnn,
]
BATCH_NORMALIZED = [zoo.vgg16, zoo.resnet18, zoo.mobilenet]


structure = pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="layers and shapes are the same on every backend, and drawing weights takes long",
)


@pytest.fixture
def channels_first():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


def trainable_parameters(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def layers_of(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def vgg16_parameters(flattened, dense_units, classes):
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    total = 0
    for inputs, outputs in pairwise(widths):
        total += 9 * inputs * outputs + outputs + 2 * outputs
    for inputs, outputs in [(flattened, dense_units), (dense_units, dense_units)]:
        total += inputs * outputs + outputs
    return total + dense_units * classes + classes


@pytest.mark.parametrize(
    ("architecture", "parameters", "hidden_activations"),
    [
        (zoo.vgg16, 33_646_666, 15),
        (zoo.resnet18, 11_173_962, 17),
        (zoo.mobilenet, 3_217_226, 27),
        (zoo.lenet5, 62_006, 4),
        (zoo.simcnn, 15_245_130, 15),
        (zoo.rescnn, 16_010_122, 12),
        (zoo.small_vgg, 815_018, 7),
        (zoo.small_cnn, 549_514, 4),
    ],
)
def test_papers_form_on_small_images(architecture, parameters, hidden_activations):
    model = architecture()

    assert trainable_parameters(model) == parameters
    assert len(mk.find_hidden_activations(model)) == hidden_activations
    assert model.input_shape == (None, 32, 32, 3)
    assert model.output_shape == (None, 10)
    assert model.name == architecture.__name__


@pytest.mark.parametrize(
    ("options", "parameters"),
    [({"classes": 100}, 34_015_396), ({"dense_units": 512}, 15_253_578)],
)
@structure
def test_vgg16_options_change_the_dense_layers(options, parameters):
    assert trainable_parameters(zoo.vgg16(**options)) == parameters


@pytest.mark.parametrize(
    ("architecture", "parameters", "widest"),
    [
        (zoo.simcnn, 955_098, 128),
        (zoo.rescnn, 1_002_730, 128),
        (zoo.resnet18, 701_466, 128),
    ],
)
@structure
def test_width_scales_every_layer_but_the_logits(architecture, parameters, widest):
    model, whole = architecture(width=0.25), architecture()
    assert trainable_parameters(model) == parameters
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    units = [layer.kernel.shape[-1] for layer in layers_of(model, kinds)]
    assert max(units) == widest and units[-1] == 10
    assert units[:-1] == [layer.kernel.shape[-1] // 4 for layer in layers_of(whole, kinds)[:-1]]
    by_name = mk.experiments.build_network(f"quarter_{architecture.__name__}", (32, 32, 3), 10)
    assert by_name.name == f"quarter_{architecture.__name__}"
    kernels = [[w.shape for w in m.weights if w.name == "kernel"] for m in (by_name, model)]
    assert kernels[0] == kernels[1]
    assert layers_of(by_name, keras.layers.BatchNormalization)


@structure
@pytest.mark.parametrize("architecture", [zoo.simcnn, zoo.rescnn])
def test_batch_norm_follows_every_convolution(architecture):
    with_norm, without = architecture(width=0.25, batch_norm=True), architecture(width=0.25)
    convolutions = layers_of(with_norm, keras.layers.Conv2D)
    norms = layers_of(with_norm, keras.layers.BatchNormalization)
    assert [norm.input for norm in norms] == [each.output for each in convolutions]
    assert not layers_of(without, keras.layers.BatchNormalization)


@structure
def test_narrowest_width_keeps_a_channel():
    model = zoo.resnet18((8, 8, 1), width=0.001)
    assert {layer.kernel.shape[-1] for layer in layers_of(model, keras.layers.Conv2D)} == {1}


@pytest.mark.parametrize("width", [0, -1, "wide", None, True, float("inf"), float("nan")])
@pytest.mark.parametrize("architecture", [zoo.simcnn, zoo.rescnn, zoo.resnet18])
@structure
def test_impossible_width_is_refused(architecture, width):
    with pytest.raises(ValueError, match="`width` to be a positive number"):
        architecture(width=width)


@structure
def test_vgg16_has_the_same_topology_at_imagenet_size():
    model = zoo.vgg16((224, 224, 3), classes=100, dense_units=8)

    assert model.get_layer("fc1").kernel.shape == (7 * 7 * 512, 8)
    assert trainable_parameters(model) == vgg16_parameters(7 * 7 * 512, 8, 100)
    assert vgg16_parameters(7 * 7 * 512, 4096, 100) == 134_678_692


@structure
def test_vgg16_multiply_accumulates_are_the_papers():
    model = zoo.vgg16()
    convolutions = sum(
        int(np.prod(layer.kernel.shape)) * layer.output.shape[1] * layer.output.shape[2]
        for layer in layers_of(model, keras.layers.Conv2D)
    )
    dense = sum(int(np.prod(layer.kernel.shape)) for layer in layers_of(model, keras.layers.Dense))

    assert round(convolutions / 1e6, 1) == 313.2
    assert round(dense / 1e6, 1) == 18.9


@pytest.mark.parametrize(
    ("architecture", "parameters", "last_map"),
    [(zoo.resnet18, 11_689_512, (7, 7, 512)), (zoo.mobilenet, 4_231_976, (7, 7, 1024))],
)
@structure
def test_imagenet_form_on_large_images(architecture, parameters, last_map):
    model = architecture((224, 224, 3), classes=1000)

    assert trainable_parameters(model) == parameters
    assert model.get_layer("average_pool").input.shape[1:] == last_map


@pytest.mark.parametrize("architecture", [zoo.resnet18, zoo.mobilenet])
@structure
def test_stem_follows_the_image_size_unless_it_is_named(architecture):
    def stem_stride(size, **options):
        return architecture((size, size, 3), **options).get_layer("stem_conv").strides[0]

    assert stem_stride(64) == 1
    assert stem_stride(65) == 2
    assert stem_stride(32, stem="imagenet") == 2
    assert stem_stride(96, stem="cifar") == 1


@pytest.mark.parametrize("architecture", BATCH_NORMALIZED)
@structure
def test_relu_layers_stand_behind_batch_normalization_or_an_addition(architecture):
    model = architecture()
    before = layers_of(model, (keras.layers.BatchNormalization, keras.layers.Add))
    expected = {id(layer.output) for layer in before}

    for relu in layers_of(model, keras.layers.ReLU):
        assert relu.name in ("fc1_relu", "fc2_relu") or id(relu.input) in expected


@structure
def test_rescnn_adds_what_entered_two_convolutions_earlier():
    model = zoo.rescnn((32, 32, 3))
    image = np.random.default_rng(0).random((1, 32, 32, 3), dtype="float32")
    names = ["conv2_pool", "conv4_relu", "conv4_add"]
    probe = keras.Model(model.input, [model.get_layer(name).output for name in names])

    shortcut, activation, total = (
        keras.ops.convert_to_numpy(x) for x in probe(image, training=False)
    )

    np.testing.assert_allclose(total, shortcut + activation, rtol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@structure
def test_channels_first_changes_only_the_order_of_axes(architecture, channels_first):
    model = architecture(classes=4)

    assert model.input_shape == (None, 3, 32, 32)
    assert model.output_shape == (None, 4)
    for layer in layers_of(model, keras.layers.BatchNormalization):
        assert layer.gamma.shape[0] == layer.input.shape[1]


def test_initial_weights_are_the_papers():
    model = zoo.vgg16(dense_units=512)
    kernel = keras.ops.convert_to_numpy(model.get_layer("block4_conv2").kernel)
    dense = keras.ops.convert_to_numpy(model.get_layer("fc1").kernel)
    bias = keras.ops.convert_to_numpy(model.get_layer("block4_conv2").bias)

    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 512)), rel=0.01)
    assert dense.std() == pytest.approx(0.01, rel=0.01)
    assert not bias.any()


@structure
def test_dense_layers_without_batch_normalization_start_with_a_signal():
    model = zoo.simcnn(width=0.25)
    first, second = (model.get_layer(name).kernel for name in ("fc1", "fc2"))
    for kernel in (first, second):
        found = keras.ops.convert_to_numpy(kernel)
        assert found.std() == pytest.approx(np.sqrt(2 / 128), rel=0.05)
    assert not np.array_equal(*map(keras.ops.convert_to_numpy, (first, second)))


def test_config_round_trip_keeps_names_and_outputs():
    model = zoo.lenet5(name="weak")
    image = np.random.default_rng(0).random((2, 32, 32, 3), dtype="float32")

    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())

    assert copy.name == "weak"
    np.testing.assert_allclose(
        copy.predict(image, verbose=0), model.predict(image, verbose=0), rtol=1e-6
    )


@structure
def test_dropout_is_absent_unless_asked_for():
    assert not layers_of(zoo.simcnn(), keras.layers.Dropout)
    dropouts = layers_of(zoo.simcnn(dropout=0.5), keras.layers.Dropout)
    assert [layer.name for layer in dropouts] == ["fc1_dropout", "fc2_dropout"]
    assert [layer.rate for layer in dropouts] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        (zoo.vgg16, 32),
        (zoo.resnet18, 8),
        (zoo.mobilenet, 16),
        (zoo.lenet5, 16),
        (zoo.simcnn, 32),
        (zoo.rescnn, 32),
        (zoo.small_vgg, 8),
        (zoo.small_cnn, 8),
    ],
)
@structure
def test_smallest_image_builds_and_a_smaller_one_is_refused(architecture, size):
    assert architecture((size, size, 1)).output_shape == (None, 10)
    with pytest.raises(ValueError, match=f"at least {size}"):
        architecture((size, size - 1, 1))


@pytest.mark.parametrize("input_shape", [(32, 32), (32, 32, 3, 1), (None, 32, 3), (32, 32, 0), 32])
def test_shape_that_is_not_an_image_is_refused(input_shape):
    with pytest.raises(ValueError, match=r"\(height, width, channels\).*Received: input_shape="):
        zoo.lenet5(input_shape)


@pytest.mark.parametrize("classes", [0, -1, 2.5])
@pytest.mark.parametrize("architecture", [zoo.lenet5, zoo.small_cnn])
def test_impossible_number_of_classes_is_refused(architecture, classes):
    with pytest.raises(ValueError, match="Expected `classes` to be a positive integer"):
        architecture(classes=classes)


def test_unknown_stem_is_refused():
    with pytest.raises(ValueError, match="Expected `stem` to be one of"):
        zoo.resnet18(stem="large")


def test_networks_by_name():
    model = mk.experiments.build_network("small_cnn", (8, 8, 1), 3)
    assert model.name == "small_cnn" and model.output_shape == (None, 3)
    quarters = {"quarter_rescnn", "quarter_resnet18", "quarter_simcnn"}
    names = {each.__name__ for each in ARCHITECTURES}
    assert names | quarters == set(mk.experiments.NETWORKS)
    with pytest.raises(ValueError, match=r"Unknown network. Expected one of .*'vgg99'"):
        mk.experiments.build_network("vgg99", (8, 8, 1), 3)
