"""Numbers of channels rounded up to a multiple: the same values, other widths."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import check_slicing, fill_layers, inputs_for, random_units, randomize, run
from small_models import cnn, random_modules

import moda_keras as mk
from moda_keras import zoo


def widths(model, original):
    """Input and output channels of every kernel beside those of the original."""
    kernels = {
        layer.name: tuple(layer.kernel.shape[-2:])
        for layer in original.layers
        if isinstance(layer, (layers.Conv2D, layers.Dense))
    }
    return [(tuple(model.get_layer(n).kernel.shape[-2:]), full) for n, full in kernels.items()]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet"])
def test_widths_are_multiples_or_full(name):
    model = randomize(getattr(zoo, name)())
    sliced = check_slicing(model, random_units(model, 0.4), align=8)
    for received, full in widths(sliced, model)[:-1]:
        for width, most in zip(received, full, strict=True):
            assert width % 8 == 0 or width == most


def test_alignment_never_rounds_down_or_over_the_size():
    inputs = keras.Input((4,))
    x = layers.Dense(10, activation="relu", name="ten")(inputs)
    x = layers.Dense(20, activation="relu", name="twenty")(x)
    model = randomize(keras.Model(inputs, layers.Dense(3, name="logits")(x)))
    units = {"ten": np.arange(10) < 9, "twenty": np.arange(20) < 9}
    sliced = check_slicing(model, units, align=8, classes=[2, 0])
    assert [layer.kernel.shape for layer in sliced.layers[1:]] == [(4, 10), (10, 16), (16, 2)]
    assert fill_layers(sliced) == []


def test_rows_that_read_added_units_are_zero():
    inputs = keras.Input((4,))
    x = layers.Dense(8, activation="relu", name="units")(inputs)
    model = randomize(keras.Model(inputs, layers.Dense(3, name="logits")(x)))
    units = {"units": np.isin(np.arange(8), [1, 6])}
    kernel = (
        check_slicing(model, units, align=4, classes=[0, 1]).get_layer("logits").get_weights()[0]
    )
    assert (kernel != 0).all(axis=1).tolist() == [False, True, False, True]


def test_compose_aligns():
    modules = random_modules(cnn())
    exact, aligned_model = mk.compose(modules, [0, 2]), mk.compose(modules, [0, 2], align=4)
    x = inputs_for(exact)
    np.testing.assert_allclose(run(aligned_model, x), run(exact, x), rtol=1e-4, atol=1e-5)
    assert aligned_model.get_layer("conv2").filters == 4


@pytest.mark.parametrize("align", [0, -8, 2.5, "8"])
def test_alignment_is_a_positive_integer(align):
    with pytest.raises(ValueError, match="`align` to be a positive integer"):
        mk.compose(random_modules(cnn()), [0], align=align)
