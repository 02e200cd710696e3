"""A modular training step over a standard one, in turns in one process.

KERAS_BACKEND=torch python benchmarks/training.py --model vgg16 --batch-size 128
"""

import argparse

import keras
import numpy as np
from timing import median_seconds

import moda_keras as mk

MODELS = {"vgg16": mk.zoo.vgg16, "resnet18": mk.zoo.resnet18, "mobilenet": mk.zoo.mobilenet}


def compiled(build, modular_loss) -> mk.ModularModel:
    model = mk.ModularModel.from_model(build())
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        modular_loss=modular_loss,
    )
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, default="vgg16")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    x = random.normal(size=(arguments.batch_size, 32, 32, 3)).astype("float32")
    y = random.integers(0, 10, arguments.batch_size)
    models = {
        "standard": compiled(MODELS[arguments.model], None),
        "modular": compiled(MODELS[arguments.model], mk.MODALoss()),
    }
    steps = {name: lambda m=model: m.train_on_batch(x, y) for name, model in models.items()}
    seconds = median_seconds(steps, arguments.repeats)
    print(
        f"{keras.backend.backend()} {arguments.model} batch {arguments.batch_size}: "
        f"standard {1e3 * seconds['standard']:.0f} ms, modular {1e3 * seconds['modular']:.0f} ms, "
        f"ratio {seconds['modular'] / seconds['standard']:.3f}"
    )


if __name__ == "__main__":
    main()
