"""The papers' architectures and two small ones: functional Keras models that return logits."""

from moda_keras.zoo.lenet5 import lenet5
from moda_keras.zoo.mobilenet import mobilenet
from moda_keras.zoo.rescnn import rescnn
from moda_keras.zoo.resnet18 import resnet18
from moda_keras.zoo.simcnn import simcnn
from moda_keras.zoo.small import small_cnn, small_vgg
from moda_keras.zoo.vgg16 import vgg16

__all__ = [
    "lenet5",
    "mobilenet",
    "rescnn",
    "resnet18",
    "simcnn",
    "small_cnn",
    "small_vgg",
    "vgg16",
]
