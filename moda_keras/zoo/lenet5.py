"""LeNet5."""

import keras
from keras import layers

from moda_keras.zoo import blocks


def lenet5(
    input_shape: tuple[int, int, int] | None = None,
    classes: int = 10,
    *,
    name: str = "lenet5",
) -> keras.Model:
    """LeNet5 with ReLU and max pooling: two 5x5 convolutions and three dense layers.

    At 32x32 with ten classes it has 62,006 trainable parameters and four hidden activations.

    Args:
        input_shape: Shape of one image, in the order of `keras.config.image_data_format()`, at
            least 16x16. Defaults to 32x32 with three channels.
        classes: Number of logits.
        name: Name of the model.

    Returns:
        A functional model from images `(batch, *input_shape)` to logits `(batch, classes)`.

    Raises:
        ValueError: If `input_shape` or `classes` is impossible.

    Examples:
        >>> from moda_keras import zoo
        >>> zoo.lenet5().count_params()
        62006

    Reference:
        LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of
        the IEEE, 1998.
    """
    image = blocks.image_input(input_shape, minimum_size=16)
    x = image
    # Keras's initial weights. Without BatchNormalization, the smaller ones of the other networks
    # leave the dense layers with next to no signal: training starts late or never.
    for index, filters in enumerate([6, 16], start=1):
        x = layers.Conv2D(filters, 5, name=f"conv{index}")(x)
        x = blocks.relu(x, f"conv{index}")
        x = layers.MaxPooling2D(2, name=f"conv{index}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for units, dense in ((120, "fc1"), (84, "fc2")):
        x = blocks.relu(layers.Dense(units, name=dense)(x), dense)
    blocks.check_classes(classes)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name=name)
