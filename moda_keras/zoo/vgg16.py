"""VGG16 with BatchNormalization."""

import keras
from keras import layers

from moda_keras.zoo import blocks


def vgg16(
    input_shape: tuple[int, int, int] | None = None,
    classes: int = 10,
    *,
    dense_units: int = 4096,
    dropout: float = 0.0,
    name: str = "vgg16",
) -> keras.Model:
    """VGG16: thirteen 3x3 convolutions with BatchNormalization and three dense layers.

    The topology is the same at every image size. At 32x32 with ten classes it has 33,646,666
    trainable parameters (15,253,578 with `dense_units=512`, the form of the MwT paper); at 224x224
    with 100 classes, 134,678,692. It has 15 hidden activations.

    Args:
        input_shape: Shape of one image, in the order of `keras.config.image_data_format()`, at
            least 32x32. Defaults to 32x32 with three channels.
        classes: Number of logits.
        dense_units: Units of each of the two hidden dense layers.
        dropout: Fraction of the hidden dense layers' units dropped in training.
        name: Name of the model.

    Returns:
        A functional model from images `(batch, *input_shape)` to logits `(batch, classes)`.

    Raises:
        ValueError: If `input_shape` or `classes` is impossible.

    Examples:
        >>> from moda_keras import zoo
        >>> zoo.vgg16(dense_units=512).count_params()
        15262026

    Reference:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", ICLR 2015.
    """
    image = blocks.image_input(input_shape, minimum_size=32)
    x = vgg16_convolutions(image, use_batch_norm=True)
    x = layers.Flatten(name="flatten")(x)
    x = blocks.dense_relu(x, dense_units, "fc1", dropout=dropout)
    x = blocks.dense_relu(x, dense_units, "fc2", dropout=dropout)
    return keras.Model(image, blocks.logits(x, classes), name=name)


def vgg16_convolutions(
    x: keras.KerasTensor, *, use_batch_norm: bool, width: float = 1.0
) -> keras.KerasTensor:
    """VGG16's five blocks of 3x3 convolutions, each block ending in 2x2 max pooling.

    Args:
        x: Symbolic batch of images.
        use_batch_norm: Whether BatchNormalization stands between a convolution and its ReLU.
        width: Factor of the numbers of channels.

    Returns:
        A symbolic batch of maps with `512 * width` channels, a 32nd of the height and width of `x`.
    """
    activate = blocks.batch_norm_relu if use_batch_norm else blocks.relu
    for block, (filters, depth) in enumerate(
        [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], start=1
    ):
        for index in range(1, depth + 1):
            name = f"block{block}_conv{index}"
            x = activate(blocks.convolution(x, blocks.scaled(filters, width), 3, name), name)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return x
