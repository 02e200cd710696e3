"""Small layers as users write them: what is seen through, what stays whole, what is refused."""

from odd_layers import (
    attention,
    blocks,
    control_flow,
    convolutions,
    modes,
    structure,
    tokens,
    transformers,
    weights,
    writing,
)
from odd_layers.catalogue import CATALOGUE

__all__ = [
    "CATALOGUE",
    "attention",
    "blocks",
    "control_flow",
    "convolutions",
    "modes",
    "structure",
    "tokens",
    "transformers",
    "weights",
    "writing",
]
