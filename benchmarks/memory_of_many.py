"""Memory of a process that composes again and again, and makes many models: it must stay flat.

KERAS_BACKEND=torch python benchmarks/memory_of_many.py
"""

import gc
from pathlib import Path

import numpy as np

import moda_keras as mk


def resident() -> int:
    """Mebibytes of the process; Linux alone tells."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 // 1024


def main() -> None:
    model = mk.zoo.small_cnn((16, 16, 1))
    random = np.random.default_rng(0)
    hidden = mk.find_hidden_activations(model)
    units = {each.name: random.random((10, each.units)) < 0.4 for each in hidden}
    modules = mk.ModuleSet.from_units(model, units)
    for i in range(1001):
        mk.compose(modules, [i % 10, (i + 3) % 10])
        if i % 250 == 0:
            gc.collect()
            print(f"{i} composes: {resident()} MiB", flush=True)
    for i in range(101):
        made = mk.ModularModel.from_model(mk.zoo.lenet5(input_shape=(16, 16, 1)))
        made.compile("sgd", "mse", modular_loss=mk.MODALoss())
        del made
        if i % 50 == 0:
            gc.collect()
            print(f"{i} models: {resident()} MiB", flush=True)


if __name__ == "__main__":
    main()
