"""What one framework needs of its own: `adapter` is the running backend's.

Each adapter is a module with the same functions, and the only place that imports its framework.
"""

import importlib
from types import ModuleType

import keras


def _load() -> ModuleType:
    name = keras.backend.backend()
    if name not in ("torch", "tensorflow", "jax"):
        raise ImportError(
            "moda_keras runs on the Keras backends 'torch', 'tensorflow' and 'jax'. Received: "
            f"KERAS_BACKEND={name!r}"
        )
    return importlib.import_module(f"moda_keras.ops.backends.{name}_backend")


adapter = _load()
