"""Loss and gradient over all hidden activations of a model: ours, rivals and the limit, in turns.

    KERAS_BACKEND=torch python benchmarks/ops.py --model vgg16 --batch-sizes 32 128 512 2048
    KERAS_BACKEND=tensorflow python benchmarks/ops.py
    KERAS_BACKEND=torch python benchmarks/ops.py --batch-sizes 128 --classes 2 10 100 1000

What is measured, with the gradient to every activation, in float32 on the CPU:

- native: this library's native operations;
- reference: its reference in `keras.ops`, class sums;
- compiled: the reference under torch.compile or XLA (`--compile`; compiling takes a minute);
- pairwise: cosines of all pairs of samples, a B x B matrix for every activation (torch);
- read: one sum over every activation, which is the limit;
- forward, write (jax): the loss alone, and a bare write of gradients; a training step fuses that.
"""

import argparse
import sys

import activations
import keras
import numpy as np
from implementations import with_mode
from tables import append_row
from timing import median_seconds

import moda_keras as mk


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=activations.MODELS, default="vgg16")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128])
    parser.add_argument("--classes", type=int, nargs="+", default=[10])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--signs", action="store_true", help="activations of unknown sign")
    parser.add_argument("--without", nargs="+", default=[], help="what to leave out")
    parser.add_argument("--output", help="a CSV file to add the rows to")
    arguments = parser.parse_args()
    print(mk.ops.native_status(), file=sys.stderr)
    for batch_size in arguments.batch_sizes:
        arrays = activations.draw(arguments.model, batch_size)
        for classes in arguments.classes:
            labels = np.random.default_rng(1).integers(0, classes, batch_size).astype("int32")
            candidates = BACKENDS[keras.backend.backend()](arrays, labels, classes, arguments)
            kept = {k: v for k, v in candidates.items() if k not in arguments.without}
            report(arguments, batch_size, classes, median_seconds(kept, arguments.repeats))


def report(arguments, batch_size: int, classes: int, seconds: dict[str, float]) -> None:
    row = {
        "backend": keras.backend.backend(),
        "model": arguments.model,
        "batch_size": batch_size,
        "classes": classes,
        **{f"{name}_ms": round(1e3 * value, 2) for name, value in seconds.items()},
    }
    if "native" in seconds:
        row["native_over_read"] = round(seconds["native"] / seconds["read"], 2)
        for rival in ("reference", "pairwise"):
            if rival in seconds:
                row[f"{rival}_over_native"] = round(seconds[rival] / seconds["native"], 2)
    print(row, flush=True)
    if arguments.output:
        append_row(arguments.output, row)


# ---------------------------------------------------------------------------------------- torch


def torch_candidates(arrays, labels, classes, arguments) -> dict:
    import torch

    leaves = [torch.from_numpy(array).requires_grad_() for array in arrays]
    ids = torch.from_numpy(labels)
    loss = mk.MODALoss()
    known = [not arguments.signs] * len(leaves)

    def of(tensors):
        return loss(tensors, ids, classes, non_negative=known)

    candidates = {
        "native": with_mode("1", lambda: torch.autograd.grad(of(leaves), leaves)),
        "reference": with_mode("0", lambda: torch.autograd.grad(of(leaves), leaves)),
        "pairwise": lambda: torch.autograd.grad(torch_pairwise(leaves, ids, loss), leaves),
        "read": lambda: [leaf.detach().sum() for leaf in leaves],
    }
    if arguments.compile:
        compiled = torch.compile(of)
        candidates["compiled"] = with_mode(
            "0", lambda: torch.autograd.grad(compiled(leaves), leaves)
        )
    return candidates


def torch_pairwise(leaves, ids, loss):
    """Means over pairs of samples, from the whole matrix of cosines, one activation at a time."""
    import torch

    same = ids[:, None] == ids[None, :]
    diagonal = torch.eye(len(ids), dtype=torch.bool)
    affinity = dispersion = compactness = 0
    for leaf in leaves:
        vectors = leaf.mean(dim=(1, 2)) if leaf.dim() == 4 else leaf
        unit = torch.nn.functional.normalize(vectors, dim=1)
        cosines = unit @ unit.T
        affinity = affinity + 1 - cosines[same & ~diagonal].mean()
        dispersion = dispersion + cosines[~same].mean()
        compactness = compactness + vectors.abs().sum(dim=1).mean() / vectors.shape[1]
    total = loss.alpha * affinity + loss.beta * dispersion + loss.gamma * compactness
    return total / len(leaves)


# ----------------------------------------------------------------------------------- tensorflow


def tensorflow_candidates(arrays, labels, classes, arguments) -> dict:
    import tensorflow as tf

    tensors = [tf.constant(array) for array in arrays]
    ids = tf.constant(labels)
    loss = mk.MODALoss()
    known = [not arguments.signs] * len(arrays)

    def graph(jit_compile):
        @tf.function(jit_compile=jit_compile)
        def value_and_gradients(tensors, ids):
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                value = loss(tensors, ids, classes, non_negative=known)
            return tape.gradient(value, tensors)

        return lambda: value_and_gradients(tensors, ids)

    @tf.function
    def read(tensors):
        return [tf.reduce_sum(tensor) for tensor in tensors]

    candidates = {"reference": with_mode("0", graph(False)), "read": lambda: read(tensors)}
    if arguments.compile:
        candidates["compiled"] = with_mode("0", graph(True))
    return candidates


# ------------------------------------------------------------------------------------------ jax


def jax_candidates(arrays, labels, classes, arguments) -> dict:
    import jax

    tensors = [jax.numpy.asarray(array) for array in arrays]
    ids = jax.numpy.asarray(labels)
    loss = mk.MODALoss()
    known = [not arguments.signs] * len(arrays)

    def value(tensors, ids):
        return loss(tensors, ids, classes, non_negative=known)

    gradient = jax.jit(jax.grad(value))
    read = jax.jit(lambda tensors: [tensor.sum() for tensor in tensors])
    forward = jax.jit(value)
    write = jax.jit(lambda scale: [jax.numpy.full(tensor.shape, scale) for tensor in tensors])
    return {
        "reference": lambda: jax.block_until_ready(gradient(tensors, ids)),
        "forward": lambda: jax.block_until_ready(forward(tensors, ids)),
        "write": lambda: jax.block_until_ready(write(0.5)),
        "read": lambda: jax.block_until_ready(read(tensors)),
    }


BACKENDS = {
    "torch": torch_candidates,
    "tensorflow": tensorflow_candidates,
    "jax": jax_candidates,
}

if __name__ == "__main__":
    main()
