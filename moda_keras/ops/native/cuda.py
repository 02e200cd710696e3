"""The native operations on CUDA devices: a library of its own, loaded when it is first asked for.

Nothing here imports a framework: addresses and numbers in.
"""

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence
from ctypes import byref, c_double, c_int, c_int32, c_int64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from moda_keras.ops.native.descriptors import POSITION_AXES

ABI_VERSION = 1
_PATH = Path(__file__).parents[1] / (
    "moda_cuda.dll" if sys.platform == "win32" else "libmoda_cuda.so"
)

# As in csrc/core/moda_core.h and csrc/core/cuda/moda_cuda.h.
_INVALID_ARGUMENT, _OUT_OF_MEMORY = 1, 2
_OBJECTIVES_FORWARD, _OBJECTIVES_BACKWARD, _STATISTICS_FORWARD, _ACTIVATION_FREQUENCY = range(4)
_ACTIVATION = np.dtype(
    [
        ("data", np.uint64),
        ("dtype", np.int32),
        ("non_negative", np.int32),
        ("units", np.int64),
        ("unit_stride", np.int64),
        ("sample_stride", np.int64),
        *((f"extent_{i}", np.int64) for i in range(POSITION_AXES)),
        *((f"stride_{i}", np.int64) for i in range(POSITION_AXES)),
    ]
)


class _Batch(ctypes.Structure):
    _fields_ = (("labels", c_void_p), ("samples", c_int64), ("classes", c_int64))


class _Options(ctypes.Structure):
    _fields_ = (("averaging", c_int32), ("unit_divides", c_int32))


class _Saved(ctypes.Structure):
    _fields_ = (("normalized", c_void_p), ("inverse_norms", c_void_p), ("totals", c_void_p))


_ARRAYS = (c_void_p, c_int64)  # activations, count
_STRUCT = c_void_p
_WORK = (c_void_p, c_void_p)  # workspace, stream
_SIGNATURES = {
    "moda_cuda_abi_version": (c_int, ()),
    "moda_cuda_device_count": (c_int, ()),
    "moda_cuda_problem": (ctypes.c_char_p, ()),
    "moda_cuda_workspace_bytes": (c_int64, (c_int32, *_ARRAYS, _STRUCT)),
    "moda_cuda_objectives_forward": (c_int, (*_ARRAYS, *[_STRUCT] * 3, c_void_p, *_WORK)),
    "moda_cuda_objectives_backward": (c_int, (*_ARRAYS, *[_STRUCT] * 3, *[c_void_p] * 3, *_WORK)),
    "moda_cuda_class_statistics_forward": (c_int, (*[_STRUCT] * 3, *[c_void_p] * 4, *_WORK)),
    "moda_cuda_class_statistics_backward": (c_int, (*[_STRUCT] * 3, *[c_void_p] * 5)),
    "moda_cuda_activation_frequency": (c_int, (*_ARRAYS, _STRUCT, *[c_void_p] * 3, *_WORK)),
}


def load(path: Path) -> ctypes.CDLL:
    """The library at `path`, its functions declared.

    Raises:
        OSError: If it does not load, or is of another version of the interface.
    """
    library = ctypes.CDLL(str(path))
    library.moda_cuda_abi_version.restype = c_int
    version = library.moda_cuda_abi_version()
    if version != ABI_VERSION:
        raise OSError(
            f"it has version {version} of the interface, this package needs {ABI_VERSION}: "
            "install moda_keras anew"
        )
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@functools.cache
def _loaded() -> tuple[ctypes.CDLL | None, str | None]:
    """The library, or None and the reason."""
    if not _PATH.exists():
        return None, "the CUDA library was not built"
    try:
        library = load(_PATH)
    except OSError as error:
        return None, f"the CUDA library does not load ({error})"
    if library.moda_cuda_device_count() == 0:
        return None, f"CUDA finds no device ({library.moda_cuda_problem().decode()})"
    return library, None


def library() -> ctypes.CDLL | None:
    """The library, or None where it cannot serve."""
    return _loaded()[0]


def reason_against() -> str | None:
    """Why the library cannot serve on this machine, or None."""
    return _loaded()[1]


class Operations:
    """The operations on one stream, with the signatures of the module `moda_keras._native`.

    Calls enqueue work and return; all addresses are of memory on the current device.

    Args:
        library: From `load`.
        stream: Handle of the CUDA stream, 0 for the default one.
        allocate: Gives so many bytes of memory, aligned to 256, as an object with a `data_ptr()`
            that may be let go of as soon as the work is enqueued.
    """

    def __init__(self, library: ctypes.CDLL, stream: int, allocate: Callable[[int], Any]):
        self._library = library
        self._stream = stream
        self._allocate = allocate

    def objectives_forward(
        self,
        rows: np.ndarray,
        labels: int,
        samples: int,
        classes: int,
        averaging: int,
        unit_divides: bool,
        normalized: int,
        inverse_norms: int,
        totals: int,
        objectives: int,
    ) -> None:
        """As `moda_cuda_objectives_forward` in csrc/core/cuda/moda_cuda.h."""
        activations, batch = _activations(rows), _Batch(labels, samples, classes)
        workspace = self._workspace(_OBJECTIVES_FORWARD, activations, batch)
        status = self._library.moda_cuda_objectives_forward(
            activations.ctypes.data,
            len(activations),
            byref(batch),
            byref(_Options(averaging, unit_divides)),
            byref(_Saved(normalized, inverse_norms, totals)),
            objectives,
            workspace.data_ptr(),
            self._stream,
        )
        self._check(status)

    def objectives_backward(
        self,
        rows: np.ndarray,
        labels: int,
        samples: int,
        classes: int,
        averaging: int,
        unit_divides: bool,
        normalized: int,
        inverse_norms: int,
        totals: int,
        upstream: int,
        vectors: int,
        gradient_rows: np.ndarray,
    ) -> None:
        """As `moda_cuda_objectives_backward`."""
        activations, batch = _activations(rows), _Batch(labels, samples, classes)
        gradients = _activations(gradient_rows)
        outputs = _pointers(gradients)
        workspace = self._workspace(_OBJECTIVES_BACKWARD, activations, batch)
        status = self._library.moda_cuda_objectives_backward(
            activations.ctypes.data,
            len(activations),
            byref(batch),
            byref(_Options(averaging, unit_divides)),
            byref(_Saved(normalized, inverse_norms, totals)),
            upstream,
            vectors,
            outputs.ctypes.data,
            workspace.data_ptr(),
            self._stream,
        )
        self._check(status)

    def class_statistics_forward(
        self,
        rows: np.ndarray,
        labels: int,
        samples: int,
        classes: int,
        normalized: int,
        inverse_norms: int,
        sums: int,
        counts: int,
        nonzero: int,
        l1: int,
    ) -> None:
        """As `moda_cuda_class_statistics_forward`."""
        activation, batch = _activations(rows), _Batch(labels, samples, classes)
        workspace = self._workspace(_STATISTICS_FORWARD, activation, batch)
        status = self._library.moda_cuda_class_statistics_forward(
            activation.ctypes.data,
            byref(batch),
            byref(_Saved(normalized, inverse_norms, None)),
            sums,
            counts,
            nonzero,
            l1,
            workspace.data_ptr(),
            self._stream,
        )
        self._check(status)

    def class_statistics_backward(
        self,
        rows: np.ndarray,
        labels: int,
        samples: int,
        classes: int,
        normalized: int,
        inverse_norms: int,
        sums_gradient: int,
        l1_gradient: int,
        vectors: int,
        gradient_rows: np.ndarray,
    ) -> None:
        """As `moda_cuda_class_statistics_backward`."""
        activation, gradients = _activations(rows), _activations(gradient_rows)
        status = self._library.moda_cuda_class_statistics_backward(
            activation.ctypes.data,
            byref(_Batch(labels, samples, classes)),
            byref(_Saved(normalized, inverse_norms, None)),
            sums_gradient,
            l1_gradient,
            vectors,
            int(_pointers(gradients)[0]),
            self._stream,
        )
        self._check(status)

    def activation_frequency(
        self,
        rows: np.ndarray,
        labels: int,
        samples: int,
        classes: int,
        epsilons: Sequence[float],
        counts: Sequence[int],
        not_finite: int,
    ) -> None:
        """As `moda_cuda_activation_frequency`."""
        activations, batch = _activations(rows), _Batch(labels, samples, classes)
        workspace = self._workspace(_ACTIVATION_FREQUENCY, activations, batch)
        status = self._library.moda_cuda_activation_frequency(
            activations.ctypes.data,
            len(activations),
            byref(batch),
            (c_double * len(epsilons))(*epsilons),
            (c_void_p * len(counts))(*counts),
            not_finite,
            workspace.data_ptr(),
            self._stream,
        )
        self._check(status)

    def _workspace(self, operation: int, activations: np.ndarray, batch: _Batch) -> Any:
        size = self._library.moda_cuda_workspace_bytes(
            operation, activations.ctypes.data, len(activations), byref(batch)
        )
        if size < 0:
            self._check(_INVALID_ARGUMENT)
        return self._allocate(size)

    def _check(self, status: int) -> None:
        if status == _OUT_OF_MEMORY:
            raise MemoryError
        if status == _INVALID_ARGUMENT:
            raise ValueError(
                "expected arrays that are present, at most 2**30 units, positions and samples, and "
                "a dtype of the core"
            )
        if status:
            raise RuntimeError(f"CUDA: {self._library.moda_cuda_problem().decode()}")


def _activations(rows: np.ndarray) -> np.ndarray:
    """The rows that `descriptors.rows` made as the structs of the interface."""
    structs = np.empty(len(rows), _ACTIVATION)
    for name, column in zip(_ACTIVATION.names, rows.T, strict=True):
        structs[name] = column
    return structs


def _pointers(structs: np.ndarray) -> np.ndarray:
    """The address of each struct, 0 for those that stand for no array."""
    addresses = structs.ctypes.data + _ACTIVATION.itemsize * np.arange(len(structs))
    return np.where(structs["data"] == 0, 0, addresses)
