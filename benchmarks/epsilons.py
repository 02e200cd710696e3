"""Modules of networks whose activations are never exactly zero, by the epsilon of membership.

    KERAS_BACKEND=torch python benchmarks/epsilons.py

scikit-learn's digits at 16x16, three convolutions of 16, 32, 64 and a dense layer of 128, trained
for modularity with each activation; tau 0.9. Prints a markdown table.
"""

import argparse
import itertools

import keras
import numpy as np

import moda_keras as mk
from moda_keras.evaluation import full_accuracy, mean_overlap, module_size, reuse_accuracy

QUANTILES = (0.25, 0.5, 0.75, 0.9)


def network(activation: str) -> mk.ModularModel:
    inputs = x = keras.Input((16, 16, 1))
    for filters in (16, 32, 64):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation=activation)(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Dense(128, activation=activation)(keras.layers.Flatten()(x))
    return mk.ModularModel(inputs, keras.layers.Dense(10)(x))


def trained(activation: str, data, epochs: int) -> mk.ModularModel:
    keras.utils.set_random_seed(0)
    model = network(activation)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)
    model.compile(optimizer, loss, modular_loss=mk.MODALoss())
    model.fit(data.x_train, data.y_train, batch_size=64, epochs=epochs, verbose=0)
    return model


def row(modules, model, data) -> str:
    random = np.random.default_rng(0)
    pairs = random.permutation(list(itertools.combinations(range(10), 3)))[:12]
    x, y = data.x_test, data.y_test
    reuse = np.mean([reuse_accuracy(modules, pair, x, y) for pair in pairs.tolist()])
    full = np.mean([full_accuracy(model, pair, x, y) for pair in pairs.tolist()])
    values = (module_size(modules).mean(), mean_overlap(modules), reuse, full)
    return " | ".join(f"{100 * value:.1f} %" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--activations", nargs="+", default=["relu", "gelu", "tanh"])
    arguments = parser.parse_args()
    data = mk.datasets.load("digits", image_size=16)
    print("| activation | epsilon | module size | overlap | reuse, 3 classes | full model |")
    print("|---|---|---|---|---|---|")
    for activation in arguments.activations:
        model = trained(activation, data, arguments.epochs)
        choices = {"default": None}
        if activation != "relu":
            choices |= {
                f"quantile {q}": mk.choose_epsilons(model, data.x_train, quantile=q, verbose=0)
                for q in QUANTILES
            }
        for name, epsilon in choices.items():
            given = {"epsilon": 1e-3 if epsilon is None else epsilon}
            modules = mk.decompose(model, data.x_train, data.y_train, verbose=0, **given)
            print(f"| {activation} | {name} | {row(modules, model, data)} |", flush=True)


if __name__ == "__main__":
    main()
