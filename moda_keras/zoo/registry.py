"""The architectures by name."""

import functools
from collections.abc import Callable

import keras

from moda_keras.zoo.lenet5 import lenet5
from moda_keras.zoo.mobilenet import mobilenet
from moda_keras.zoo.rescnn import rescnn
from moda_keras.zoo.resnet18 import resnet18
from moda_keras.zoo.simcnn import simcnn
from moda_keras.zoo.small import small_cnn, small_vgg
from moda_keras.zoo.vgg16 import vgg16

NETWORKS: dict[str, Callable[..., keras.Model]] = {
    network.__name__: network
    for network in (lenet5, mobilenet, rescnn, resnet18, simcnn, small_cnn, small_vgg, vgg16)
}
# About a sixteenth of the parameters and of the arithmetic, for machines without a GPU, and with
# BatchNormalization, without which short trainings diverge.
for _network, _options in (
    (rescnn, {"batch_norm": True}),
    (resnet18, {}),
    (simcnn, {"batch_norm": True}),
):
    _name = f"quarter_{_network.__name__}"
    NETWORKS[_name] = functools.partial(_network, width=0.25, name=_name, **_options)


def build_network(name: str, input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Builds a network with initial weights.

    Args:
        name: One of `NETWORKS`.
        input_shape: Shape of one image, in the order of `keras.config.image_data_format()`.
        classes: Number of logits.

    Returns:
        A functional model from images `(batch, *input_shape)` to logits `(batch, classes)`.

    Raises:
        ValueError: If the name is unknown.
    """
    check_network(name)
    return NETWORKS[name](input_shape=input_shape, classes=classes)


def check_network(name: str) -> None:
    """Raises a ValueError if no network has this name.

    Args:
        name: A name.
    """
    if name not in NETWORKS:
        raise ValueError(f"Unknown network. Expected one of {list(NETWORKS)}. Received: {name!r}")
