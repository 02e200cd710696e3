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

    Example:
        >>> from moda_keras import zoo
        >>> zoo.lenet5().count_params()
        62006

    Reference:
        LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of
        the IEEE, 1998.
    """
    image = blocks.image_input(input_shape, minimum_size=16)
    x = image
    for index, filters in enumerate([6, 16], start=1):
        convolved = blocks.convolution(x, filters, 5, f"conv{index}", padding="valid")
        x = blocks.relu(convolved, f"conv{index}")
        x = layers.MaxPooling2D(2, name=f"conv{index}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = blocks.dense_relu(x, 120, "fc1")
    x = blocks.dense_relu(x, 84, "fc2")
    return keras.Model(image, blocks.logits(x, classes), name=name)
