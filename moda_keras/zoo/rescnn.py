"""ResCNN."""

import keras
from keras import layers

from moda_keras.zoo import blocks

FILTERS = (64, 128, 128, 128, 256, 512, 512, 512, 512, 512, 512, 512)
POOLED_CONVOLUTIONS = (2, 5, 6, 9, 10)
RESIDUAL_CONVOLUTIONS = (4, 8, 12)


def rescnn(
    input_shape: tuple[int, int, int] | None = None,
    classes: int = 10,
    *,
    width: float = 1.0,
    batch_norm: bool = False,
    dropout: float = 0.0,
    name: str = "rescnn",
) -> keras.Model:
    """ResCNN: twelve 3x3 convolutions with three residual additions, and one dense layer.

    At 32x32 with ten classes it has 16,010,122 trainable parameters and 12 hidden activations;
    with `width=0.25`, 1,002,730 parameters.
    After the ReLU of the fourth, eighth and twelfth convolution, a shortcut adds the input of the
    last two convolutions. Five poolings reduce 32x32 to 1x1.

    The papers give twelve convolutions of 64 to 512 channels, three additions and the parameter
    count. These widths, with biases, a single dense layer and no convolution on the shortcuts,
    match that count; other widths might too. The positions of the poolings and of the additions
    do not change the count; they are this library's choice.

    Args:
        input_shape: Shape of one image, in the order of `keras.config.image_data_format()`, at
            least 32x32. Defaults to 32x32 with three channels.
        classes: Number of logits.
        width: Factor of the numbers of channels; 1.0 is the papers' network.
        batch_norm: Whether BatchNormalization follows every convolution, as in the networks that
            MwT trains. Without it, short trainings with large steps diverge.
        dropout: Fraction of the flattened features dropped in training.
        name: Name of the model.

    Returns:
        A functional model from images `(batch, *input_shape)` to logits `(batch, classes)`.

    Raises:
        ValueError: If `input_shape`, `classes` or `width` is impossible.

    Examples:
        >>> from moda_keras import zoo
        >>> zoo.rescnn().count_params()
        16010122

    Reference:
        Qi et al., "Patching Weak Convolutional Neural Network Models through Modularization and
        Composition" (CNNSplitter), ASE 2022.
    """
    image = blocks.image_input(input_shape, minimum_size=32)
    x = shortcut = image
    for index, filters in enumerate(FILTERS, start=1):
        if index + 1 in RESIDUAL_CONVOLUTIONS:
            shortcut = x
        filters = blocks.scaled(filters, width)
        activate = blocks.batch_norm_relu if batch_norm else blocks.relu
        x = activate(blocks.convolution(x, filters, 3, f"conv{index}"), f"conv{index}")
        if index in RESIDUAL_CONVOLUTIONS:
            x = layers.Add(name=f"conv{index}_add")([x, shortcut])
        if index in POOLED_CONVOLUTIONS:
            x = layers.MaxPooling2D(2, name=f"conv{index}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(image, blocks.logits(x, classes), name=name)
