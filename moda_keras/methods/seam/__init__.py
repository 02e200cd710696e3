"""SeaM (ICSE 2023): the units of a trained model that a target task needs, by gradient."""

from moda_keras.methods.seam.loss import reengineering_loss
from moda_keras.methods.seam.seam import SeaM

__all__ = ["SeaM", "reengineering_loss"]
