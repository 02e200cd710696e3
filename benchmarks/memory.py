"""Peak extra memory of loss and gradient over all hidden activations, over the activations' own.

    KERAS_BACKEND=torch python benchmarks/memory.py --model vgg16 --batch-size 512

Linux only: the peak of the process's resident memory, reset before each call.
"""

import argparse
import ctypes
from pathlib import Path

import activations
import keras
import numpy as np
from ops import BACKENDS

RESET_PEAK = "5"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=activations.MODELS, default="vgg16")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--signs", action="store_true", help="activations of unknown sign")
    arguments = parser.parse_args()
    arguments.compile = False
    arrays = activations.draw(arguments.model, arguments.batch_size)
    own = sum(array.nbytes for array in arrays)
    labels = np.random.default_rng(1).integers(0, arguments.classes, arguments.batch_size)
    candidates = BACKENDS[keras.backend.backend()](
        arrays, labels.astype("int32"), arguments.classes, arguments
    )
    print(f"activations: {own / 2**20:.0f} MiB")
    for name, run in candidates.items():
        run()
        before = reset_peak()
        result = run()
        extra = peak() - before
        print(f"{name}: peak extra {extra / 2**20:.0f} MiB, {extra / own:.2f} of the activations")
        del result


def reset_peak() -> int:
    """Starts a new peak; bytes resident now, what is free handed back to the system."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    return status("VmRSS")


def peak() -> int:
    """The most bytes that were resident since the last reset."""
    return status("VmHWM")


def status(key: str) -> int:
    """A size of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return int(values[key].split()[0]) * 1024


if __name__ == "__main__":
    main()
