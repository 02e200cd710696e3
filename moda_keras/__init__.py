"""Modular neural networks for Keras 3, on TensorFlow, PyTorch and JAX.

Train a model for modularity with `ModularModel` and `MODALoss`, `decompose` it into one module per
class, `compose` any classes into a slim plain Keras model, `replace` a weak model's class.
"""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moda_keras.backend_choice import require_backend as _require_backend

__version__ = "0.1.0"

# `moda --help` and tab completion answer at once: in the process of the command, Keras is imported
# when a name of `moda_keras.api` is first used. Elsewhere it is imported now, because models can be
# loaded only after the package's classes are registered with Keras.
# (`sys.argv` would not do: worker processes get a copy of it.)
_STARTED = getattr(sys, "orig_argv", [])[1:3]
_IS_COMMAND = _STARTED == ["-m", "moda_keras"] or Path("".join(_STARTED[:1])).name in (
    "moda",
    "moda.exe",
)

if TYPE_CHECKING or not _IS_COMMAND:
    _require_backend()
    from moda_keras.api import *  # noqa: F403
    from moda_keras.api import __all__  # noqa: F401


def __getattr__(name: str) -> Any:
    # Matplotlib, which is optional, is imported when `plots` is first asked for.
    if name == "plots":
        return importlib.import_module("moda_keras.reporting.plots")
    if name.startswith("__") or not _IS_COMMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("moda_keras.api"), name)
