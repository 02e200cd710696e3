"""The config of a model: what it would build is checked before it is built."""

import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from moda_keras.messages import is_printable
from moda_keras.modules.checked_files.json_text import nodes
from moda_keras.modules.checked_files.limits import require_within

# Keras calls a few thousand layers a second.
MAX_LAYERS = 5000
MAX_CALLS = 30_000
# A file holds all weights of its model, but for those that a layer derives from others.
TIMES_HELD = 4
MARGIN_BYTES = 16 * 2**20
_NOT_LAYERS = {"keras", "keras.initializers", "keras.regularizers", "keras.constraints"}
_OWN_PACKAGES = ("keras", "keras_hub", "moda_keras")


def check_config(
    config: Any,
    limit: int,
    held: int | None,
    custom_objects: Mapping[str, Any] | None,
    safe_mode: bool,
) -> None:
    """Checks the config of a model before Keras makes the model.

    Args:
        config: From config.json in a .keras file.
        limit: The most bytes that the model's weights may take.
        held: The bytes of the weights in the file, if those of the model may not take much more.
        custom_objects: As of `keras.saving.load_model`.
        safe_mode: As of `keras.saving.load_model`.

    Raises:
        ValueError: If it is no config, has too many layers, a name with control characters, or too
            large weights. Whatever Keras raises for it otherwise.
    """
    if not isinstance(config, dict) or "class_name" not in config:
        raise ValueError("its config.json does not describe a model")
    for _, node in nodes(config):
        if isinstance(node, dict):
            _check_names(node)
    layers, calls = work_of(config)
    if layers > MAX_LAYERS or calls > MAX_CALLS:
        raise ValueError(
            f"its model has {layers:,} layers, which are called {calls:,} times to build it, over "
            f"the limit of {MAX_LAYERS:,} and {MAX_CALLS:,}"
        )
    found = _classes_in_scope(config) | dict(custom_objects or {})
    if held is not None and not _is_custom(found):
        limit = min(limit, TIMES_HELD * held + MARGIN_BYTES)
    _check_weights(config, limit, found, safe_mode)


def _check_names(node: dict) -> None:
    for key in ("name", "class_name"):
        name = node.get(key)
        if isinstance(name, str) and not is_printable(name):
            raise ValueError(f"its model has a name with control characters, {ascii(name)[:100]}")


def work_of(config: Any) -> tuple[int, int]:
    """What Keras has to do to build a model.

    A Sequential model is built again with each layer that is added to it, and calling a model means
    to call its layers.

    Args:
        config: Of a model or layer.

    Returns:
        How many layers there are, models within models included, and how often one is called.
    """
    layers, _, calls = _work(config)
    return layers, calls


def _work(node: Any, is_sequential: bool = False) -> tuple[int, int, int]:
    """The number of layers, how many calls of them a call of the node is, and those to build it.

    Args:
        node: A part of a config.
        is_sequential: Whether it is the config of a Sequential model.
    """
    inner = list(node.values()) if isinstance(node, dict) else node
    if not isinstance(inner, list):
        return 0, 0, 0
    found = node.get("layers") if isinstance(node, dict) else None
    name = str(node.get("class_name")) if isinstance(node, dict) else ""
    is_inside = name.endswith("Sequential")
    parts = [_work(each, is_inside) for each in inner if each is not found]
    layers, calls, built = (sum(column) for column in zip((0, 0, 0), *parts, strict=True))
    if isinstance(found, list):
        members = [_work(each) for each in found]
        times = [_inbound_nodes(each) for each in found]
        called = [max(1, count) * each[1] for each, count in zip(members, times, strict=True)]
        is_sequential = is_sequential or not any(times)
        again = range(len(found), 0, -1) if is_sequential else [1] * len(found)
        layers += sum(each[0] for each in members)
        calls += sum(called)
        built += sum(each[2] for each in members)
        built += sum(count * each for each, count in zip(called, again, strict=True))
    if isinstance(node, dict) and _is_layer(node):
        return layers + 1, calls + 1, built
    return layers, calls, built


def _inbound_nodes(node: Any) -> int:
    """How often a layer of a functional model is called; 0 in a Sequential model."""
    calls = node.get("inbound_nodes") if isinstance(node, dict) else None
    return len(calls) if isinstance(calls, list) else 0


def _is_layer(node: dict) -> bool:
    name = node.get("class_name")
    is_class = isinstance(name, str) and not name.startswith("__")
    return is_class and str(node.get("module")) not in _NOT_LAYERS


def _check_weights(config: dict, limit: int, found: dict[str, Any], safe_mode: bool) -> None:
    """Builds the model without values for its weights, and adds up their sizes.

    In a `StatelessScope`, a weight has a shape and an initializer. Keras keeps a list of such
    weights, to be filled later, for each thread: the list, and the names that Keras gives to layers
    without one, end with the thread.
    """
    failures: list[Exception] = []

    def build() -> None:
        try:
            with keras.StatelessScope(initialize_variables=False):
                model = keras.saving.deserialize_keras_object(
                    _without_state(config), custom_objects=found, safe_mode=safe_mode
                )
                weights = getattr(model, "variables", ())
                size = sum(map(_size, weights)) + _size_of_states(config, weights)
                require_within("the weights of its model take", size, limit)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=build, name="moda_keras-check")
    thread.start()
    thread.join()
    if failures and not _is_of_custom_code(failures[0], found):
        raise failures[0]


def _is_of_custom_code(error: Exception, found: Mapping[str, Any]) -> bool:
    """Whether a user's own layer makes weights in a way that cannot be put off.

    What such a layer takes in memory is up to the user.
    """
    return _is_custom(found) and "stateless scope" in str(error)


def _is_custom(found: Mapping[str, Any]) -> bool:
    """Whether any class is a user's own."""
    return any(not _module_of(each).startswith(_OWN_PACKAGES) for each in found.values())


def _module_of(found: Any) -> str:
    return str(getattr(found, "__module__", ""))


def _classes_in_scope(config: dict) -> dict[str, Any]:
    """The classes of a config that are registered here, or known in a `CustomObjectScope`."""
    names = {
        name
        for _, node in nodes(config)
        if isinstance(node, dict)
        for name in (node.get("class_name"), node.get("registered_name"))
        if isinstance(name, str)
    }
    found = {name: keras.saving.get_registered_object(name) for name in names}
    return {name: each for name, each in found.items() if each is not None}


def _without_state(node: Any) -> Any:
    """A copy of a config whose recurrent layers keep no state, and with no compilation."""
    if isinstance(node, list):
        return [_without_state(each) for each in node]
    if not isinstance(node, dict):
        return node
    copied = {key: _without_state(each) for key, each in node.items() if key != "compile_config"}
    if copied.get("stateful") is True:
        copied["stateful"] = False
    return copied


def _size_of_states(config: dict, weights: Sequence[Any]) -> int:
    """At least the bytes of the states of recurrent layers that keep one from batch to batch.

    No state has more units than the longest axis of its layer's weights, for each sample.
    """
    dicts = [node for _, node in nodes(config) if isinstance(node, dict)]
    if not any(node.get("stateful") is True for node in dicts):
        return 0
    shapes = [node.get(key) for node in dicts for key in ("batch_shape", "batch_input_shape")]
    batches = [each[0] for each in shapes if isinstance(each, list) and each]
    batch = max((each for each in batches if isinstance(each, int)), default=1)
    return batch * sum(max(weight.shape, default=1) for weight in weights) * 4


def _size(weight: Any) -> int:
    elements = 1
    for length in weight.shape:
        elements *= int(length)
    return elements * _bytes_of(str(weight.dtype))


def _bytes_of(dtype: str) -> int:
    bits = re.search(r"\d+", dtype)
    return max(1, int(bits[0]) // 8) if bits else 1
