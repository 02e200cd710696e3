"""Small layers as users write them: what is seen through, what stays whole, what is refused."""

from odd_layers import blocks, modes, structure, transformers
from odd_layers.catalogue import CATALOGUE

__all__ = ["CATALOGUE", "blocks", "modes", "structure", "transformers"]
