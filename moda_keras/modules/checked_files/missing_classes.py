"""The classes and functions of a user's own that a model file needs and nothing has registered."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from moda_keras.files import MissingClassError
from moda_keras.messages import shortened
from moda_keras.modules.checked_files.json_text import nodes

# A message names at most so many.
SHOWN = 5
LONGEST_NAME = 60
# Where Keras has the classes and functions that configs call by name alone.
_OF_KERAS = (
    keras, keras.layers, keras.activations, keras.initializers, keras.regularizers,
    keras.constraints, keras.losses, keras.metrics, keras.optimizers, keras.dtype_policies,
)  # fmt: skip
# Packages whose classes Keras finds by itself, and Python's own types.
_FOUND_BY_KERAS = ("keras", "keras_hub", "keras_cv", "keras_nlp", "tensorflow", "builtins")
_OF_OLD_FILES = ("Functional", "Model")


@contextlib.contextmanager
def naming_missing_classes(config: Any, custom_objects: Mapping[str, Any] | None) -> Iterator[None]:
    """Says which classes a model needs if that is why it cannot be built.

    Args:
        config: The config of the model.
        custom_objects: As of `keras.saving.load_model`.

    Raises:
        MissingClassError: In place of any other exception, if the config needs a class or a
            function that is neither Keras's own nor known here.
    """
    try:
        yield
    except Exception:
        missing = find_missing_classes(config, custom_objects)
        if not missing:
            raise
        raise MissingClassError(_advice(missing)) from None


def find_missing_classes(config: Any, custom_objects: Mapping[str, Any] | None) -> list[str]:
    """The classes and functions that a config needs and that are not known here.

    Args:
        config: The config of a model, from a .keras file or from an HDF5 file.
        custom_objects: As of `keras.saving.load_model`.

    Returns:
        Each one's name, package and module in words, in the order of the config.
    """
    found = dict(custom_objects or {})
    dicts = [node for _, node in nodes(_without_compilation(config)) if isinstance(node, dict)]
    needed = [each for node in dicts for each in _needed(node, found)]
    return list(dict.fromkeys(needed))


def _without_compilation(config: Any) -> Any:
    """The config of a model without that of its optimizer, which is not loaded."""
    if not isinstance(config, dict):
        return config
    return {key: value for key, value in config.items() if key != "compile_config"}


def _needed(node: dict, found: Mapping[str, Any]) -> Iterator[str]:
    name = node.get("class_name")
    if not isinstance(name, str) or "config" not in node or name.startswith("__"):
        return
    if name == "function":
        function = node["config"]
        if isinstance(function, str) and not _is_known(function, found):
            yield _described("function", function, None)
        return
    module, registered = node.get("module"), node.get("registered_name")
    names = [each for each in (registered, name) if isinstance(each, str)]
    is_of_keras = isinstance(module, str) and module.partition(".")[0] in _FOUND_BY_KERAS
    if not is_of_keras and not any(_is_known(each, found) for each in names):
        yield _described("class", names[0], module)


def _is_known(name: str, found: Mapping[str, Any]) -> bool:
    is_registered = keras.saving.get_registered_object(name, found) is not None
    is_of_keras = name in _OF_OLD_FILES or any(hasattr(each, name) for each in _OF_KERAS)
    return is_registered or is_of_keras


def _described(kind: str, registered: str, module: str | None) -> str:
    package, _, name = registered.rpartition(">")
    origin = [f"package {_quoted(package)}"] if package else []
    origin += [f"module {_quoted(module)}"] if module else []
    return f"the {kind} {_quoted(name)}" + (f" ({', '.join(origin)})" if origin else "")


def _quoted(name: str) -> str:
    return repr(shortened(name, LONGEST_NAME))


def _advice(missing: list[str]) -> str:
    shown = ", ".join(missing[:SHOWN])
    shown += f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    it = "it" if len(missing) == 1 else "them"
    return (
        f"needs {shown}, which this process does not have. Import the module that registers {it} "
        "with `keras.saving.register_keras_serializable` first (in a command: moda --import "
        "MODULE), or pass `custom_objects`"
    )
