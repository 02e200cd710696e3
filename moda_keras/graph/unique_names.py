"""Generates unique operation names."""

import keras


def unique_name(name: str, taken: set[str]) -> str:
    """`name`, or for a shared layer's further calls `name_1`, `name_2`, ...; adds it to `taken`."""
    unique, count = name, 0
    while unique in taken:
        count += 1
        unique = f"{name}_{count}"
    taken.add(unique)
    return unique


def layer_name(name: str, taken: set[str]) -> str:
    """A unique name for a layer: Keras allows no "/", which paths in a model have."""
    return unique_name(name.replace("/", "_"), taken)


def rename(tensor: keras.KerasTensor, name: str, taken: set[str]) -> keras.KerasTensor:
    """Gives the operation that made a symbolic tensor a unique name; Keras's own may be taken."""
    tensor._keras_history.operation.name = layer_name(name, taken)
    return tensor
