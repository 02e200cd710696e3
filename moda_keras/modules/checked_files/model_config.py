"""The config of a model: what it would build is checked before it is built."""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from moda_keras.messages import is_printable
from moda_keras.modules.checked_files.json_text import nodes
from moda_keras.modules.checked_files.limits import require_within
from moda_keras.modules.checked_files.missing_classes import naming_missing_classes
from moda_keras.modules.checked_files.model_building import build_model
from moda_keras.modules.checked_files.model_work import work_of

# Makes a model of its config, of classes by name, in safe mode or not.
Build = Callable[[dict[str, Any], Mapping[str, Any], bool], keras.Model]

# Keras calls a few thousand layers a second.
MAX_LAYERS = 5000
MAX_CALLS = 30_000
# A file holds all weights of its model, but for those that a layer derives from others.
TIMES_HELD = 4
MARGIN_BYTES = 16 * 2**20
_OWN_PACKAGES = ("keras", "keras_hub", "moda_keras")


def check_config(
    config: Any,
    limit: int,
    held: int | None,
    custom_objects: Mapping[str, Any] | None,
    safe_mode: bool,
    build: Build = build_model,
) -> None:
    """Checks the config of a model before the model is made.

    Args:
        config: From config.json in a .keras file, or from an HDF5 file.
        limit: The most bytes that the model's weights may take.
        held: The bytes of the weights in the file, if those of the model may not take much more.
        custom_objects: As of `keras.saving.load_model`.
        safe_mode: As of `keras.saving.load_model`.
        build: Makes the model.

    Raises:
        MissingClassError: If it needs a class that is not known here.
        ValueError: If it is no config, has too many layers, a name with control characters, or too
            large weights. Whatever Keras raises for it otherwise.
    """
    if not isinstance(config, dict) or "class_name" not in config:
        raise ValueError("its config does not describe a model")
    for _, node in nodes(config):
        if isinstance(node, dict):
            _check_names(node)
    layers, calls = work_of(config, at_once=True)
    if layers > MAX_LAYERS or calls > MAX_CALLS:
        raise ValueError(
            f"its model has {layers:,} layers, which are called {calls:,} times to build it, over "
            f"the limit of {MAX_LAYERS:,} and {MAX_CALLS:,}"
        )
    found = classes_in_scope(config) | dict(custom_objects or {})
    if held is not None and not _is_custom(found):
        limit = min(limit, TIMES_HELD * held + MARGIN_BYTES)
    _check_weights(config, limit, found, lambda: build(_without_state(config), found, safe_mode))


def _check_names(node: dict) -> None:
    for key in ("name", "class_name"):
        name = node.get(key)
        if isinstance(name, str) and not is_printable(name):
            raise ValueError(f"its model has a name with control characters, {ascii(name)[:100]}")


def _check_weights(
    config: dict, limit: int, found: dict[str, Any], make: Callable[[], keras.Model]
) -> None:
    """Builds the model without values for its weights, and adds up their sizes.

    In a `StatelessScope`, a weight has a shape and an initializer. Keras keeps a list of such
    weights, to be filled later, for each thread: the list, and the names that Keras gives to layers
    without one, end with the thread.
    """
    failures: list[Exception] = []

    def measure() -> None:
        try:
            with keras.StatelessScope(initialize_variables=False):
                with naming_missing_classes(config, found):
                    model = make()
                weights = getattr(model, "variables", ())
                size = sum(map(_size, weights)) + _size_of_states(config, weights)
                require_within("the weights of its model take", size, limit)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=measure, name="moda_keras-check")
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


def classes_in_scope(config: dict) -> dict[str, Any]:
    """What a config names that is registered here, or known in a `CustomObjectScope`."""
    names = {
        name
        for _, node in nodes(config)
        if isinstance(node, dict)
        for name in (node.get("class_name"), node.get("registered_name"), node.get("config"))
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
