"""Modular neural networks for Keras 3, on TensorFlow, PyTorch and JAX.

Train a model for modularity with `ModularModel` and `MODALoss`, `decompose` it into one module per
class, `compose` any classes into a slim plain Keras model, `replace` a weak model's class.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def _require_backend() -> None:
    """Raises an ImportError that says what to do if Keras's backend is not installed."""
    if "keras" in sys.modules:
        return
    packages = [name for name in ("torch", "tensorflow", "jax") if importlib.util.find_spec(name)]
    backend = os.environ.get("KERAS_BACKEND") or _configured_backend()
    if backend in packages or backend not in ("torch", "tensorflow", "jax"):
        return
    if packages:
        advice = f"Installed: {packages}. Set the environment variable KERAS_BACKEND={packages[0]}"
    else:
        advice = 'No backend is installed. Install one: pip install "moda-keras[torch]"'
    raise ImportError(f"Keras's backend {backend!r} is not installed. {advice}")


def _configured_backend() -> str:
    """What Keras's configuration file says, or Keras's default."""
    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return json.loads((folder / "keras.json").read_text(encoding="utf-8"))["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


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
