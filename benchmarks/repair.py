"""What repair by least squares costs: seconds and peak memory, for keras.applications.

    KERAS_BACKEND=torch python benchmarks/repair.py --network ResNet50 --samples 256

Weights, images and the half of the units that stays are random: the cost does not depend on them.
"""

import argparse
import resource
import time

import keras
import numpy as np

import moda_keras as mk


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="ResNet50")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--share", type=float, default=0.7, help="Share of units that stay.")
    options = parser.parse_args()
    shape = (options.image_size, options.image_size, 3)
    model = getattr(keras.applications, options.network)(weights=None, input_shape=shape)
    random = np.random.default_rng(0)
    units = {
        each.name: np.tile(random.random(each.units) < options.share, (1000, 1))
        for each in mk.find_hidden_activations(model)
    }
    modules = mk.ModuleSet.from_units(model, units)
    x = random.random((options.samples, *shape), "float32")
    classes = list(range(5))
    seconds = {}
    for name, data in (("compose", None), ("compose and repair", x)):
        started = time.perf_counter()
        small = mk.compose(modules, classes, calibration_data=data)
        seconds[name] = time.perf_counter() - started
    started = time.perf_counter()
    model.predict(x, batch_size=32, verbose=0)
    seconds["predict, the original"] = time.perf_counter() - started
    for name, value in seconds.items():
        print(f"{name}: {value:.1f} s")
    print(f"size: {small.count_params() / model.count_params():.2f}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
