"""Which implementation serves: the native operations or the reference in `keras.ops`.

The environment variable MODA_KERAS_NATIVE decides: "auto" (default) takes the native operations
where they can serve and goes back to the reference, with one warning, if they fail; "0" takes the
reference; "1" raises where the native operations cannot serve.
"""

import functools
import importlib
import os
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import keras

ABI_VERSION = 1
DTYPES = ("float32", "float64", "float16", "bfloat16")
_MODES = ("0", "1", "auto")

# What failed while running, by backend: the reason.
_failures: dict[str, str] = {}
# Why calls went to the reference, in the order of the first such call.
_stepped_aside: dict[str, None] = {}


class NativeUnavailableError(RuntimeError):
    """The native operations were demanded (MODA_KERAS_NATIVE=1) and cannot serve."""


@functools.cache
def mode() -> str:
    """The value of MODA_KERAS_NATIVE: "auto", "0" or "1"."""
    value = os.environ.get("MODA_KERAS_NATIVE", "auto").lower()
    if value not in _MODES:
        raise ValueError(
            f"Expected the environment variable MODA_KERAS_NATIVE to be one of {_MODES}. "
            f"Received: MODA_KERAS_NATIVE={value!r}"
        )
    return value


@functools.cache
def _load() -> tuple[ModuleType | None, str]:
    """The extension module, or None and the reason."""
    try:
        extension = importlib.import_module("moda_keras._native")
    except ImportError as error:
        return None, f"the extension was not built or does not load ({error})"
    if extension.abi_version() != ABI_VERSION:
        return None, (
            f"the extension has version {extension.abi_version()} of the interface, this package "
            f"needs {ABI_VERSION}: install moda_keras anew"
        )
    return extension, f"built in, {extension.instruction_set()} instructions"


def extension() -> ModuleType | None:
    """The extension module `moda_keras._native`, or None where it is missing."""
    return _load()[0]


def is_used(reason_against: str | None) -> bool:
    """Whether a call is for the native operations.

    Args:
        reason_against: Why the backend's adapter cannot take this call (device, dtype, graph mode),
            or None.

    Returns:
        True for the native operations, False for the reference.

    Raises:
        NativeUnavailableError: If they are demanded and cannot serve.
    """
    if mode() == "0":
        return False
    reason = reason_against or _failures.get(keras.backend.backend())
    if reason is None and extension() is None:
        reason = _load()[1]
        _warn_that_reference_serves(reason)
    if reason is not None:
        _stepped_aside[reason] = None
    if reason is not None and mode() == "1":
        raise NativeUnavailableError(
            f"MODA_KERAS_NATIVE=1 demands the native operations, which cannot serve: {reason}"
        )
    return reason is None


def attempt(call: Callable[[], Any]) -> Any:
    """The result of a native call; None, with one warning and for good, if it fails.

    Raises:
        NativeUnavailableError: If the native operations are demanded.
    """
    try:
        return call()
    except Exception as error:
        reason = f"a call failed ({type(error).__name__}: {error})"
        if mode() == "1":
            raise NativeUnavailableError(
                f"MODA_KERAS_NATIVE=1 demands the native operations, but {reason}"
            ) from error
        _failures[keras.backend.backend()] = reason
        warnings.warn(
            f"The native operations of moda_keras are off from now on: {reason}. The reference "
            "operations serve, which are slower.",
            stacklevel=3,
        )
        return None


@functools.cache
def _warn_that_reference_serves(reason: str) -> None:
    warnings.warn(
        f"moda_keras uses its reference operations, which are slower: {reason}. "
        "MODA_KERAS_NATIVE=0 silences this.",
        stacklevel=4,
    )


def native_status() -> str:
    """Says in words which implementation serves which backend and device, and why.

    Returns:
        Several lines of text: the extension, the running backend, what each device uses, and why
        calls of this process went to the reference.

    Example:
    >>> import moda_keras as mk
    >>> print(mk.ops.native_status().splitlines()[0].split(":")[0])
    native operations
    """
    from moda_keras.ops.backends import adapter

    loaded, description = _load()
    lines = [f"native operations: {description if loaded else 'none: ' + description}"]
    if loaded:
        lines.append(f"threads: {loaded.threads()}")
    lines.append(f"MODA_KERAS_NATIVE: {mode()}")
    lines.append(f"backend: {keras.backend.backend()}")
    failure = _failures.get(keras.backend.backend())
    for device, reason in adapter.native_devices().items():
        against = _reason_for_reference(reason or failure)
        lines.append(f"{device}: {'reference, ' + against if against else 'native'}")
    lines += [f"went to the reference: {reason}" for reason in _stepped_aside]
    return "\n".join(lines)


def _reason_for_reference(reason: str | None) -> str | None:
    if mode() == "0":
        return "because MODA_KERAS_NATIVE=0"
    if extension() is None:
        return "because the extension is missing"
    return f"because {reason}" if reason else None
