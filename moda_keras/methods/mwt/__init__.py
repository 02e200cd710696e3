"""MwT, modularizing while training (ICSE 2024): masks of convolution kernels, learned in training.

`MwTModel.from_model(cnn)` adds a mask generator to every convolution, `MwTLoss` trains them,
`modularize` turns the masks into modules, and `compose_with_head` reuses modules as the paper does,
with a new output layer to be tuned.
"""

from moda_keras.methods.mwt.compose_with_head import compose_with_head
from moda_keras.methods.mwt.modularize import modularize, with_threshold
from moda_keras.methods.mwt.mwt_loss import PAPER_WEIGHTS, MwTLoss
from moda_keras.methods.mwt.mwt_model import MwTModel

__all__ = [
    "PAPER_WEIGHTS",
    "MwTLoss",
    "MwTModel",
    "compose_with_head",
    "modularize",
    "with_threshold",
]
