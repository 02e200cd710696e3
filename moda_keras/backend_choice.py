"""Which backend Keras will use, found out without importing Keras."""

import importlib.util
import json
import os
import sys
from pathlib import Path

BACKENDS = ("torch", "tensorflow", "jax")


def configured_backend() -> str:
    """The backend in Keras's configuration file, or Keras's default."""
    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return json.loads((folder / "keras.json").read_text(encoding="utf-8"))["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def require_backend() -> None:
    """Raises an ImportError that says what to do if Keras's backend is not installed."""
    if "keras" in sys.modules:
        return
    packages = [name for name in BACKENDS if importlib.util.find_spec(name)]
    backend = os.environ.get("KERAS_BACKEND") or configured_backend()
    if backend in packages or backend not in BACKENDS:
        return
    if packages:
        advice = f"Installed: {packages}. Set the environment variable KERAS_BACKEND={packages[0]}"
    else:
        advice = 'No backend is installed. Install one: pip install "moda-keras[torch]"'
    raise ImportError(f"Keras's backend {backend!r} is not installed. {advice}")
