"""MobileNet, version 1."""

import keras
from keras import layers

from moda_keras.zoo import blocks

# Filters of the pointwise convolution, stride of the depthwise one.
SEPARABLE_CONVOLUTIONS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)


def mobilenet(
    input_shape: tuple[int, int, int] | None = None,
    classes: int = 10,
    *,
    stem: str = "auto",
    name: str = "mobilenet",
) -> keras.Model:
    """MobileNet: thirteen depthwise separable convolutions, and one dense layer.

    At 32x32 with ten classes it has 3,217,226 trainable parameters and 27 hidden activations.

    Args:
        input_shape: Shape of one image, in the order of `keras.config.image_data_format()`.
            Defaults to 32x32 with three channels.
        classes: Number of logits.
        stem: `"cifar"`: a first convolution of stride 1, for images of at least 16x16.
            `"imagenet"`: of stride 2, for images of at least 32x32. `"auto"`: `"cifar"` for images
            of up to 64 pixels per side, `"imagenet"` for larger ones.
        name: Name of the model.

    Returns:
        A functional model from images `(batch, *input_shape)` to logits `(batch, classes)`.

    Raises:
        ValueError: If `input_shape`, `classes` or `stem` is impossible.

    Examples:
        >>> from moda_keras import zoo
        >>> zoo.mobilenet(stem="imagenet").get_layer("stem_conv").strides
        (2, 2)

    Reference:
        Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
        Applications", 2017.
    """
    image = blocks.image_input(input_shape, minimum_size=32 if stem == "imagenet" else 16)
    strides = 2 if blocks.resolve_stem(stem, image) == "imagenet" else 1
    x = blocks.convolution(image, 32, 3, "stem_conv", strides=strides, use_bias=False)
    x = blocks.batch_norm_relu(x, "stem_conv")
    for block, (filters, strides) in enumerate(SEPARABLE_CONVOLUTIONS, start=1):
        x = _depthwise_convolution(x, f"block{block}_depthwise", strides)
        x = blocks.batch_norm_relu(x, f"block{block}_depthwise")
        x = blocks.convolution(x, filters, 1, f"block{block}_pointwise", use_bias=False)
        x = blocks.batch_norm_relu(x, f"block{block}_pointwise")
    x = layers.GlobalAveragePooling2D(name="average_pool")(x)
    return keras.Model(image, blocks.logits(x, classes), name=name)


def _depthwise_convolution(x: keras.KerasTensor, name: str, strides: int) -> keras.KerasTensor:
    return layers.DepthwiseConv2D(
        3,
        strides=strides,
        padding="same",
        use_bias=False,
        depthwise_initializer=blocks.he_normal_fan_out(),
        name=name,
    )(x)
