"""MwT on scikit-learn's digits: modules with and without mask generators.

    KERAS_BACKEND=torch python benchmarks/mwt.py --networks small_cnn small_vgg --seeds 0 1 2

For each network and seed a model is trained with MwT's defaults. Then the reuse accuracy is
measured over random sub-tasks of three classes: of modules that keep the generators; without them,
masks replaced by one, or by the mean of the mask; and with a new head, trained for 30 epochs of
seven steps on the samples of the sub-task.
"""

import argparse

import keras
import numpy as np
from tables import append_row

import moda_keras as mk
from moda_keras.methods import mwt

NETWORKS = {"small_cnn": mk.zoo.small_cnn, "small_vgg": mk.zoo.small_vgg}
TUNED = ("one", "mean")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", choices=NETWORKS, nargs="+", default=["small_cnn"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--subtasks", type=int, default=20)
    parser.add_argument("--tuned", type=int, default=5, help="sub-tasks on which a head is tuned")
    parser.add_argument("--output", help="a CSV file to add the rows to")
    arguments = parser.parse_args()
    digits = mk.datasets.load("digits", image_size=16)
    for network in arguments.networks:
        for seed in arguments.seeds:
            row = {"network": network, "seed": seed, "epochs": arguments.epochs}
            row |= measure(NETWORKS[network], digits, seed, arguments)
            print(row, flush=True)
            if arguments.output:
                append_row(arguments.output, row)


def measure(build, digits, seed: int, arguments: argparse.Namespace) -> dict:
    """Accuracies and the paper's measures, in percent or as fractions."""
    keras.utils.set_random_seed(seed)
    model = mwt.MwTModel.from_model(build((16, 16, 1)))
    model.compile(
        keras.optimizers.SGD(
            keras.optimizers.schedules.CosineDecay(
                0.05, arguments.epochs * -(-len(digits.x_train) // 64)
            ),
            momentum=0.9,
            nesterov=True,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        modular_loss=mwt.MwTLoss(),
    )
    train, test = (digits.x_train, digits.y_train), (digits.x_test, digits.y_test)
    model.fit(*train, epochs=arguments.epochs, batch_size=64, verbose=0)
    sets = {
        "kept": mwt.modularize(model, *train, keep_generators=True, verbose=0),
        "one": mwt.modularize(model, *train, factors="one", verbose=0),
        "mean": mwt.modularize(model, *train, factors="mean", verbose=0),
    }
    random = np.random.default_rng(0)
    subtasks = [sorted(random.permutation(10)[:3].tolist()) for _ in range(arguments.subtasks)]
    row = {"accuracy": model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]}
    for kind, modules in sets.items():
        row[f"all_{kind}"] = mk.metrics.reuse_accuracy(modules, list(range(10)), *test)
        found = [mk.metrics.reuse_accuracy(modules, classes, *test) for classes in subtasks]
        row[f"reuse_{kind}"] = np.mean(found)
    for kind in TUNED:
        found = [tuned(sets[kind], classes, train, test) for classes in subtasks[: arguments.tuned]]
        row[f"tuned_{kind}"] = np.mean(found)
    row["kernels"] = mk.metrics.kernel_retention_rate(sets["kept"])
    row["cohesion"] = mk.metrics.cohesion(sets["kept"], *test)
    row["coupling"] = mk.metrics.coupling(sets["kept"])
    row["size_kept"] = np.mean(list(mk.metrics.module_size(sets["kept"])))
    row["size_removed"] = np.mean(list(mk.metrics.module_size(sets["mean"])))
    return {name: round(float(value), 4) for name, value in row.items()}


def tuned(modules: mk.ModuleSet, classes: list[int], train: tuple, test: tuple) -> float:
    """Accuracy on a sub-task of a composed model with a new head, trained on it."""
    model = mwt.compose_with_head(modules, classes)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    x, y = of_classes(*train, classes)
    model.fit(x, y, epochs=30, batch_size=64, verbose=0)
    x, y = of_classes(*test, classes)
    return model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]


def of_classes(x: np.ndarray, y: np.ndarray, classes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The samples of some classes, with their positions in the list as labels."""
    chosen = np.isin(y, classes)
    return x[chosen], np.searchsorted(classes, y[chosen])


if __name__ == "__main__":
    main()
