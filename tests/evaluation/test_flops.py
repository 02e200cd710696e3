import keras
import pytest
from keras import layers
from small_models import BACKEND, cnn

import moda_keras as mk
from moda_keras import zoo
from moda_keras.evaluation import count_flops, flops_by_layer
from moda_keras.graph import keep_whole


def model_of(layer, shape):
    # Weights do not matter; on JAX every random shape is compiled.
    for key in [key for key in vars(layer) if key.endswith("kernel_initializer")]:
        setattr(layer, key, keras.initializers.Zeros())
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (layers.Dense(5), (7,), 7 * 5),
        (layers.Dense(5, use_bias=False), (3, 7), 3 * 7 * 5),
        (layers.Conv2D(4, 3), (8, 9, 2), (6 * 7) * (3 * 3 * 2) * 4),
        (layers.Conv2D(4, 3, padding="same"), (8, 9, 2), (8 * 9) * (3 * 3 * 2) * 4),
        (layers.Conv2D(4, (3, 2), strides=2), (9, 8, 2), (4 * 4) * (3 * 2 * 2) * 4),
        (layers.Conv2D(4, 3, strides=3, padding="same"), (8, 8, 2), (3 * 3) * (3 * 3 * 2) * 4),
        (layers.Conv2D(4, 3, dilation_rate=2), (8, 8, 2), (4 * 4) * (3 * 3 * 2) * 4),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 4), (6 * 6) * (3 * 3) * 4 * 2),
        (
            layers.SeparableConv2D(5, 3, strides=2, padding="same"),
            (8, 8, 4),
            (4 * 4) * (3 * 3 * 4 + 4 * 5),
        ),
        (layers.Conv2DTranspose(3, 2, strides=2), (4, 5, 6), (4 * 5) * (2 * 2 * 6) * 3),
        (layers.Conv1D(4, 3, strides=2), (9, 2), 4 * (3 * 2) * 4),
        (layers.SimpleRNN(4), (5, 3), 5 * (3 * 4 + 4 * 4)),
        (layers.GRU(4), (5, 3), 5 * 3 * (3 * 4 + 4 * 4)),
        (layers.Embedding(10, 4), (5,), 0),
        (layers.BatchNormalization(), (5, 5, 2), 0),
        (layers.MaxPooling2D(), (6, 6, 2), 0),
    ],
)
def test_formula(layer, shape, expected):
    assert count_flops(model_of(layer, shape)) == expected


def test_projections_of_attention():
    inputs = keras.Input((6, 5))
    attention = layers.MultiHeadAttention(4, 3, value_dim=2, output_shape=7, name="mha")
    counts = flops_by_layer(keras.Model(inputs, attention(inputs, inputs)))
    assert counts == {
        "mha_query": 6 * 5 * 4 * 3,
        "mha_key": 6 * 5 * 4 * 3,
        "mha_value": 6 * 5 * 4 * 2,
        "mha_output": 6 * 4 * 2 * 7,
    }


def test_both_directions_of_a_recurrent_layer():
    layer = layers.Bidirectional(layers.SimpleRNN(4), name="both")
    assert count_flops(model_of(layer, (5, 3))) == 2 * 5 * (3 * 4 + 4 * 4)


def test_grouped_convolution():
    layer = layers.Conv2D(6, 3, groups=2)
    layer_flops = (6 * 6) * (3 * 3 * 2) * 6  # each of the 6 filters reads 2 of the 4 channels
    assert count_flops(model_of(layer, (8, 8, 4))) == layer_flops


def test_channels_first():
    layer = layers.Conv2D(4, 3, data_format="channels_first", padding="same")
    expected = (8 * 9) * (3 * 3 * 2) * 4
    try:
        model = model_of(layer, (2, 8, 9))
    except Exception as error:
        pytest.skip(f"the backend makes no such layer here: {error}")
    assert count_flops(model) == expected


def test_layer_by_layer():
    expected = {
        "conv1": (4 * 4) * (3 * 3 * 2) * 5,
        "conv2": (3 * 3) * (2 * 2 * 5) * 4,
        "fc": (3 * 3 * 4) * 7,
        "logits": 7 * 4,
    }
    assert flops_by_layer(cnn()) == expected
    assert list(flops_by_layer(cnn())) == list(expected)
    assert count_flops(cnn()) == sum(expected.values())


def test_layer_that_is_called_twice_counts_twice():
    shared = layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    assert flops_by_layer(keras.Model(inputs, shared(shared(inputs)))) == {"shared": 2 * 16}


def test_nested_models():
    block = keras.Sequential([keras.Input((4,)), layers.Dense(6), layers.Dense(5)])
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(block(inputs)))
    assert count_flops(model) == 4 * 6 + 6 * 5 + 5 * 3


def test_equal_names_in_nested_models_stay_apart_in_the_sum():
    blocks = [
        keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense")]) for _ in range(2)
    ]
    inputs = keras.Input((4,))
    assert count_flops(keras.Model(inputs, blocks[1](blocks[0](inputs)))) == 2 * 16


@pytest.mark.skipif(BACKEND == "jax", reason="JAX takes a minute to draw VGG16's weights")
def test_vgg16_counts_as_the_papers_do():
    flops = flops_by_layer(zoo.vgg16())
    convolutions = sum(n for name, n in flops.items() if "conv" in name)
    dense = sum(n for name, n in flops.items() if "conv" not in name)
    assert convolutions == pytest.approx(313.2e6, rel=1e-3)
    assert dense == 512 * 4096 + 4096 * 4096 + 4096 * 10
    assert dense == pytest.approx(18.9e6, rel=2e-3)


def test_composed_model_counts_less():
    model = cnn()
    units = {
        h.name: [[i < 2 for i in range(h.units)]] * 4 for h in mk.find_hidden_activations(model)
    }
    composed = mk.compose(mk.ModuleSet.from_units(model, units), [0, 3])
    expected = 16 * 18 * 2 + 9 * (4 * 2) * 2 + (9 * 2) * 2 + 2 * 2
    assert count_flops(composed) == expected


def test_unknown_input_size():
    model = model_of(layers.Conv2D(4, 3), (None, None, 3))
    with pytest.raises(ValueError, match="input shape is fixed"):
        count_flops(model)


def test_unknown_layer_counts_as_dense_with_a_warning():
    class Projection(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 3))

        def call(self, inputs):
            return inputs @ self.kernel

    keep_whole(Projection)
    with pytest.warns(UserWarning, match="Projection"):
        assert count_flops(model_of(Projection(), (5,))) == 15
