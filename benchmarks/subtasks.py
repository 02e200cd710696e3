"""All 1,013 sub-tasks of a 10-class model: masks as inputs against composing one by one.

    python benchmarks/subtasks.py --epochs 20 --composed 40
    python benchmarks/subtasks.py --modules vgg.modules --folder cifar10

Trains a small VGG on scikit-learn's digits at 32x32, or takes a module file. The one-by-one way is
measured on a sample of the sub-tasks, drawn at random, and counted up to all of them. Prints one
line of JSON: seconds (wall clock, and of the processor, which tell more on a shared machine), the
ratio of the latter, and by how much the accuracies differ.
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np
from tables import append_row

import moda_keras as mk
from moda_keras.experiments import MaskedEvaluator, build_network, draw_subtasks, subtasks_of


def train(data, epochs) -> mk.ModuleSet:
    keras.utils.set_random_seed(0)
    model = mk.ModularModel.from_model(build_network("small_vgg", data.image_shape, 10))
    schedule = keras.optimizers.schedules.CosineDecay(0.05, epochs * -(-len(data.x_train) // 64))
    model.compile(
        keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        modular_loss=mk.MODALoss(),
    )
    model.fit(data.x_train, data.y_train, batch_size=64, epochs=epochs, verbose=2)
    return mk.decompose(model, data.x_train, data.y_train, batch_size=256, verbose=0)


def timed(run) -> tuple[object, np.ndarray]:
    """What `run` gives; seconds by the clock and of the processor."""
    start = np.array([time.perf_counter(), time.process_time()])
    result = run()
    return result, np.array([time.perf_counter(), time.process_time()]) - start


def measure(modules, data, composed, batch_size) -> dict:
    subtasks = subtasks_of(10)
    chosen = draw_subtasks(subtasks, composed)
    mk.metrics.reuse_accuracy(
        modules, chosen[0], data.x_test, data.y_test
    )  # imports, first compilations
    one_by_one, slow = timed(
        lambda: [mk.metrics.reuse_accuracy(modules, s, data.x_test, data.y_test) for s in chosen]
    )
    accuracy, fast = timed(
        lambda: MaskedEvaluator(modules, batch_size=batch_size).accuracy(
            subtasks, data.x_test, data.y_test
        )
    )
    slow = slow * len(subtasks) / len(chosen)
    found = dict(zip(subtasks, accuracy, strict=True))
    differences = np.array([found[s] for s in chosen]) - one_by_one
    return {
        "test images": len(data.y_test),
        "module size": float(np.nanmean(mk.metrics.module_size(modules))),
        "overlap": mk.metrics.mean_overlap(modules),
        "mean reuse accuracy": float(accuracy.mean()),
        "composed": len(chosen),
        "seconds one by one": slow[0],
        "seconds masked": fast[0],
        "processor seconds one by one": slow[1],
        "processor seconds masked": fast[1],
        "ratio": slow[1] / fast[1],
        "largest difference": float(np.abs(differences).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", help="module file; made if there is none")
    parser.add_argument("--folder", default="digits", help="image folder")
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--test-samples", type=int, help="per class")
    parser.add_argument("--composed", type=int, default=40, help="sub-tasks composed one by one")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--csv", help="file to add the figures to")
    arguments = parser.parse_args()
    is_digits = arguments.folder == "digits"
    data = mk.datasets.load(
        arguments.folder,
        image_size=32 if is_digits else None,
        test_samples_per_class=arguments.test_samples,
    )
    if arguments.modules and Path(arguments.modules).exists():
        modules = mk.load_modules(arguments.modules)
    else:
        modules = train(data, arguments.epochs)
        if arguments.modules:
            modules.save(arguments.modules)
    figures = measure(
        modules.with_threshold(arguments.threshold), data, arguments.composed, arguments.batch_size
    )
    row = {"backend": keras.backend.backend(), "threshold": arguments.threshold, **figures}
    print(json.dumps(row))
    if arguments.csv:
        append_row(arguments.csv, row)


if __name__ == "__main__":
    main()
