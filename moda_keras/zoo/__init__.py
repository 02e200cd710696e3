"""The architectures of the papers, as plain functional Keras models with logits out."""

from moda_keras.zoo.lenet5 import lenet5
from moda_keras.zoo.mobilenet import mobilenet
from moda_keras.zoo.rescnn import rescnn
from moda_keras.zoo.resnet18 import resnet18
from moda_keras.zoo.simcnn import simcnn
from moda_keras.zoo.vgg16 import vgg16

__all__ = ["lenet5", "mobilenet", "rescnn", "resnet18", "simcnn", "vgg16"]
