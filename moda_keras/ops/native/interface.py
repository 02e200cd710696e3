"""The C interface of the native libraries: the structs and numbers of csrc/core/moda_core.h.

A library states the same as text (csrc/core/interface.h) and is refused if it differs.
"""

import ctypes
from ctypes import c_char_p, c_int, c_int32, c_int64, c_void_p

import numpy as np

VERSION = 2
CUDA_VERSION = 2
POSITION_AXES = 3
NUMBERS = {
    "MODA_FLOAT32": 0,
    "MODA_FLOAT64": 1,
    "MODA_FLOAT16": 2,
    "MODA_BFLOAT16": 3,
    "MODA_OK": 0,
    "MODA_INVALID_ARGUMENT": 1,
    "MODA_OUT_OF_MEMORY": 2,
    "MODA_CUDA_ERROR": 3,
    "MODA_INVALID_LABEL": 4,
    "MODA_AVERAGE_CLASSES": 0,
    "MODA_AVERAGE_PAIRS": 1,
    "MODA_OBJECTIVES": 3,
    "MODA_POSITION_AXES": POSITION_AXES,
}
DTYPE_CODES = {
    name: NUMBERS[f"MODA_{name.upper()}"] for name in ("float32", "float64", "float16", "bfloat16")
}
# The workspaces of the CUDA library: csrc/core/cuda/moda_cuda.h.
CUDA_OPERATIONS = (
    "objectives_forward",
    "objectives_backward",
    "class_statistics_forward",
    "activation_frequency",
)

# moda_activation; address 0 stands for no array.
ACTIVATION = np.dtype(
    [
        ("data", np.uint64),
        ("dtype", np.int32),
        ("non_negative", np.int32),
        ("samples", np.int64),
        ("units", np.int64),
        ("unit_stride", np.int64),
        ("sample_stride", np.int64),
        ("positions", np.int64, (POSITION_AXES,)),
        ("position_strides", np.int64, (POSITION_AXES,)),
    ],
    align=True,
)


class Batch(ctypes.Structure):
    """moda_batch."""

    _fields_ = (("labels", c_void_p), ("samples", c_int64), ("classes", c_int64))


class Options(ctypes.Structure):
    """moda_options."""

    _fields_ = (("averaging", c_int32), ("unit_divides", c_int32))


class Saved(ctypes.Structure):
    """moda_saved."""

    _fields_ = (("normalized", c_void_p), ("inverse_norms", c_void_p), ("totals", c_void_p))


_ARRAYS = (c_void_p, c_int64, c_void_p)  # activations, count, batch
_OPERATIONS = {
    "objectives_forward": [c_void_p] * 3,  # options, saved, objectives
    "objectives_backward": [c_void_p] * 5,  # options, saved, upstream, vectors, gradients
    "class_statistics_forward": [c_void_p] * 5,  # saved, sums, counts, nonzero, l1
    # saved, gradients of sums and of l1, vectors, gradients
    "class_statistics_backward": [c_void_p] * 5,
    "activation_frequency": [c_void_p] * 3,  # epsilons, counts, not_finite
}
_CPU_FUNCTIONS = {
    "moda_interface": (c_char_p, ()),
    "moda_instruction_set": (c_char_p, ()),
    "moda_set_threads": (None, (c_int,)),
    "moda_threads": (c_int, ()),
    **{f"moda_{name}": (c_int, (*_ARRAYS, *rest)) for name, rest in _OPERATIONS.items()},
}
_CUDA_FUNCTIONS = {
    "moda_cuda_interface": (c_char_p, ()),
    "moda_cuda_device_count": (c_int, ()),
    "moda_cuda_problem": (c_char_p, ()),
    "moda_cuda_workspace_bytes": (c_int64, (c_int32, *_ARRAYS)),
    **{
        # Those with a workspace take it before the stream.
        f"moda_cuda_{name}": (
            c_int,
            (*_ARRAYS, *rest, *[c_void_p] * (2 if name in CUDA_OPERATIONS else 1)),
        )
        for name, rest in _OPERATIONS.items()
    },
}


def declare_cpu(library: ctypes.CDLL) -> None:
    """Declares the functions of the CPU library; OSError if it has another interface."""
    _declare(library, "moda_interface", text(), _CPU_FUNCTIONS)


def declare_cuda(library: ctypes.CDLL) -> None:
    """Declares the functions of the CUDA library; OSError if it has another interface."""
    expected = f"{text()}; cuda={CUDA_VERSION} operations={len(CUDA_OPERATIONS)}"
    _declare(library, "moda_cuda_interface", expected, _CUDA_FUNCTIONS)


def text() -> str:
    """The interface as the libraries state it."""
    numbers = " ".join(f"{name}={value}" for name, value in NUMBERS.items())
    offsets = {name: ACTIVATION.fields[name][1] for name in ACTIVATION.names}
    parts = [f"version={VERSION}", f" {numbers}"]
    parts.append(_struct("moda_activation", ACTIVATION.itemsize, offsets))
    for name, struct in (("moda_batch", Batch), ("moda_options", Options), ("moda_saved", Saved)):
        fields = {field: getattr(struct, field).offset for field, _ in struct._fields_}
        parts.append(_struct(name, ctypes.sizeof(struct), fields))
    return ";".join(parts)


def _struct(name: str, size: int, offsets: dict[str, int]) -> str:
    return f" {name}={size} " + " ".join(f"{field}={at}" for field, at in offsets.items())


def _declare(library: ctypes.CDLL, function: str, expected: str, functions: dict) -> None:
    try:
        state = getattr(library, function)
    except AttributeError:
        raise OSError("it does not state its interface: reinstall moda_keras") from None
    state.restype = c_char_p
    actual = state().decode()
    if actual != expected:
        raise OSError(
            f"it was built for another version of moda_keras: reinstall moda_keras. Expected the "
            f"interface {expected!r}. Received: {actual!r}"
        )
    for name, (result, arguments) in functions.items():
        declared = getattr(library, name)
        declared.restype, declared.argtypes = result, arguments
