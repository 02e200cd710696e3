"""How well composed models tell images of dropped classes from those of their own.

    python benchmarks/other_output.py digits.keras standard.keras --data digits --image-size 16
    python benchmarks/other_output.py resnet20.keras --data CIFAR10/ --samples-per-class 200

The models take images with values from 0 to 1, as `moda train` makes them. Prints a markdown table,
in percent, of means over sub-tasks. "Chosen" are the test images of a sub-task's classes, "dropped"
all others:

- accuracy: on the chosen, without an output for the dropped, or ignoring it: both are the same;
- AUROC of chosen against dropped: by the largest probability of the plain composed model
  ("before"), by 1 - p(other), by the same after calibration, by the full model's 1 - p(dropped);
- sure: dropped images that get a chosen class with a probability of at least 0.9;
- kept: chosen images whose most probable output is not "other".
"""

import argparse
import itertools
from pathlib import Path

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

import moda_keras as mk

SIZES = (2, 3, 5)
SURE = 0.9
COLUMNS = (
    "model", "tau", "classes", "size", "accuracy", "AUROC before", "other", "calibrated", "full",
    "sure before", "other", "calibrated", "full", "kept: other", "calibrated", "full",
)  # fmt: skip


def probabilities(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """Softmax of the outputs, which are logits or probabilities."""
    scores = model.predict(x, batch_size=256, verbose=0).astype("float64")
    if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        return scores
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def measure(modules, classes: list[int], data, x_other: np.ndarray, full: np.ndarray) -> list:
    composed = [
        probabilities(mk.compose(modules, classes, **options), data.x_test)
        for options in ({}, {"other": True}, {"other": True, "other_data": x_other})
    ]
    k, is_chosen = len(classes), np.isin(data.y_test, classes)
    dropped = 1 - full[:, classes].sum(axis=1, keepdims=True)
    composed.append(np.hstack([full[:, classes], dropped]))
    chosen = [each[:, :k] for each in composed]
    right = [np.array(classes)[each.argmax(axis=1)] == data.y_test for each in chosen]
    assert (right[0] == right[1]).all() and (right[0] == right[2]).all()
    scores = [chosen[0].max(axis=1), *(each.sum(axis=1) for each in chosen[1:])]
    return [
        mk.metrics.composed_size(modules, classes),
        right[0][is_chosen].mean(),
        *(roc_auc_score(is_chosen, each) for each in scores),
        *((each[~is_chosen].max(axis=1) >= SURE).mean() for each in chosen),
        *((each[is_chosen].argmax(axis=1) < k).mean() for each in composed[1:]),
    ]


def subtasks_of(classes: int, k: int, number: int) -> list[list[int]]:
    random = np.random.default_rng(0)
    return random.permutation(list(itertools.combinations(range(classes), k)))[:number].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", nargs="+", help=".keras files")
    parser.add_argument("--data", required=True, help="a data set or a folder of images")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--samples-per-class", type=int, help="training images, to decompose")
    parser.add_argument("--test-samples-per-class", type=int)
    parser.add_argument("--other-samples", type=int, default=400, help="to calibrate on")
    parser.add_argument("--subtasks", type=int, default=4, help="of each size")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.9, 1.0])
    arguments = parser.parse_args()
    data = mk.datasets.load(
        arguments.data,
        image_size=arguments.image_size,
        samples_per_class=arguments.samples_per_class,
        test_samples_per_class=arguments.test_samples_per_class,
    )
    x_other = data.x_train[: arguments.other_samples]
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for path in arguments.models:
        model = keras.saving.load_model(path, compile=False)
        full = probabilities(model, data.x_test)
        found = mk.decompose(model, data.x_train, data.y_train, verbose=0)
        for threshold, k in itertools.product(arguments.thresholds, SIZES):
            modules = found.with_threshold(threshold)
            rows = [
                measure(modules, classes, data, x_other, full)
                for classes in subtasks_of(modules.num_classes, k, arguments.subtasks)
            ]
            values = [f"{100 * value:.1f}" for value in np.mean(rows, axis=0)]
            cells = (Path(path).stem, str(threshold), str(k), *values)
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
