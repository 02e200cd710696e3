"""NeMo: modular training at the level of neurons, by a contrastive loss on the units' masks."""

from moda_keras.methods.nemo.contrast import contrast
from moda_keras.methods.nemo.nemo_loss import NeMoLoss
from moda_keras.methods.nemo.nemo_model import NeMoModel
from moda_keras.methods.nemo.without_generators import without_generators

__all__ = ["NeMoLoss", "NeMoModel", "contrast", "without_generators"]
