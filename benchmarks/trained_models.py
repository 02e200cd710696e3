"""Slim models of trained networks, without modular training: how much accuracy is left?

    python benchmarks/trained_models.py resnet20=resnet20.keras --data cifar10/ --pixels imagenet \
        --output trained-models.csv

For every sub-task and size: the model of the chosen classes when only the head is sliced; slim,
with the dropped units zero; with mean and variance matched; with least squares; with units chosen
in steps besides; and two of them after an epoch of training with labels. Rows that the CSV file
already has are left out.
"""

import argparse
import csv
import dataclasses
import time
from pathlib import Path

import keras
import numpy as np
from tables import append_row

import moda_keras as mk

KEY = ("network", "classes", "size", "method")
METHODS = (
    "head only",
    "zero",
    "moments",
    "least squares",
    "in steps",
    "zero, 1 epoch",
    "in steps, 1 epoch",
)
PIXELS = {
    "0-1": lambda x: x,
    "0-255": lambda x: x * 255,
    "imagenet": lambda x: (x - [0.485, 0.456, 0.406]) / np.array([0.229, 0.224, 0.225]),
}


def images(data, split, classes, limit, seed):
    """Up to `limit` random images of some classes, and their labels."""
    x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
    rows = np.flatnonzero(np.isin(y, classes))
    rows = np.random.default_rng(seed).permutation(rows)[:limit]
    return x[rows], y[rows]


def accuracy(model, x, y, classes):
    """Share of samples that the model, with one output for each class, recognises."""
    columns = model.predict(x, batch_size=256, verbose=0)
    columns = columns[:, classes] if columns.shape[1] > len(classes) else columns
    return float(np.mean(np.array(classes)[columns.argmax(axis=1)] == y))


def trained(model, x, y, classes, learning_rate):
    """The model after one epoch with labels."""
    places = np.zeros(max(classes) + 1, int)
    places[classes] = np.arange(len(classes))
    is_softmax = mk.graph.activation_name(model.layers[-1]) == "softmax"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=not is_softmax)
    model.compile(keras.optimizers.SGD(learning_rate, momentum=0.9), loss)
    model.fit(x, places[y], batch_size=64, epochs=1, verbose=0)
    return model


def variants(modules, classes, size, calibration, labelled, learning_rate):
    """Makes the models, by method."""
    chosen = modules.within(parameters=size, classes=classes)
    repaired = {"calibration_data": calibration}

    def head_only():
        return mk.compose(mk.ModuleSet.from_units(modules.model, {}), classes)

    def in_steps():
        found = modules.within(parameters=size, classes=classes, **repaired)
        return mk.compose(found, classes, **repaired)

    return {
        "head only": head_only,
        "zero": lambda: mk.compose(chosen, classes),
        "moments": lambda: mk.compose(chosen, classes, repair="moments", **repaired),
        "least squares": lambda: mk.compose(chosen, classes, **repaired),
        "in steps": in_steps,
        "zero, 1 epoch": lambda: trained(
            mk.compose(chosen, classes), *labelled, classes, learning_rate
        ),
        "in steps, 1 epoch": lambda: trained(in_steps(), *labelled, classes, learning_rate),
    }


def subtasks(number, sizes, each, seed):
    """Random sub-tasks of every size."""
    random = np.random.default_rng(seed)
    return [sorted(random.permutation(number)[:k].tolist()) for k in sizes for _ in range(each)]


def measure(network, modules, data, options):
    done = set()
    if Path(options.output).exists():
        with open(options.output, newline="") as file:
            done = {tuple(row[key] for key in KEY) for row in csv.DictReader(file)}
    full_size = modules.model.count_params()
    for classes in subtasks(modules.num_classes, options.k, options.subtasks, options.seed):
        x_test, y_test = images(data, "test", classes, options.test_images, 0)
        calibration, _ = images(data, "train", classes, options.calibration_images, 1)
        labelled = images(data, "train", classes, None, 2)
        full = accuracy(modules.model, x_test, y_test, classes)
        name = " ".join(map(str, classes))
        for size in options.sizes:
            made = variants(modules, classes, size, calibration, labelled, options.learning_rate)
            for method in options.methods:
                if (network, name, str(size), method) in done:
                    continue
                started = time.perf_counter()
                model = made[method]()
                seconds = time.perf_counter() - started
                row = {"network": network, "classes": name, "size": size, "method": method}
                row["k"] = len(classes)
                row["parameters"] = round(model.count_params() / full_size, 4)
                row["accuracy"] = round(accuracy(model, x_test, y_test, classes), 4)
                row |= {"full": round(full, 4), "seconds": round(seconds, 1)}
                append_row(options.output, row)
                print(row, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="+", metavar="NAME=FILE", help="Keras model files.")
    parser.add_argument("--data", required=True, help="Folder train/CLASS, test/CLASS.")
    parser.add_argument("--class-names", nargs="+", help="In the order of the outputs.")
    parser.add_argument("--pixels", default="0-1", choices=PIXELS)
    parser.add_argument("--k", type=int, nargs="+", default=[2, 3, 5])
    parser.add_argument("--subtasks", type=int, default=2, help="Sub-tasks of every k.")
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.5, 0.25])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--importance-images", type=int, default=2000)
    parser.add_argument("--calibration-images", type=int, default=800)
    parser.add_argument("--test-images", type=int, default=2000)
    parser.add_argument("--training-images", type=int, default=1000, help="Of each class.")
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="trained-models.csv")
    options = parser.parse_args()
    data = mk.datasets.load(
        options.data, class_names=options.class_names, samples_per_class=options.training_images
    )
    scaled = PIXELS[options.pixels]
    data = dataclasses.replace(
        data,
        x_train=scaled(data.x_train).astype("float32"),
        x_test=scaled(data.x_test).astype("float32"),
    )
    for each in options.networks:
        network, _, file = each.partition("=")
        model = keras.saving.load_model(file, compile=False)
        x, _ = images(data, "train", range(len(data.class_names)), options.importance_images, 3)
        modules = mk.decompose(model, x, criterion="importance", verbose=0)
        measure(network, modules, data, options)


if __name__ == "__main__":
    main()
