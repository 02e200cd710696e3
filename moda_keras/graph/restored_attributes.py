"""Attributes of layers, as they were before a call."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def restoring_attributes(layer: keras.layers.Layer) -> Iterator[set[str]]:
    """Gives a layer and those inside their attributes back, whatever their calls set.

    Args:
        layer: The layer.

    Yields:
        A set that has in the end the names of the attributes of `layer` itself that were set.
    """
    layers = list(layer._flatten_layers(include_self=True, recursive=True))
    before = [dict(vars(each)) for each in layers]
    changed: set[str] = set()
    try:
        yield changed
    finally:
        now = vars(layers[0])
        of_keras = vars(keras.layers.Layer())
        changed |= {
            key
            for key in now.keys() - of_keras.keys()
            if key not in before[0] or now[key] is not before[0][key]
        }
        for each, attributes in zip(layers, before, strict=True):
            for key in vars(each).keys() - attributes.keys():
                del vars(each)[key]
            vars(each).update(attributes)
