"""Selects the implementation: the native operations or the reference in `keras.ops`.

The environment variable MODA_KERAS_NATIVE decides: "auto" (default) uses the native operations
where they can be used, "0" never uses them, "1" raises where they cannot be used.
"""

import functools
import os
import warnings

import keras

from moda_keras.ops.native import libraries

_MODES = ("0", "1", "auto")


class NativeUnavailableError(RuntimeError):
    """The native operations are required (MODA_KERAS_NATIVE=1) but unavailable."""


class Usage:
    """Records why calls in this process used the reference operations.

    Attributes:
        reasons: Why calls used the reference, in the order of the first such call.
        warned: Whether the user was told that the library is missing.
    """

    def __init__(self):
        self.reasons: dict[str, None] = {}
        self.warned = False

    def record(self, reason: str) -> None:
        """Notes why a call uses the reference; one warning if the library is missing."""
        self.reasons[reason] = None
        if reason == libraries.reason_against_cpu() and not self.warned:
            self.warned = True
            warnings.warn(
                f"moda_keras uses its reference operations, which are slower: {reason}. "
                "MODA_KERAS_NATIVE=0 silences this warning.",
                stacklevel=5,
            )


usage = Usage()


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


def is_native(reason_against: str | None) -> bool:
    """Whether a call uses the native operations.

    Args:
        reason_against: Why they cannot take this call (device, dtype, library), or None.

    Raises:
        NativeUnavailableError: If they are required and cannot be used.
    """
    if mode() == "0":
        return False
    if check_required(reason_against, mode()) is None:
        return True
    usage.record(reason_against)
    return False


def check_required(reason_against: str | None, mode: str) -> str | None:
    """The reason; raises if there is one and the native operations are required."""
    if reason_against is not None and mode == "1":
        raise NativeUnavailableError(
            "MODA_KERAS_NATIVE=1 requires the native operations, which cannot be used: "
            f"{reason_against}"
        )
    return reason_against


def native_status() -> str:
    """Reports which implementation each device of the running backend uses, and why.

    Returns:
        Several lines of text: the native library, the backend, what each device uses, and why
        calls of this process used the reference.

    Examples:
        >>> import moda_keras as mk
        >>> print(mk.ops.native_status().splitlines()[0].split(":")[0])
        native operations
    """
    from moda_keras.ops.backends import backend

    lines = [f"native operations: {libraries.description()}"]
    lines.append(f"MODA_KERAS_NATIVE: {mode()}")
    lines.append(f"backend: {keras.backend.backend()}")
    for device, reason in backend.native_devices().items():
        against = "MODA_KERAS_NATIVE=0" if mode() == "0" else reason
        lines.append(f"{device}: {f'reference, because {against}' if against else 'native'}")
    lines += [f"used the reference: {reason}" for reason in usage.reasons]
    return "\n".join(lines)
