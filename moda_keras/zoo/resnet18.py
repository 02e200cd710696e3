"""ResNet18."""

import keras
from keras import layers

from moda_keras.zoo import blocks


def resnet18(
    input_shape: tuple[int, int, int] | None = None,
    classes: int = 10,
    *,
    stem: str = "auto",
    width: float = 1.0,
    name: str = "resnet18",
) -> keras.Model:
    """ResNet18: four stages of two residual blocks, and one dense layer.

    At 32x32 with ten classes it has 11,173,962 trainable parameters and 17 hidden activations;
    with `width=0.25`, 701,466 parameters.

    Args:
        input_shape: Shape of one image, in the order of `keras.config.image_data_format()`.
            Defaults to 32x32 with three channels.
        classes: Number of logits.
        stem: `"cifar"`: a 3x3 convolution, for images of at least 8x8. `"imagenet"`: a 7x7
            convolution of stride 2 and max pooling, for images of at least 32x32. `"auto"`:
            `"cifar"` for images of up to 64 pixels per side, `"imagenet"` for larger ones.
        width: Factor of the numbers of channels; 1.0 is the papers' network.
        name: Name of the model.

    Returns:
        A functional model from images `(batch, *input_shape)` to logits `(batch, classes)`.

    Raises:
        ValueError: If `input_shape`, `classes`, `stem` or `width` is impossible.

    Examples:
        >>> from moda_keras import zoo
        >>> zoo.resnet18((224, 224, 3), classes=100).get_layer("stem_conv").kernel_size
        (7, 7)

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """
    image = blocks.image_input(input_shape, minimum_size=32 if stem == "imagenet" else 8)
    first = blocks.scaled(64, width)
    if blocks.resolve_stem(stem, image) == "imagenet":
        x = _convolution_batch_norm_relu(image, first, "stem_conv", kernel_size=7, strides=2)
        x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    else:
        x = _convolution_batch_norm_relu(image, first, "stem_conv")
    for stage, filters in enumerate([64, 128, 256, 512], start=1):
        filters = blocks.scaled(filters, width)
        x = _residual_block(x, filters, f"stage{stage}_block1", strides=1 if stage == 1 else 2)
        x = _residual_block(x, filters, f"stage{stage}_block2")
    x = layers.GlobalAveragePooling2D(name="average_pool")(x)
    return keras.Model(image, blocks.logits(x, classes), name=name)


def _residual_block(
    x: keras.KerasTensor, filters: int, name: str, *, strides: int = 1
) -> keras.KerasTensor:
    shortcut = x
    if strides != 1:
        projection = f"{name}_shortcut"
        shortcut = blocks.convolution(x, filters, 1, projection, strides=strides, use_bias=False)
        shortcut = blocks.batch_norm(shortcut, projection)
    x = _convolution_batch_norm_relu(x, filters, f"{name}_conv1", strides=strides)
    x = blocks.convolution(x, filters, 3, f"{name}_conv2", use_bias=False)
    x = blocks.batch_norm(x, f"{name}_conv2")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return blocks.relu(x, name)


def _convolution_batch_norm_relu(
    x: keras.KerasTensor, filters: int, name: str, *, kernel_size: int = 3, strides: int = 1
) -> keras.KerasTensor:
    x = blocks.convolution(x, filters, kernel_size, name, strides=strides, use_bias=False)
    return blocks.batch_norm_relu(x, name)
