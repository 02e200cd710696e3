"""Versions and hardware, to be stored with results."""

import importlib.metadata
import os
import platform
from typing import Any

import keras

from moda_keras.ops import backends


def describe_environment() -> dict[str, Any]:
    """Backend, versions and hardware of this process.

    Returns:
        Dict of JSON values, without names of hosts, users or paths.
    """
    backend = keras.backend.backend()
    return {
        "backend": backend,
        "device": str(keras.ops.zeros(()).device),
        "accelerator": backends.backend.accelerator_name(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("moda-keras", "keras", "numpy", backend)},
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }


def _version(package: str) -> str | None:
    for name in (package, f"{package}-cpu"):  # TensorFlow's build without CUDA
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
