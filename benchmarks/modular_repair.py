"""What repair adds to a model that was trained for modularity: size and accuracy by threshold.

    KERAS_BACKEND=torch python benchmarks/modular_repair.py

Trains a small CNN on scikit-learn's digits, composes sub-tasks of two and three classes at rising
thresholds, and measures their accuracy with and without repair on 200 samples of their classes.
"""

import argparse
import itertools

import keras
import numpy as np

import moda_keras as mk


def accuracy(model, data, classes):
    chosen = np.isin(data.y_test, classes)
    scores = model.predict(data.x_test[chosen], batch_size=256, verbose=0)
    return np.mean(np.array(classes)[scores.argmax(axis=1)] == data.y_test[chosen])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--subtasks", type=int, default=8, help="Sub-tasks of every size.")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.9, 0.97, 0.99, 1.0])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)
    random = np.random.default_rng(options.seed)
    data = mk.datasets.load("digits", image_size=16)
    model = mk.ModularModel.from_model(mk.zoo.small_cnn((16, 16, 1)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, modular_loss=mk.MODALoss())
    model.fit(data.x_train, data.y_train, batch_size=64, epochs=options.epochs, verbose=0)
    modules = mk.decompose(model, data.x_train, data.y_train, verbose=0)
    print("threshold, size, accuracy of the full model, composed, repaired")
    pairs, triples = (list(itertools.combinations(range(10), k)) for k in (2, 3))
    tasks = [list(each[i]) for each in (pairs, triples) for i in _some(random, each, options)]
    for threshold in options.thresholds:
        found, rows = modules.with_threshold(threshold), []
        for classes in tasks:
            x = data.x_train[np.isin(data.y_train, classes)][:200]
            full = mk.metrics.full_accuracy(model, classes, data.x_test, data.y_test)
            composed = mk.compose(found, classes)
            repaired = mk.compose(found, classes, calibration_data=x)
            size = mk.metrics.composed_size(found, classes)
            rows.append([size, full, *(accuracy(m, data, classes) for m in (composed, repaired))])
        print(threshold, *np.round(np.mean(rows, axis=0), 4), flush=True)


def _some(random, each, options):
    return random.permutation(len(each))[: options.subtasks]


if __name__ == "__main__":
    main()
