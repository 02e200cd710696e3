"""Counts activations on many machines, and merges the counts into modules.

Each task reads a model and one part of the data from files, decomposes, and writes a module file;
the parts have nothing else in common. `ModuleSet.merge` adds them up: the modules are those of one
pass over all data.

    KERAS_BACKEND=torch python examples/cluster.py --engine dask     pip install dask distributed
    KERAS_BACKEND=torch python examples/cluster.py --engine ray      pip install ray

With a cluster of your own: `Client("scheduler:8786")`, or `ray.init("auto")`, and a folder that all
machines see.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path


def count(part: Path, model_file: Path) -> Path:
    """The task of one machine: the modules of one part of the data."""
    import keras
    import numpy as np

    import moda_keras as mk

    data = np.load(part)
    model = keras.models.load_model(model_file)
    modules = mk.decompose(model, data["x"], data["y"], verbose=0)
    modules.save(part.with_suffix(".modules"), model_file=model_file)  # refers to it, no copy
    return part.with_suffix(".modules")


def count_with_dask(parts: Sequence[Path], model_file: Path, workers: int) -> list[Path]:
    from dask.distributed import Client

    with Client(n_workers=workers, threads_per_worker=1) as client:
        return client.gather(client.map(count, parts, model_file=model_file))


def count_with_ray(parts: Sequence[Path], model_file: Path, workers: int) -> list[Path]:
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        task = ray.remote(count)
        return ray.get([task.remote(part, model_file) for part in parts])
    finally:
        ray.shutdown()


ENGINES = {"dask": count_with_dask, "ray": count_with_ray}


def write_files(folder: Path, parts: int) -> tuple[list[Path], Path]:
    """A trained model, and the digits in parts."""
    import keras
    import numpy as np

    import moda_keras as mk

    data = mk.datasets.load("digits", image_size=16)
    keras.utils.set_random_seed(0)
    model = mk.zoo.lenet5(input_shape=(16, 16, 1))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(data.x_train, data.y_train, epochs=3, verbose=0)
    model.save(folder / "model.keras")
    paths = [folder / f"part{i}.npz" for i in range(parts)]
    for i, path in enumerate(paths):
        np.savez(path, x=data.x_train[i::parts], y=data.y_train[i::parts])
    return paths, folder / "model.keras"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=ENGINES, default="dask")
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()

    import numpy as np

    import moda_keras as mk

    with tempfile.TemporaryDirectory() as name:
        parts, model_file = write_files(Path(name), arguments.parts)
        files = ENGINES[arguments.engine](parts, model_file, arguments.workers)
        merged = mk.ModuleSet.merge(mk.load_modules(each) for each in files)
        data = mk.datasets.load("digits", image_size=16)
        whole = mk.decompose(merged.model, data.x_train, data.y_train, verbose=0)
    is_equal = all(np.array_equal(merged.units[name], whole.units[name]) for name in whole.units)
    print(f"{len(files)} parts, {merged.sample_counts.sum()} samples: {merged}")
    print(f"equal to the modules of one pass over all data: {is_equal}")


if __name__ == "__main__":
    main()
