"""Writes docs/layers.md: which of Keras's layers are sliced, and which are kept whole and why.

python docs/layer_table.py
"""

import inspect
from pathlib import Path

import keras

from moda_keras.graph import expansion
from moda_keras.slicing.registry import rules_for
from moda_keras.slicing.rules.opaque import WHOLE_ON_PURPOSE

PATH = Path(__file__).parent / "layers.md"
HEAD = """# Layers that are sliced

`docs/layer_table.py` generates this page from the rule registry; Keras {version}. A layer without
a rule is kept whole and receives all of its input channels: correct, but not smaller. If a rule
does not support a call, such as one with an unusual axis, the layer is also kept whole.

| layer | treatment |
|---|---|
"""


def table() -> str:
    """The page."""
    rows = [f"| {name} | {how(name, layer)} |" for name, layer in keras_layers().items()]
    return HEAD.format(version=keras.__version__) + "\n".join(rows) + "\n"


def keras_layers() -> dict[str, type]:
    """Every layer class of `keras.layers`, by the first of its names."""
    layers: dict[type, str] = {}
    for name, value in inspect.getmembers(keras.layers, inspect.isclass):
        if issubclass(value, keras.layers.Layer) and value is not keras.layers.InputLayer:
            layers[value] = value.__name__ if hasattr(keras.layers, value.__name__) else name
    return {name: layer for layer, name in sorted(layers.items(), key=lambda each: each[1])}


def how(name: str, layer: type) -> str:
    """What slicing does with a layer class of this public name."""
    rules = rules_for(layer)
    if rules:
        names = ", ".join(sorted(f"`{type(rule).__name__}`" for rule in rules))
        return f"sliced: {names}"
    if layer in expansion.expanded_layers():
        return "expanded; its parts are sliced"
    reasons = [reason for reason, names in WHOLE_ON_PURPOSE.items() if name in names]
    if not reasons:
        raise ValueError(
            f"Expected a rule or a reason in `WHOLE_ON_PURPOSE` for every layer of Keras. Received "
            f"neither for {name}"
        )
    return f"whole: {reasons[0]}"


if __name__ == "__main__":
    PATH.write_text(table())
