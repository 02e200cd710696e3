"""Repair with few samples: how often is the composed model worse than without repair?

    KERAS_BACKEND=torch python benchmarks/few_samples.py

Small CNNs trained on scikit-learn's digits, 30 % of their parameters chosen by importance for
several sub-tasks, repaired with random samples of the classes. "worse" is by more than half a point
of accuracy.
"""

import warnings
from collections import defaultdict

import keras
import numpy as np

import moda_keras as mk

NUMBERS = (4, 8, 16, 32, 64, 128, 256)
SUBTASKS = ([0, 6, 8], [3, 5, 9], [2, 7])
SEEDS, DRAWS = (0, 1), 4


def main() -> None:
    warnings.filterwarnings("ignore", category=UserWarning)
    digits = mk.datasets.load("digits", image_size=16)
    gains = defaultdict(list)
    for seed in SEEDS:
        modules = trained(digits, seed)
        for classes in SUBTASKS:
            for number, gain in gains_of(modules, classes, digits):
                gains[number].append(gain)
    print("| samples | mean gain | worst | worse |\n|---|---|---|---|")
    for number, values in gains.items():
        worse = sum(value < -0.005 for value in values)
        row = [f"{100 * np.mean(values):.1f}", f"{100 * min(values):.1f}"]
        print(f"| {number} | {' | '.join(row)} | {worse} of {len(values)} |")


def trained(digits, seed: int) -> mk.ModuleSet:
    keras.utils.set_random_seed(seed)
    model = mk.zoo.small_cnn(input_shape=(16, 16, 1))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(digits.x_train, digits.y_train, epochs=8, verbose=0)
    return mk.decompose(model, digits.x_train, digits.y_train, criterion="importance", verbose=0)


def gains_of(modules: mk.ModuleSet, classes: list[int], digits):
    """How much accuracy repair adds, for each number of samples and each draw."""
    chosen = modules.within(parameters=0.3, classes=classes, verbose=0)
    x, y = digits.x_test, digits.y_test
    without = mk.metrics.reuse_accuracy(chosen, classes, x, y)
    samples = digits.x_train[np.isin(digits.y_train, classes)]
    for number in NUMBERS:
        for draw in range(DRAWS):
            rows = np.random.default_rng([number, draw]).permutation(len(samples))[:number]
            small = mk.compose(chosen, classes, calibration_data=samples[rows], verbose=0)
            yield number, mk.metrics.reuse_accuracy(chosen, classes, x, y, composed=small) - without


if __name__ == "__main__":
    main()
