"""One rule per family of layers; importing the package registers them."""

from moda_keras.slicing.rules import channelwise, dense_like, depthwise, merging, reshaping

__all__ = ["channelwise", "dense_like", "depthwise", "merging", "reshaping"]
