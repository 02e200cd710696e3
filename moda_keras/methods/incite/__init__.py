"""INCITE (ISSTA 2024): modules of the units whose mutation changes an output most."""

from moda_keras.methods.incite.incite import INCITE

__all__ = ["INCITE"]
