"""CNNSplitter (ASE 2022): modules of filters, found by a genetic algorithm."""

from moda_keras.methods.cnnsplitter.cnnsplitter import CNNSplitter

__all__ = ["CNNSplitter"]
