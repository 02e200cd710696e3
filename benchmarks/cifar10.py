"""CIFAR-10, standard against modular training, with a small VGG: accuracy, modules, reuse.

    python benchmarks/cifar10.py train --folder cifar10 --method standard
    python benchmarks/cifar10.py train --folder cifar10 --method modular
    python benchmarks/cifar10.py report --folder cifar10

`folder` holds `train/<class>/*.jpg` and `test/<class>/*.jpg`. Training goes on from its last
complete epoch when it is started again. Models and figures go to `--output`.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import keras
import numpy as np

import moda_keras as mk

CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
BATCH_SIZE = 64


def small_vgg(filters=(32, 64, 128), dense_units=256, classes=10) -> mk.ModularModel:
    """Three blocks of two convolutions and one dense layer."""
    inputs = x = keras.Input((32, 32, 3))
    x = keras.layers.Normalization(mean=MEAN, variance=np.square(STD))(x)
    for block, width in enumerate(filters, start=1):
        for index in (1, 2):
            name = f"block{block}_conv{index}"
            x = keras.layers.Conv2D(width, 3, padding="same", name=name)(x)
            x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
            x = keras.layers.ReLU(name=f"{name}_relu")(x)
        x = keras.layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(dense_units, name="fc1")(x)
    x = keras.layers.ReLU(name="fc1_relu")(x)
    return mk.ModularModel(inputs, keras.layers.Dense(classes, name="logits")(x))


class Augmented(keras.utils.PyDataset):
    """Shuffled batches, each image flipped at random and cropped from itself padded by four."""

    def __init__(self, images, labels, seed=0):
        super().__init__()
        self.images = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
        self.labels = labels
        self.random = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return len(self.labels) // BATCH_SIZE

    def on_epoch_end(self):
        self.order = self.random.permutation(len(self.labels))

    def __getitem__(self, index):
        rows = self.order[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]
        return np.stack([self._augment(self.images[row]) for row in rows]), self.labels[rows]

    def _augment(self, image):
        top, left = self.random.integers(0, 9, size=2)
        image = image[top : top + 32, left : left + 32]
        return image[:, ::-1] if self.random.random() < 0.5 else image


def load_images(arguments) -> mk.datasets.Dataset:
    return mk.datasets.load(
        arguments.folder,
        class_names=CLASS_NAMES,
        samples_per_class=arguments.samples_per_class,
        seed=arguments.seed,
    )


def train(arguments) -> None:
    keras.utils.set_random_seed(arguments.seed)
    data = load_images(arguments)
    batches = Augmented(data.x_train, data.y_train, arguments.seed)
    model = small_vgg()
    schedule = keras.optimizers.schedules.CosineDecay(0.05, arguments.epochs * len(batches))
    model.compile(
        keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        modular_loss=mk.MODALoss() if arguments.method == "modular" else None,
    )
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    callbacks = [
        keras.callbacks.BackupAndRestore(folder / f"{arguments.method}_backup"),
        keras.callbacks.CSVLogger(folder / f"{arguments.method}.csv", append=True),
    ]
    start = time.perf_counter()
    model.fit(batches, epochs=arguments.epochs, verbose=2, callbacks=callbacks)
    seconds = time.perf_counter() - start
    model.save(folder / f"{arguments.method}.keras")
    _, accuracy, *_ = model.evaluate(data.x_test, data.y_test, batch_size=500, verbose=0)
    print(json.dumps({"method": arguments.method, "seconds": seconds, "accuracy": accuracy}))


def report(arguments) -> None:
    """Modules of both models at several thresholds: size, overlap, reuse accuracy."""
    data = load_images(arguments)
    folder = Path(arguments.output)
    results = []
    for method in ("standard", "modular"):
        model = keras.saving.load_model(folder / f"{method}.keras", compile=False)
        modules = mk.decompose(
            model, data.x_train, data.y_train, class_names=CLASS_NAMES, batch_size=500, verbose=0
        )
        logits = model.predict(data.x_test, batch_size=500, verbose=0)
        for threshold in arguments.thresholds:
            row = measure(modules.with_threshold(threshold), logits, data, arguments)
            results.append({"method": method, "threshold": threshold, **row})
            print(json.dumps(results[-1]), flush=True)
    (folder / "report.json").write_text(json.dumps(results, indent=2))


def measure(modules, logits, data, arguments) -> dict:
    """Accuracy of the full model, size and overlap of the modules, accuracy of sub-tasks."""
    random = np.random.default_rng(arguments.seed)
    row = {
        "accuracy": float((logits.argmax(axis=-1) == data.y_test).mean()),
        "module_size": float(np.mean(mk.metrics.module_size(modules))),
        "module_overlap": mk.metrics.mean_overlap(modules),
    }
    for k in (2, 3, 5):
        subsets = list(itertools.combinations(range(10), k))
        chosen = [subsets[i] for i in random.permutation(len(subsets))[: arguments.subtasks]]
        reuse = [
            mk.metrics.reuse_accuracy(modules, classes, data.x_test, data.y_test, batch_size=500)
            for classes in chosen
        ]
        full = [accuracy_among(logits, data.y_test, classes) for classes in chosen]
        size = [mk.metrics.composed_size(modules, classes) for classes in chosen]
        row[f"k={k}"] = {
            "reuse": float(np.mean(reuse)),
            "full": float(np.mean(full)),
            "size": float(np.mean(size)),
        }
    return row


def accuracy_among(logits, labels, classes) -> float:
    """The full model's accuracy on the samples of these classes, choosing among them only."""
    rows = np.isin(labels, classes)
    predicted = np.asarray(classes)[logits[rows][:, classes].argmax(axis=-1)]
    return float((predicted == labels[rows]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["train", "report"])
    parser.add_argument("--folder", required=True, help="the image folder")
    parser.add_argument("--method", choices=["standard", "modular"])
    parser.add_argument("--samples-per-class", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.8, 0.9])
    parser.add_argument("--subtasks", type=int, default=12, help="per number of classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="results/cifar10")
    arguments = parser.parse_args()
    {"train": train, "report": report}[arguments.stage](arguments)


if __name__ == "__main__":
    main()
