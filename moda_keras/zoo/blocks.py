"""The building blocks and the argument checks that all architectures share."""

from numbers import Integral, Real

import keras
from keras import layers


def image_input(input_shape: tuple[int, int, int] | None, minimum_size: int) -> keras.KerasTensor:
    """The input of an image model, its shape checked.

    Args:
        input_shape: Shape of one image, in the order of `keras.config.image_data_format()`.
            `None` means 32x32 with three channels.
        minimum_size: Smallest height and width that the architecture can take.

    Returns:
        A symbolic batch of images.

    Raises:
        ValueError: If the shape is not that of an image, or the image is too small.
    """
    channels_first = keras.config.image_data_format() == "channels_first"
    if input_shape is None:
        input_shape = (3, 32, 32) if channels_first else (32, 32, 3)
    order = "(channels, height, width)" if channels_first else "(height, width, channels)"
    shape = tuple(input_shape) if isinstance(input_shape, (list, tuple)) else ()
    if len(shape) != 3 or not all(isinstance(size, Integral) and size >= 1 for size in shape):
        raise ValueError(
            f"Expected `input_shape` to be the shape of one image, {order}, as three positive "
            f"integers. Received: input_shape={input_shape}"
        )
    height_and_width = shape[1:] if channels_first else shape[:2]
    if min(height_and_width) < minimum_size:
        raise ValueError(
            f"The image is too small for this architecture. Expected `input_shape` {order} with a "
            f"height and a width of at least {minimum_size}. Received: input_shape={input_shape}"
        )
    return keras.Input(shape, name="image")


def resolve_stem(stem: str, image: keras.KerasTensor) -> str:
    """The stem to build: `"cifar"` or `"imagenet"`.

    Args:
        stem: `"cifar"`, `"imagenet"`, or `"auto"`: `"cifar"` for images of up to 64 pixels per
            side, `"imagenet"` for larger ones.
        image: Symbolic batch of images.

    Raises:
        ValueError: If `stem` is not one of these.
    """
    if stem not in ("auto", "cifar", "imagenet"):
        raise ValueError(
            f'Expected `stem` to be one of "auto", "cifar", "imagenet". Received: stem={stem!r}'
        )
    if stem != "auto":
        return stem
    channels_first = keras.config.image_data_format() == "channels_first"
    height_and_width = image.shape[2:] if channels_first else image.shape[1:3]
    return "cifar" if max(height_and_width) <= 64 else "imagenet"


def scaled(units: int, width: float) -> int:
    """A number of channels or units times the width of the network; at least 1.

    Args:
        units: Number at width 1.
        width: Positive float.

    Raises:
        ValueError: If `width` is not a positive number.
    """
    is_number = isinstance(width, Real) and not isinstance(width, bool)
    if not is_number or not 0 < width < float("inf"):
        raise ValueError(f"Expected `width` to be a positive number. Received: width={width!r}")
    return max(1, round(width * units))


def convolution(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    name: str,
    *,
    strides: int = 1,
    padding: str = "same",
    use_bias: bool = True,
) -> keras.KerasTensor:
    """A convolution whose kernel starts from He's normal distribution over the fan-out."""
    return layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=use_bias,
        kernel_initializer=he_normal_fan_out(),
        name=name,
    )(x)


def he_normal_fan_out() -> keras.initializers.Initializer:
    """He's normal distribution over the fan-out (He et al., 2015, eq. 14)."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def batch_norm_relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """BatchNormalization and a ReLU layer, named after the layer they follow."""
    return relu(batch_norm(x, name), name)


def batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """BatchNormalization over the channels, named after the layer it follows."""
    axis = 1 if keras.config.image_data_format() == "channels_first" else -1
    # PyTorch's constants, which the papers used; Keras's default momentum of 0.99 needs more steps
    # than a short training has.
    return layers.BatchNormalization(axis, momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)


def relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """A ReLU layer, named after the layer it follows."""
    return layers.ReLU(name=f"{name}_relu")(x)


def dense_relu(
    x: keras.KerasTensor,
    units: int,
    name: str,
    *,
    dropout: float = 0.0,
    kernel_initializer: keras.initializers.Initializer | None = None,
) -> keras.KerasTensor:
    """A dense layer, a ReLU layer and, if its rate is not zero, dropout.

    The kernel starts from a normal distribution of standard deviation 0.01 by default.
    """
    x = relu(_dense(x, units, name, kernel_initializer), name)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x) if dropout else x


def logits(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """The output layer: one logit per class.

    Raises:
        ValueError: If `classes` is not a positive integer.
    """
    check_classes(classes)
    return _dense(x, classes, "logits")


def check_classes(classes: int) -> None:
    """Raises a ValueError if the number of classes is not a positive integer."""
    if not isinstance(classes, Integral) or classes < 1:
        raise ValueError(
            f"Expected `classes` to be a positive integer. Received: classes={classes}"
        )


def _dense(
    x: keras.KerasTensor,
    units: int,
    name: str,
    kernel_initializer: keras.initializers.Initializer | None = None,
) -> keras.KerasTensor:
    kernel_initializer = kernel_initializer or keras.initializers.RandomNormal(0.0, 0.01)
    return layers.Dense(units, kernel_initializer=kernel_initializer, name=name)(x)
