"""Seconds, module size and reuse accuracy of searches on scikit-learn's digits.

`python benchmarks/searches.py magnitude incite cnnsplitter` trains one small network, searches its
modules with each method, and prints a row for each.
"""

import argparse
import time

import keras
import numpy as np
from keras import layers

import moda_keras as mk

SUBTASKS = [[0, 1], [2, 7], [3, 5, 8], [4, 9], [1, 6, 7]]
SEARCHES = {
    "magnitude": lambda: mk.methods.magnitude.Magnitude(share=0.5),
    "incite": lambda: mk.methods.incite.INCITE(share=0.6, cluster_size=4),
    "incite-logits": lambda: mk.methods.incite.INCITE(0.6, 4, change="logits"),
    "incite-logits-0.3": lambda: mk.methods.incite.INCITE(0.3, 4, change="logits"),
    "cnnsplitter": lambda: mk.methods.cnnsplitter.CNNSplitter(
        generations=10, population=20, compositions=(20, 100)
    ),
}


def trained_model(digits):
    """A network of two convolutions and a dense layer."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(digits.x_train.shape[1:]),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    model.fit(digits.x_train, digits.y_train, epochs=15, batch_size=64, verbose=0)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("searches", nargs="+", choices=SEARCHES)
    digits = mk.datasets.load("digits")
    test = digits.x_test, digits.y_test
    model = trained_model(digits)
    accuracy = model.evaluate(*test, verbose=0)[1]
    whole = mk.ModuleSet.from_units(model, {})
    full = np.mean([mk.metrics.reuse_accuracy(whole, each, *test) for each in SUBTASKS])
    print(f"model: accuracy {accuracy:.3f}, of the sub-tasks {full:.3f}")
    for name in parser.parse_args().searches:
        start = time.perf_counter()
        modules = SEARCHES[name]().decompose(model, digits.x_train, digits.y_train, verbose=0)
        seconds = time.perf_counter() - start
        size = np.mean(mk.metrics.module_size(modules))
        reuse = np.mean([mk.metrics.reuse_accuracy(modules, each, *test) for each in SUBTASKS])
        print(f"{name}: {seconds:.1f} s, module size {size:.3f}, reuse accuracy {reuse:.3f}")


if __name__ == "__main__":
    main()
