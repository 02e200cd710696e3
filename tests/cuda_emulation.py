"""The CUDA core compiled for the processor, and the operations of either core on NumPy arrays."""

import contextlib
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

from moda_keras.ops.native.descriptors import NO_ARRAY, Array, describe, structs
from moda_keras.ops.native.operations import CudaOperations, Inputs, Operations

ROOT = Path(__file__).parents[1]
EMULATION = ROOT / "tests" / "native" / "emulation"
CORE = ROOT / "csrc" / "core"
COMPILER = shutil.which(os.environ.get("CXX", "g++"))
# A load or store of a vector that is not aligned stops the process, as it stops a GPU.
FLAGS = [
    *("-x", "c++", "-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-w"),
    *("-U_FORTIFY_SOURCE", "-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"),
]


def build(folder: Path) -> Path:
    """The library in `folder`, compiled unless it is there for the same sources."""
    sources = [*sorted(CORE.glob("cuda/*.cu")), CORE / "arguments.cpp", EMULATION / "control.cpp"]
    headers = [*CORE.glob("*.h"), *CORE.glob("cuda/*.*h"), *EMULATION.glob("*.h")]
    digest = hashlib.sha256(" ".join([str(COMPILER), *FLAGS]).encode())
    for path in [*sources, *sorted(headers)]:
        digest.update(path.read_bytes())
    library = folder / f"moda_cuda_{digest.hexdigest()[:16]}.so"
    if not library.exists():
        unfinished = library.with_suffix(f".{os.getpid()}")
        include = [f"-I{EMULATION}", f"-I{CORE}"]
        subprocess.run([COMPILER, *FLAGS, *include, *sources, "-o", unfinished], check=True)
        unfinished.replace(library)
    return library


class Memory:
    """Memory of exactly the wanted size, full of NaN, between zones that nobody may write to."""

    ZONE = 256

    def __init__(self, size: int):
        self.size = size
        self._bytes = np.full(size + 3 * self.ZONE, 0xFF, np.uint8)
        self._start = self.ZONE + -self._bytes.ctypes.data % self.ZONE

    def data_ptr(self) -> int:
        return self._bytes.ctypes.data + self._start

    def array(self, shape, dtype) -> np.ndarray:
        inner = self._bytes[self._start : self._start + self.size]
        return inner.view(dtype).reshape(shape)

    def check(self) -> None:
        assert (self._bytes[: self._start] == 0xFF).all(), "written before the start"
        assert (self._bytes[self._start + self.size :] == 0xFF).all(), "written past the end"


class Runner:
    """The operations on NumPy arrays.

    Args:
        library: The CPU library, or a CUDA library that is emulated.
    """

    def __init__(self, library):
        self._memory: list[Memory] = []
        is_cuda = hasattr(library, "moda_cuda_interface")
        self.operations = (
            CudaOperations(library, 0, self.allocate) if is_cuda else Operations(library)
        )

    def allocate(self, size: int) -> Memory:
        self._memory.append(Memory(size))
        return self._memory[-1]

    def empty(self, shape, dtype) -> np.ndarray:
        dtype = np.dtype(dtype)
        return self.allocate(int(np.prod(shape)) * dtype.itemsize).array(shape, dtype)

    @contextlib.contextmanager
    def _checked(self):
        self._memory = []
        yield
        for memory in self._memory:
            memory.check()

    def objectives(
        self, activations, axes, labels, classes, options=(False, True), upstream=None, known=None
    ):
        """Values (A, 3); with `upstream`, the gradients, vectors for activations of known sign."""
        known = known or [False] * len(activations)
        real = real_dtype(activations)
        samples, labels = len(labels), np.asarray(labels, np.int32)
        units = sum(a.shape[axis] for a, axis in zip(activations, axes, strict=True))
        with self._checked():
            values = self.empty((len(activations), 3), np.float64)
            normalized = self.empty((samples * units,), real)
            inverse_norms = self.empty((len(activations), samples), np.float64)
            totals = self.empty((units,), real)
            batch = (labels.ctypes.data, samples, classes)
            saved = (normalized.ctypes.data, inverse_norms.ctypes.data, totals.ctypes.data)
            inputs = Inputs(structs(_describe(activations, axes, known)), *batch)
            self.operations.objectives_forward(inputs, options, saved, values.ctypes.data)
            if upstream is None:
                return values
            upstream = np.asarray(upstream, np.float64)
            vectors = self.empty((samples * units,), real)
            gradients = [
                None if sign else _like(self, a) for a, sign in zip(activations, known, strict=True)
            ]
            described, outputs = _describe_pairs(activations, gradients, axes, known)
            self.operations.objectives_backward(
                Inputs(described, *batch),
                options,
                saved,
                upstream.ctypes.data,
                vectors.ctypes.data,
                outputs,
            )
        return values, _or_vectors(activations, gradients, axes, vectors)

    def class_statistics(self, activations, axes, labels, classes, upstream=None):
        """Sums, counts, nonzero, l1; with `upstream` for sums and l1, the gradients."""
        real, count = real_dtype(activations), len(activations)
        samples, labels = len(labels), np.asarray(labels, np.int32)
        units = sum(a.shape[axis] for a, axis in zip(activations, axes, strict=True))
        known = [False] * count
        with self._checked():
            shapes = [(classes, units), (classes,), (classes, count), (classes, count)]
            results = [self.empty(shape, real) for shape in shapes]
            normalized = self.empty((samples * units,), real)
            inverse_norms = self.empty((count, samples), np.float64)
            batch = (labels.ctypes.data, samples, classes)
            saved = (normalized.ctypes.data, inverse_norms.ctypes.data)
            self.operations.class_statistics_forward(
                Inputs(structs(_describe(activations, axes, known)), *batch),
                saved,
                [result.ctypes.data for result in results],
            )
            if upstream is None:
                return results
            upstream = [np.ascontiguousarray(each, real) for each in upstream]
            vectors = self.empty((samples * units,), real)
            gradients = [_like(self, activation) for activation in activations]
            described, outputs = _describe_pairs(activations, gradients, axes, known)
            self.operations.class_statistics_backward(
                Inputs(described, *batch),
                saved,
                [each.ctypes.data for each in upstream],
                vectors.ctypes.data,
                outputs,
            )
        return results, gradients

    def activation_frequency(self, activations, axes, labels, classes, epsilons):
        """Counts (C, D) for every activation, and (A,) units not finite."""
        labels = np.asarray(labels, np.int32)
        with self._checked():
            counts = [
                self.empty((classes, a.shape[axis]), np.int32)
                for a, axis in zip(activations, axes, strict=True)
            ]
            not_finite = self.empty((len(activations),), np.int32)
            for array in [*counts, not_finite]:
                array[...] = 0
            self.operations.activation_frequency(
                Inputs(
                    structs(_describe(activations, axes, [False] * len(activations))),
                    labels.ctypes.data,
                    len(labels),
                    classes,
                ),
                list(epsilons),
                [count.ctypes.data for count in counts],
                not_finite.ctypes.data,
            )
        return counts, not_finite


def real_dtype(activations) -> np.dtype:
    is_double = any(a.dtype == np.float64 for a in activations)
    return np.dtype(np.float64 if is_double else np.float32)


def _like(runner: Runner, activation: np.ndarray) -> np.ndarray:
    """Dense, its axes in the memory order of the activation."""
    order = sorted(range(activation.ndim), key=lambda i: -activation.strides[i])
    dense = runner.empty([activation.shape[i] for i in order], activation.dtype)
    return dense.transpose([order.index(i) for i in range(activation.ndim)])


def _array(array: np.ndarray) -> Array:
    return Array(array.ctypes.data, [stride // array.itemsize for stride in array.strides])


def _describe(activations, axes, known):
    return [
        describe([_array(a)], a.dtype.name, a.shape, axis, sign)[0]
        for a, axis, sign in zip(activations, axes, known, strict=True)
    ]


def _describe_pairs(activations, gradients, axes, known):
    pairs = []
    for a, gradient, axis, sign in zip(activations, gradients, axes, known, strict=True):
        arrays = [_array(array) for array in (a, gradient) if array is not None]
        described = describe(arrays, a.dtype.name, a.shape, axis, sign)
        pairs.append(described if len(described) == 2 else (*described, NO_ARRAY))
    inputs, outputs = zip(*pairs, strict=True)
    return structs(inputs), structs(outputs)


def _or_vectors(activations, gradients, axes, vectors):
    results, start = [], 0
    for a, gradient, axis in zip(activations, gradients, axes, strict=True):
        shape = (a.shape[0], a.shape[axis])
        end = start + shape[0] * shape[1]
        results.append(vectors[start:end].reshape(shape) if gradient is None else gradient)
        start = end
    return results
