"""GradSplitter (TOSEM 2023): masks over the filters of a trained CNN, one for each class."""

from moda_keras.methods.gradsplitter.grad_splitter import GradSplitter
from moda_keras.methods.gradsplitter.loss import composed_loss

__all__ = ["GradSplitter", "composed_loss"]
