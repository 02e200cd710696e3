"""Small VGG-like networks, for small images and machines without a GPU."""

import keras
from keras import layers

from moda_keras.zoo import blocks


def small_vgg(
    input_shape: tuple[int, int, int] | None = None,
    classes: int = 10,
    *,
    name: str = "small_vgg",
) -> keras.Model:
    """Three blocks of two 3x3 convolutions (32, 64, 128 channels) and a dense layer of 256 units.

    Every convolution has BatchNormalization, every block ends in 2x2 max pooling. At 32x32 with
    ten classes it has 815,018 trainable parameters and seven hidden activations.

    Args:
        input_shape: Shape of one image, in the order of `keras.config.image_data_format()`, at
            least 8x8. Defaults to 32x32 with three channels.
        classes: Number of logits.
        name: Name of the model.

    Returns:
        A functional model from images `(batch, *input_shape)` to logits `(batch, classes)`.

    Raises:
        ValueError: If `input_shape` or `classes` is impossible.

    Examples:
        >>> from moda_keras import zoo
        >>> zoo.small_vgg().count_params()
        815914
    """
    return _network(input_shape, classes, [(32, 2), (64, 2), (128, 2)], 256, name)


def small_cnn(
    input_shape: tuple[int, int, int] | None = None,
    classes: int = 10,
    *,
    name: str = "small_cnn",
) -> keras.Model:
    """Three 3x3 convolutions (16, 32, 64 channels) and a dense layer of 128 units.

    Every convolution has BatchNormalization; 2x2 max pooling follows the first two. At 32x32 with
    ten classes it has 549,514 trainable parameters and four hidden activations.

    Args:
        input_shape: Shape of one image, in the order of `keras.config.image_data_format()`, at
            least 8x8. Defaults to 32x32 with three channels.
        classes: Number of logits.
        name: Name of the model.

    Returns:
        A functional model from images `(batch, *input_shape)` to logits `(batch, classes)`.

    Raises:
        ValueError: If `input_shape` or `classes` is impossible.

    Examples:
        >>> from moda_keras import zoo
        >>> zoo.small_cnn((16, 16, 1)).count_params()
        156234
    """
    return _network(input_shape, classes, [(16, 1), (32, 1), (64, 1)], 128, name)


def _network(
    input_shape: tuple[int, int, int] | None,
    classes: int,
    convolutions: list[tuple[int, int]],
    dense_units: int,
    name: str,
) -> keras.Model:
    """Blocks of (channels, depth); a last block of a single convolution has no pooling."""
    image = x = blocks.image_input(input_shape, minimum_size=8)
    blocks.check_classes(classes)
    axis = 1 if keras.config.image_data_format() == "channels_first" else -1
    # Keras's default initializers and momentum, with which docs/results.md was measured.
    for block, (filters, depth) in enumerate(convolutions, start=1):
        for index in range(1, depth + 1):
            layer = f"block{block}_conv{index}"
            x = layers.Conv2D(filters, 3, padding="same", name=layer)(x)
            x = blocks.relu(layers.BatchNormalization(axis, name=f"{layer}_bn")(x), layer)
        if depth > 1 or block < len(convolutions):
            x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(dense_units, activation="relu", name="fc1")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name=name)
