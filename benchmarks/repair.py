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


def timed(name, call):
    """The result of a call, whose wall and CPU time is printed."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name}: {wall:.1f} s, CPU {cpu:.1f} s", flush=True)
    return result


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
    timed("compose", lambda: mk.compose(modules, classes))
    small = timed("compose and repair", lambda: mk.compose(modules, classes, calibration_data=x))
    timed("predict, the original", lambda: model.predict(x, batch_size=32, verbose=0))
    print(f"size: {small.count_params() / model.count_params():.2f}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
