"""SimCNN."""

import keras
from keras import layers

from moda_keras.zoo import blocks
from moda_keras.zoo.vgg16 import vgg16_convolutions


def simcnn(
    input_shape: tuple[int, int, int] | None = None,
    classes: int = 10,
    *,
    width: float = 1.0,
    batch_norm: bool = False,
    dropout: float = 0.0,
    name: str = "simcnn",
) -> keras.Model:
    """SimCNN: VGG16's convolutions, and dense layers of 512 units.

    At 32x32 with ten classes it has 15,245,130 trainable parameters and 15 hidden activations;
    with `width=0.25`, 955,098 parameters.

    Args:
        input_shape: Shape of one image, in the order of `keras.config.image_data_format()`, at
            least 32x32. Defaults to 32x32 with three channels.
        classes: Number of logits.
        width: Factor of the numbers of channels and hidden units; 1.0 is the papers' network.
        batch_norm: Whether BatchNormalization follows every convolution, as in the networks that
            MwT trains. Without it, short trainings with large steps diverge.
        dropout: Fraction of the hidden dense layers' units dropped in training.
        name: Name of the model.

    Returns:
        A functional model from images `(batch, *input_shape)` to logits `(batch, classes)`.

    Raises:
        ValueError: If `input_shape`, `classes` or `width` is impossible.

    Examples:
        >>> from moda_keras import zoo
        >>> zoo.simcnn().count_params()
        15245130

    Reference:
        Qi et al., "Patching Weak Convolutional Neural Network Models through Modularization and
        Composition" (CNNSplitter), ASE 2022.
    """
    image = blocks.image_input(input_shape, minimum_size=32)
    x = vgg16_convolutions(image, use_batch_norm=batch_norm, width=width)
    x = layers.Flatten(name="flatten")(x)
    units = blocks.scaled(512, width)
    for dense in ("fc1", "fc2"):
        # As in LeNet5: without BatchNormalization, smaller weights leave next to no signal.
        he_normal = keras.initializers.HeNormal()
        x = blocks.dense_relu(x, units, dense, dropout=dropout, kernel_initializer=he_normal)
    return keras.Model(image, blocks.logits(x, classes), name=name)
