"""The choice of Keras's backend, which must be made before Keras is imported."""

import importlib.util
import json
import os
import sys
from pathlib import Path

from moda_keras.cli.errors import CommandError
from moda_keras.cli.terminal import say

# By name the package to import, in the order of preference.
BACKENDS = {"torch": "torch", "tensorflow": "tensorflow", "jax": "jax"}


def choose_backend(name: str | None) -> None:
    """Sets KERAS_BACKEND, where Keras is not imported yet.

    Args:
        name: A backend, or None: what the environment or Keras's configuration says; and if that is
            not installed, and nobody asked for it, one that is.

    Raises:
        CommandError: If a backend is asked for that is unknown, not installed, or not the one that
            runs.
    """
    # TensorFlow's messages of its start are for its developers.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    asked = name or os.environ.get("KERAS_BACKEND")
    if asked is not None and asked not in BACKENDS:
        raise CommandError(f"Expected a backend out of {list(BACKENDS)}. Received: {asked!r}")
    if "keras" in sys.modules:
        _require_running(asked)
    elif asked is not None:
        _require_installed(asked)
        os.environ["KERAS_BACKEND"] = asked
    else:
        os.environ["KERAS_BACKEND"] = _installed_backend(_configured_backend())


def _require_running(asked: str | None) -> None:
    running = sys.modules["keras"].backend.backend()
    if asked is not None and asked != running:
        raise CommandError(f"Keras runs on {running!r} in this process. Received: {asked!r}")


def _require_installed(name: str) -> None:
    if importlib.util.find_spec(BACKENDS[name]) is None:
        raise CommandError(
            f"The backend {name!r} is not installed. Install it with: "
            f'pip install "moda-keras[{name}]", or choose another with --backend'
        )


def _configured_backend() -> str:
    """What Keras's own configuration file says, or Keras's default."""
    folder = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    try:
        return json.loads((Path(folder) / "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def _installed_backend(preferred: str) -> str:
    for name in (preferred, *BACKENDS):
        if name in BACKENDS and importlib.util.find_spec(BACKENDS[name]) is not None:
            if name != preferred:
                say(f"Keras's backend {preferred!r} is not installed: using {name!r}.")
            return name
    raise CommandError(
        "None of Keras's backends is installed. Install one, for example with: "
        'pip install "moda-keras[torch]"'
    )
