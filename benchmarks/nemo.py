"""NeMo's loss and models against MODA's and standard training, on scikit-learn's digits.

python benchmarks/nemo.py
"""

import argparse

import keras
import numpy as np

import moda_keras as mk
from moda_keras.methods import nemo

SUBTASKS = ([0, 1], [2, 7], [1, 4, 7], [3, 5, 8], [0, 2, 4, 6, 8])
WAYS = {
    "standard": (mk.ModularModel, None),
    "MODALoss()": (mk.ModularModel, mk.MODALoss()),
    "NeMoLoss(), units": (mk.ModularModel, nemo.NeMoLoss()),
    'NeMoLoss(against="classes"), units': (mk.ModularModel, nemo.NeMoLoss(against="classes")),
    "NeMoLoss(), NeMoModel": (nemo.NeMoModel, nemo.NeMoLoss()),
    'NeMoLoss(1.4, form="released"), NeMoModel': (
        nemo.NeMoModel,
        nemo.NeMoLoss(1.4, form="released"),
    ),
    "NeMoLoss(0.3), units": (mk.ModularModel, nemo.NeMoLoss(0.3)),
    "NeMoLoss(0.3), NeMoModel": (nemo.NeMoModel, nemo.NeMoLoss(0.3)),
}


def network():
    inputs = x = keras.Input((8, 8, 1))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        x = keras.layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dense(128, activation="relu")(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def show(name, accuracy, modules, test):
    size = np.mean(mk.metrics.module_size(modules))
    overlap = np.nanmean(mk.metrics.module_overlap(modules))
    reuse = np.mean([mk.metrics.reuse_accuracy(modules, classes, *test) for classes in SUBTASKS])
    values = [accuracy, reuse, 100 * size, 100 * overlap]
    texts = [f"{value:.3f}" if value <= 1 else f"{value:.1f}" for value in values]
    print("| " + " | ".join([name, *texts]) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    digits = mk.datasets.load("digits")
    train, test = (digits.x_train, digits.y_train), (digits.x_test, digits.y_test)
    task = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    print("| training | accuracy | reuse accuracy | module size, % | overlap, % |")
    print("|---|---|---|---|---|")
    for name, (cls, loss) in WAYS.items():
        keras.utils.set_random_seed(options.seed)
        model = cls.from_model(network())
        model.compile(keras.optimizers.Adam(), task, metrics=["accuracy"], modular_loss=loss)
        model.fit(*train, batch_size=128, epochs=options.epochs, verbose=0)
        accuracy = model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]
        modules = mk.decompose(model, *train, verbose=0)
        show(name, accuracy, modules, test)
        if cls is nemo.NeMoModel:
            show(f"{name}, without generators", accuracy, nemo.without_generators(modules), test)


if __name__ == "__main__":
    main()
