"""Class-wise magnitude pruning, a baseline: the units that are large for a class."""

from moda_keras.methods.magnitude.magnitude import Magnitude

__all__ = ["Magnitude"]
