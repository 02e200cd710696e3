"""Imports the `Backend` of the running framework, as `backend`."""

import importlib

import keras

from moda_keras.ops.backends.backend import Backend

_CLASSES = {"torch": "TorchBackend", "tensorflow": "TensorflowBackend", "jax": "JaxBackend"}


def _load() -> Backend:
    name = keras.backend.backend()
    if name not in _CLASSES:
        raise ImportError(
            "moda_keras runs on the Keras backends 'torch', 'tensorflow' and 'jax'. Received: "
            f"KERAS_BACKEND={name!r}"
        )
    module = importlib.import_module(f"moda_keras.ops.backends.{name}_backend")
    return getattr(module, _CLASSES[name])()


backend = _load()
