"""Draws the README's picture: a trained ResNet-20 of ten classes, and models of three of them.

    KERAS_BACKEND=torch python benchmarks/front_picture.py resnet20.keras --data cifar10/

The same sub-tasks for every size; no retraining and no labels. Parameters, multiply-accumulates and
the median milliseconds of a batch of 32 on this machine; accuracy on test images of the three
classes, where the full model chooses among the same three. `docs/images/front.csv` has the rows.
"""

import argparse
import csv
import dataclasses
from pathlib import Path

import keras
import numpy as np
from trained_models import PIXELS, accuracy, images, subtasks

import moda_keras as mk

IMAGES = Path(__file__).parents[1] / "docs" / "images"
MEASURES = {
    "parameters": ("parameters, thousands", 1e-3),
    "flops": ("multiply-accumulates, millions", 1e-6),
    "milliseconds": ("milliseconds, batch of 32", 1.0),
    "accuracy": ("accuracy, %", 100.0),
}


def measure(model, x, y, classes):
    return {
        "parameters": model.count_params(),
        "flops": mk.metrics.count_flops(model),
        "milliseconds": mk.metrics.measure_latency(model, batch_size=32),
        "accuracy": accuracy(model, x, y, classes),
    }


def rows_of(model, data, sizes, number):
    labels = f"{data.y_train.shape[0]:,} images"
    print(f"importance by class, of {labels}")
    modules = mk.decompose(model, data.x_train, data.y_train, criterion="importance")
    rows = []
    for classes in subtasks(10, [3], number, seed=0):
        x, y = images(data, "test", classes, 1000, 0)
        some, _ = images(data, "train", classes, 800, 1)
        rows.append({"model": "all 10 classes", **measure(model, x, y, classes)})
        for size in sizes:
            chosen = modules.within(parameters=size, classes=classes, calibration_data=some)
            small = mk.compose(chosen, classes, calibration_data=some)
            name = f"3 classes, {size:.0%}"
            rows.append({"model": name, **measure(small, x, y, classes)})
        print(rows[-len(sizes) - 1 :], flush=True)
    return rows


def draw(rows, path):
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = plt.subplots(2, 2, figsize=(8, 3.6), layout="constrained")
    for ax, (key, (label, factor)) in zip(axes.flat, MEASURES.items(), strict=True):
        values = [
            factor * np.mean([float(row[key]) for row in rows if row["model"] == name])
            for name in names
        ]
        bars = ax.barh(names, values, color=["0.6", *["C0"] * (len(names) - 1)])
        ax.bar_label(bars, [f"{value:.3g}" for value in values], padding=3)
        ax.set(title=label, xlim=(0, 1.25 * max(values)), xticks=[])
        ax.title.set_fontsize(10)
        ax.invert_yaxis()
        ax.spines[["top", "right", "bottom"]].set_visible(False)
        if ax not in axes[:, 0]:
            ax.set_yticks([])
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True, help="a folder of CIFAR-10 as image files")
    parser.add_argument("--pixels", choices=PIXELS, default="imagenet")
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.5, 0.25])
    parser.add_argument("--subtasks", type=int, default=3)
    parser.add_argument("--train-images", type=int, default=200, help="of each class")
    arguments = parser.parse_args()
    data = mk.datasets.load(arguments.data, samples_per_class=arguments.train_images)
    scale = PIXELS[arguments.pixels]
    data = dataclasses.replace(
        data,
        x_train=scale(data.x_train).astype("float32"),
        x_test=scale(data.x_test).astype("float32"),
    )
    model = keras.saving.load_model(arguments.model, compile=False)
    rows = rows_of(model, data, arguments.sizes, arguments.subtasks)
    with open(IMAGES / "front.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, IMAGES / "front.png")


if __name__ == "__main__":
    main()
