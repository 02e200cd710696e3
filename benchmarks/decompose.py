"""Decomposing over predicting the same data, and the seconds that composing takes.

KERAS_BACKEND=torch python benchmarks/decompose.py --samples 2048
"""

import argparse

import keras
import numpy as np
from timing import median_seconds

import moda_keras as mk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    x = random.normal(size=(arguments.samples, 32, 32, 3)).astype("float32")
    y = random.integers(0, 10, arguments.samples)
    model = mk.zoo.vgg16()
    batching = {"batch_size": arguments.batch_size, "verbose": 0}
    seconds = median_seconds(
        {
            "predict": lambda: model.predict(x, **batching),
            "decompose": lambda: mk.decompose(model, x, y, **batching),
        },
        arguments.repeats,
    )
    hidden = mk.find_hidden_activations(model)
    units = {h.name: random.random((10, h.units)) < 0.5 for h in hidden}
    modules = mk.ModuleSet.from_units(model, units)
    composed = median_seconds({"compose": lambda: mk.compose(modules, [0, 1, 2])}, 3)["compose"]
    print(
        f"{keras.backend.backend()} vgg16, {arguments.samples} samples: "
        f"predict {seconds['predict']:.2f} s, decompose {seconds['decompose']:.2f} s, "
        f"ratio {seconds['decompose'] / seconds['predict']:.3f}; compose {composed:.2f} s"
    )


if __name__ == "__main__":
    main()
