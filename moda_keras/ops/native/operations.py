"""Calls of the native libraries: addresses and numbers in, no framework."""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import byref, c_double, c_void_p
from typing import Any, NamedTuple

import numpy as np

from moda_keras.ops.native.interface import (
    ACTIVATION,
    CUDA_OPERATIONS,
    NUMBERS,
    Batch,
    Options,
    Saved,
)


class Inputs(NamedTuple):
    """What every operation takes.

    Attributes:
        activations: Structs of `descriptors.structs`, one for each activation.
        labels: Address of int32 labels; -1 and `classes` mark a sample of no class.
        samples: B.
        classes: C.
    """

    activations: np.ndarray
    labels: int
    samples: int
    classes: int


class Operations:
    """The operations of the CPU library, with the meaning of csrc/core/moda_core.h.

    Args:
        library: From `libraries.load_cpu`.
        threads: How many threads to use; 0 for as many as the process may use, at most
            OMP_NUM_THREADS.
    """

    prefix = "moda"

    def __init__(self, library: ctypes.CDLL, threads: int = 0):
        self._library = library
        library.moda_set_threads(threads)

    def objectives_forward(
        self,
        inputs: Inputs,
        options: tuple[bool, bool],
        saved: tuple[int, int, int],
        objectives: int,
    ) -> None:
        """Writes the objectives; `options`: averages_pairs, unit_divides."""
        self._call(
            "objectives_forward", inputs, byref(Options(*options)), byref(Saved(*saved)), objectives
        )

    def objectives_backward(
        self,
        inputs: Inputs,
        options: tuple[bool, bool],
        saved: tuple[int, int, int],
        upstream: int,
        vectors: int,
        gradients: np.ndarray,
    ) -> None:
        """Writes the gradients: `gradients` holds a struct for each activation."""
        self._call(
            "objectives_backward",
            inputs,
            byref(Options(*options)),
            byref(Saved(*saved)),
            upstream,
            vectors,
            _pointers(gradients, inputs),
        )

    def class_statistics_forward(
        self, inputs: Inputs, saved: tuple[int, int], results: Sequence[int]
    ) -> None:
        """Writes sums, counts, nonzero and l1."""
        self._call("class_statistics_forward", inputs, byref(Saved(*saved, None)), *results)

    def class_statistics_backward(
        self,
        inputs: Inputs,
        saved: tuple[int, int],
        upstream: tuple[int, int],
        vectors: int,
        gradients: np.ndarray,
    ) -> None:
        """Writes the gradients; `upstream`: of sums and l1."""
        self._call(
            "class_statistics_backward",
            inputs,
            byref(Saved(*saved, None)),
            *upstream,
            vectors,
            _pointers(gradients, inputs),
        )

    def activation_frequency(
        self, inputs: Inputs, epsilons: Sequence[float], counts: Sequence[int], not_finite: int
    ) -> None:
        """Adds to the counts of every activation and to `not_finite`."""
        count = len(inputs.activations)
        if len(epsilons) != count or len(counts) != count:
            raise ValueError(
                "Expected an epsilon and counts for each activation. Received: "
                f"{len(epsilons)} and {len(counts)} for {count} activations"
            )
        self._call(
            "activation_frequency",
            inputs,
            (c_double * count)(*epsilons),
            (c_void_p * count)(*counts),
            not_finite,
        )

    def _call(self, name: str, inputs: Inputs, *arguments: Any) -> None:
        batch = Batch(inputs.labels, inputs.samples, inputs.classes)
        activations = inputs.activations
        arrays = (activations.ctypes.data, len(activations), byref(batch))
        function = getattr(self._library, f"{self.prefix}_{name}")
        self._check(function(*arrays, *arguments, *self._work(name, arrays)))

    def _work(self, name: str, arrays: tuple) -> tuple:
        return ()

    def _check(self, status: int) -> None:
        if status == NUMBERS["MODA_OUT_OF_MEMORY"]:
            raise MemoryError
        if status == NUMBERS["MODA_INVALID_LABEL"]:
            raise ValueError("Expected labels from -1 to the number of classes.")
        if status == NUMBERS["MODA_INVALID_ARGUMENT"]:
            raise ValueError(
                "Expected arrays that are present, as many samples in each as labels, sizes that "
                "fit (at most 2**30 units, positions and samples with CUDA) and a known dtype."
            )


class CudaOperations(Operations):
    """The operations of the CUDA library on one stream: csrc/core/cuda/moda_cuda.h.

    Calls enqueue work and return; all addresses are of memory on the current device.

    Args:
        library: From `libraries.load_cuda`.
        stream: Handle of the CUDA stream, 0 for the default one.
        allocate: Allocates that many bytes, aligned to 256, as an object with a `data_ptr()`
            that may be let go of as soon as the work is enqueued.
    """

    prefix = "moda_cuda"

    def __init__(self, library: ctypes.CDLL, stream: int, allocate: Callable[[int], Any]):
        self._library = library
        self._stream = stream
        self._allocate = allocate

    def _call(self, name: str, inputs: Inputs, *arguments: Any) -> None:
        self._workspace = None
        super()._call(name, inputs, *arguments)
        # Kept until the work is enqueued.
        self._workspace = None

    def _work(self, name: str, arrays: tuple) -> tuple:
        if name not in CUDA_OPERATIONS:
            return (self._stream,)
        size = self._library.moda_cuda_workspace_bytes(CUDA_OPERATIONS.index(name), *arrays)
        if size < 0:
            self._check(NUMBERS["MODA_INVALID_ARGUMENT"])
        self._workspace = self._allocate(size)
        return self._workspace.data_ptr(), self._stream

    def _check(self, status: int) -> None:
        super()._check(status)
        if status:
            raise RuntimeError(f"CUDA: {self._library.moda_cuda_problem().decode()}")


def _pointers(structs: np.ndarray, inputs: Inputs) -> Any:
    """The address of each struct, 0 for those without an array."""
    if len(structs) != len(inputs.activations):
        raise ValueError(
            "Expected a gradient for each activation. Received: "
            f"{len(structs)} for {len(inputs.activations)} activations"
        )
    addresses = structs.ctypes.data + ACTIVATION.itemsize * np.arange(len(structs))
    return (c_void_p * len(structs))(*np.where(structs["data"] == 0, 0, addresses).tolist())
