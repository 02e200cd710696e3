"""How much work it is to build a model, counted from its config."""

from typing import Any, Literal

import keras

_NOT_LAYERS = {"keras", "keras.initializers", "keras.regularizers", "keras.constraints"}
_NOT_LAYERS_OF_OLD_FILES = (keras.initializers, keras.regularizers, keras.constraints)

# How a list of layers is built: calling each once, or all of them again with each that is added.
Building = Literal["once", "again", None]


def work_of(config: Any, *, at_once: bool = False) -> tuple[int, int]:
    """What has to be done to build a model.

    Keras builds a Sequential model again with each layer that is added to it, and calling a model
    means to call its layers.

    Args:
        config: Of a model or layer.
        at_once: Whether Sequential models are built once, as `SequentialAtOnce` does.

    Returns:
        How many layers there are, models within models included, and how often one is called.
    """
    layers, _, calls = _work(config, None, at_once)
    return layers, calls


def _work(node: Any, building: Building, at_once: bool) -> tuple[int, int, int]:
    """The number of layers, how many calls of them a call of the node is, and those to build it.

    Args:
        node: A part of a config.
        building: How its layers are built; None if it does not say that it is Sequential.
        at_once: As of `work_of`.
    """
    inner = list(node.values()) if isinstance(node, dict) else node
    if not isinstance(inner, list):
        return 0, 0, 0
    found = node.get("layers") if isinstance(node, dict) else None
    inside = _building_of(node, at_once)
    parts = [_work(each, inside, at_once) for each in inner if each is not found]
    layers, calls, built = (sum(column) for column in zip((0, 0, 0), *parts, strict=True))
    if isinstance(found, list):
        members = [_work(each, None, at_once) for each in found]
        times = [_inbound_nodes(each) for each in found]
        called = [max(1, count) * each[1] for each, count in zip(members, times, strict=True)]
        is_again = building == "again" or (building is None and not any(times))
        again = range(len(found), 0, -1) if is_again else [1] * len(found)
        layers += sum(each[0] for each in members)
        calls += sum(called)
        built += sum(each[2] for each in members)
        built += sum(count * each for each, count in zip(called, again, strict=True))
    if isinstance(node, dict) and _is_layer(node):
        return layers + 1, calls + 1, built
    return layers, calls, built


def _building_of(node: Any, at_once: bool) -> Building:
    """How the layers in the config of a node are built."""
    name = str(node.get("class_name")) if isinstance(node, dict) else ""
    if not name.endswith("Sequential"):
        return None
    is_own = name == "Sequential" and node.get("module", "keras") == "keras"
    return "once" if at_once and is_own else "again"


def _inbound_nodes(node: Any) -> int:
    """How often a layer of a functional model is called; 0 in a Sequential model."""
    calls = node.get("inbound_nodes") if isinstance(node, dict) else None
    return len(calls) if isinstance(calls, list) else 0


def _is_layer(node: dict) -> bool:
    """Whether a dict in a config is that of a layer or model."""
    name = node.get("class_name")
    if not isinstance(name, str) or name.startswith("__"):
        return False
    if "module" in node:
        return str(node["module"]) not in _NOT_LAYERS
    return not any(hasattr(each, name) for each in _NOT_LAYERS_OF_OLD_FILES)
