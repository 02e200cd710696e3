"""Loads each native library when it is first needed."""

import ctypes
import functools
import sys
from collections.abc import Callable
from pathlib import Path

from moda_keras.ops.native import interface

_PACKAGE = Path(__file__).parents[2]


def _path(name: str) -> Path:
    if sys.platform == "win32":
        return _PACKAGE / f"{name}.dll"
    return _PACKAGE / f"lib{name}{'.dylib' if sys.platform == 'darwin' else '.so'}"


CPU_PATH = _path("moda_core")
CUDA_PATH = _path("moda_cuda")


def load_cpu(path: Path) -> ctypes.CDLL:
    """The CPU library at `path`; OSError if it does not load or has another interface."""
    return _load(path, interface.declare_cpu)


def load_cuda(path: Path) -> ctypes.CDLL:
    """The CUDA library at `path`; OSError if it does not load or has another interface."""
    return _load(path, interface.declare_cuda)


def cpu() -> ctypes.CDLL | None:
    """The CPU library, or None where it cannot be used."""
    return _cpu()[0]


def cuda() -> ctypes.CDLL | None:
    """The CUDA library, or None where it cannot be used."""
    return _cuda()[0]


def reason_against_cpu() -> str | None:
    """Why the CPU library cannot be used, or None."""
    return _cpu()[1]


def reason_against_cuda() -> str | None:
    """Why the CUDA library cannot be used on this machine, or None."""
    return _cuda()[1]


def description() -> str:
    """Describes the CPU library: its instructions and threads, or why it is unavailable."""
    library, reason = _cpu()
    if library is None:
        return f"none, because {reason}"
    return (
        f"{CPU_PATH.name}, {library.moda_instruction_set().decode()} instructions, "
        f"{library.moda_threads()} threads"
    )


def _load(path: Path, declare: Callable[[ctypes.CDLL], None]) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    declare(library)
    return library


@functools.cache
def _cpu() -> tuple[ctypes.CDLL | None, str | None]:
    """The library, or None and the reason."""
    if not CPU_PATH.exists():
        return None, f"{CPU_PATH.name} was not built"
    try:
        return load_cpu(CPU_PATH), None
    except OSError as error:
        return None, f"{CPU_PATH.name} does not load ({error})"


@functools.cache
def _cuda() -> tuple[ctypes.CDLL | None, str | None]:
    if not CUDA_PATH.exists():
        return None, f"{CUDA_PATH.name} was not built"
    try:
        library = load_cuda(CUDA_PATH)
    except OSError as error:
        return None, f"{CUDA_PATH.name} does not load ({error})"
    if library.moda_cuda_device_count() == 0:
        return None, f"CUDA finds no device ({library.moda_cuda_problem().decode()})"
    return library, None
