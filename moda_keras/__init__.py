"""Modular neural networks for Keras 3, on TensorFlow, PyTorch and JAX.

Train a model for modularity with `ModularModel` and `MODALoss`, `decompose` it into one module per
class, `compose` any classes into a slim plain Keras model, `replace` a weak model's class.
"""

from moda_keras import datasets, layers, ops
from moda_keras.graph import HiddenActivation, find_hidden_activations
from moda_keras.losses import MODALoss
from moda_keras.modular_model import ModularModel

__version__ = "0.1.0"

__all__ = [
    "HiddenActivation",
    "MODALoss",
    "ModularModel",
    "datasets",
    "find_hidden_activations",
    "layers",
    "ops",
]
