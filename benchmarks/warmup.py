"""Does modular training keep up with standard training? Small networks, two optimizers.

    KERAS_BACKEND=torch python benchmarks/warmup.py --output warmup.csv

Trains every network with every optimizer, loss and seed on scikit-learn's digits at 16x16, and
measures test accuracy, module size and overlap. Runs that the CSV file already has are left out.
"""

import argparse
import csv
import itertools
import math
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers
from tables import append_row

import moda_keras as mk

KEY = ("network", "optimizer", "seed", "loss", "epochs", "batch_size")
# Filters and strides of MobileNet's separable convolutions at 32x32.
SEPARABLE_CONVOLUTIONS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)


# ------------------------------------------------------------------------------------- networks


def mlp(shape, classes):
    x = image = keras.Input(shape)
    x = layers.Flatten()(x)
    for units in (128, 64):
        x = layers.Dense(units, activation="relu")(x)
    return keras.Model(image, layers.Dense(classes)(x))


def cnn(shape, classes, *, norm=False, dropout=0.0, momentum=0.9):
    x = image = keras.Input(shape)
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, padding="same")(x)
        x = layers.BatchNormalization(momentum=momentum)(x) if norm else x
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(dropout)(x) if dropout else x
    x = layers.Dense(128, activation="relu")(x)
    x = layers.Dropout(dropout)(x) if dropout else x
    return keras.Model(image, layers.Dense(classes)(x))


def quarter_resnet18(shape, classes):
    def conv_norm(x, filters, kernel_size=3, strides=1):
        x = layers.Conv2D(filters, kernel_size, strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization(momentum=0.9)(x)

    image = keras.Input(shape)
    x = layers.ReLU()(conv_norm(image, 16))
    for stage, filters in enumerate((16, 32, 64, 128)):
        for block in range(2):
            strides = 2 if stage and not block else 1
            shortcut = conv_norm(x, filters, 1, strides) if strides > 1 else x
            x = layers.ReLU()(conv_norm(x, filters, strides=strides))
            x = layers.ReLU()(layers.Add()([conv_norm(x, filters), shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes)(x))


def quarter_mobilenet(shape, classes):
    image = keras.Input(shape)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    for filters, strides in SEPARABLE_CONVOLUTIONS:
        x = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.Conv2D(filters // 4, 1, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(classes)(x))


@keras.saving.register_keras_serializable(package="warmup")
class Position(layers.Layer):
    """Adds a learned vector to every patch."""

    def build(self, shape):
        self.embedding = self.add_weight(shape=shape[1:], initializer="random_normal")

    def call(self, x):
        return x + self.embedding


def vit(shape, classes):
    image = keras.Input(shape)
    x = layers.Conv2D(32, 4, 4)(image)
    x = Position()(layers.Reshape((-1, 32))(x))
    for _ in range(2):
        h = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 8)(h, h)])
        h = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.Dense(32)(layers.Dense(64, activation="gelu")(h))])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(image, layers.Dense(classes)(x))


NETWORKS = {
    "lenet5": mk.zoo.lenet5,
    "mlp": mlp,
    "cnn": cnn,
    "cnn_bn": lambda shape, classes: cnn(shape, classes, norm=True),
    "cnn_dropout": lambda shape, classes: cnn(shape, classes, dropout=0.5),
    "cnn_bn_dropout": lambda shape, classes: cnn(shape, classes, norm=True, dropout=0.5),
    "small_vgg": mk.zoo.small_vgg,
    # Keras's own momentum of 0.99: at test time the moving averages lag behind the weights.
    "cnn_bn99": lambda shape, classes: cnn(shape, classes, norm=True, momentum=0.99),
    "cnn_bn99_dropout": lambda s, c: cnn(s, c, norm=True, dropout=0.5, momentum=0.99),
    "resnet18_quarter": quarter_resnet18,
    "mobilenet_quarter": quarter_mobilenet,
    "vit": vit,
}


# ----------------------------------------------------------------------------------- optimizers


def sgd(rate):
    return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)


OPTIMIZERS = {
    "adam": lambda steps: keras.optimizers.Adam(1e-3),
    "sgd": lambda steps: sgd(keras.optimizers.schedules.CosineDecay(0.05, steps)),
    "sgd_constant": lambda steps: sgd(0.05),
}


# --------------------------------------------------------------------------------------- losses

LOSSES = {
    "standard": lambda: None,
    "constant": lambda: mk.MODALoss(warmup=None),
    "default": mk.MODALoss,
}


# ------------------------------------------------------------------------------------ the survey


def train(
    data,
    network,
    optimizer,
    loss,
    seed,
    epochs,
    batch_size,
):
    keras.utils.set_random_seed(seed)
    network = NETWORKS[network](data.x_train.shape[1:], len(data.class_names))
    model = mk.ModularModel.from_model(network)
    steps = epochs * math.ceil(len(data.x_train) / batch_size)
    model.compile(
        OPTIMIZERS[optimizer](steps),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        modular_loss=LOSSES[loss](),
    )
    start = time.perf_counter()
    model.fit(data.x_train, data.y_train, batch_size, epochs, verbose=0)
    return model, time.perf_counter() - start


def measure(model, data) -> dict:
    predicted = np.argmax(model.predict(data.x_test, batch_size=360, verbose=0), axis=-1)
    modules = mk.decompose(model, data.x_train, data.y_train, batch_size=480, verbose=0)
    return {
        "accuracy": round(float(np.mean(predicted == data.y_test)), 4),
        "module_size": round(float(np.nanmean(mk.metrics.module_size(modules))), 4),
        "overlap": round(mk.metrics.mean_overlap(modules), 4),
    }


def done(path) -> set:
    if not Path(path).exists():
        return set()
    with open(path, newline="") as file:
        return {tuple(row[name] for name in KEY) for row in csv.DictReader(file)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=["adam", "sgd"])
    parser.add_argument("--losss", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no run after these")
    parser.add_argument("--output", default="results.csv")
    arguments = parser.parse_args()
    data = mk.datasets.load("digits", image_size=16)
    started = time.perf_counter()
    for seed, network, optimizer, loss in itertools.product(
        arguments.seeds, arguments.networks, arguments.optimizers, arguments.losss
    ):
        key = (network, optimizer, seed, loss, arguments.epochs, arguments.batch_size)
        if tuple(map(str, key)) in done(arguments.output):
            continue
        if time.perf_counter() - started > arguments.seconds:
            return
        model, seconds = train(
            data, network, optimizer, loss, seed, arguments.epochs, arguments.batch_size
        )
        row = {
            **dict(zip(KEY, key, strict=True)),
            **measure(model, data),
            "seconds": round(seconds, 1),
        }
        append_row(arguments.output, row)
        print(*row.values(), flush=True)


if __name__ == "__main__":
    main()
