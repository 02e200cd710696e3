"""Transformers and sequences with padding: standard training against training for modularity.

    KERAS_BACKEND=torch python benchmarks/sequence_models.py --epochs 30
    KERAS_BACKEND=torch python benchmarks/sequence_models.py --text clinc150.json.gz --epochs 20

Without `--text`: a small vision transformer of composite layers on scikit-learn's digits at 16x16,
in patches of 4x4. With it: 20 intents of CLINC150 (a JSON file of lists "train" and "test" of pairs
of sentence and intent), sentences padded with zeros, `Embedding(mask_zero=True)`, an LSTM in both
directions and a transformer block. Prints a markdown table.
"""

import argparse
import gzip
import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

import moda_keras as mk
from moda_keras.evaluation import full_accuracy, mean_overlap, module_size, reuse_accuracy

QUANTILES = (0.25, 0.5, 0.75, 0.9)
WIDTH, HEADS = 32, 4
INTENTS, LENGTH, VOCABULARY = 20, 16, 800


class Data(NamedTuple):
    """Training and test samples, and the number of classes."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int


@keras.saving.register_keras_serializable(package="benchmarks")
class Block(layers.Layer):
    """A transformer block with the normalization in front."""

    def __init__(self, width: int, heads: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.width, self.heads = width, heads
        self.norms = [layers.LayerNormalization() for _ in range(2)]
        self.attention = layers.MultiHeadAttention(heads, width // heads)
        self.mlp = layers.Dense(4 * width, activation="gelu")
        self.back = layers.Dense(width)

    def build(self, shape: tuple) -> None:
        for norm in self.norms:
            norm.build(shape)
        self.attention.build(shape, shape)
        self.mlp.build(shape)
        self.back.build((*shape[:-1], 4 * self.width))

    def call(self, x: Any) -> Any:
        y = self.norms[0](x)
        x = x + self.attention(y, y)
        return x + self.back(self.mlp(self.norms[1](x)))

    def get_config(self) -> dict:
        return {**super().get_config(), "width": self.width, "heads": self.heads}


@keras.saving.register_keras_serializable(package="benchmarks")
class Positions(layers.Layer):
    """Adds a trained vector for each position."""

    def build(self, shape: tuple) -> None:
        self.vectors = self.add_weight(shape=(1, *shape[1:]), name="vectors")

    def call(self, x: Any) -> Any:
        return x + self.vectors


def vision_transformer(classes: int) -> keras.Model:
    image = keras.Input((16, 16, 1))
    x = layers.Reshape((16, WIDTH))(layers.Conv2D(WIDTH, 4, strides=4)(image))
    x = Positions()(x)
    for index in range(2):
        x = Block(WIDTH, HEADS, name=f"block{index}")(x)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(image, layers.Dense(classes)(x))


def text_classifier(classes: int) -> keras.Model:
    """Of layers that pass Keras's masks on: `layers.Add`, not `+`."""
    words = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(VOCABULARY, WIDTH, mask_zero=True)(words)
    x = layers.Bidirectional(layers.LSTM(WIDTH // 2, return_sequences=True))(x)
    y = layers.LayerNormalization()(x)
    attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name="attention")
    x = layers.Add()([x, attention(y, y)])
    y = layers.Dense(4 * WIDTH, activation="gelu", name="mlp")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(WIDTH)(y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(words, layers.Dense(classes)(x))


def digits() -> Data:
    found = mk.datasets.load("digits", image_size=16)
    return Data(found.x_train, found.y_train, found.x_test, found.y_test, 10)


def sentences(path: Path) -> Data:
    """The first intents by name, as indices of the most frequent words; 0 is padding, 1 others."""
    with gzip.open(path, "rt") as file:
        pairs = json.load(file)
    intents = sorted({intent for _, intent in pairs["train"]})[:INTENTS]
    chosen = {part: [p for p in pairs[part] if p[1] in intents] for part in ("train", "test")}
    counts = Counter(word for text, _ in chosen["train"] for word in text.split())
    frequent = [word for word, _ in counts.most_common(VOCABULARY - 2)]
    index = {word: place for place, word in enumerate(frequent, 2)}
    arrays = []
    for part in ("train", "test"):
        x = np.zeros((len(chosen[part]), LENGTH), "int32")
        for row, (text, _) in zip(x, chosen[part], strict=True):
            words = [index.get(word, 1) for word in text.split()][:LENGTH]
            row[: len(words)] = words
        arrays += [x, np.array([intents.index(intent) for _, intent in chosen[part]])]
    return Data(*arrays, INTENTS)


def trained(
    build: Callable[[int], keras.Model], data: Data, epochs: int, is_modular: bool
) -> mk.ModularModel:
    keras.utils.set_random_seed(0)
    model = mk.ModularModel.from_model(build(data.classes))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    modular = {"modular_loss": mk.MODALoss()} if is_modular else {}
    model.compile(keras.optimizers.Adam(2e-3), loss, **modular)
    model.fit(data.x_train, data.y_train, batch_size=64, epochs=epochs, verbose=0)
    return model


def row(modules: mk.ModuleSet, model: keras.Model, data: Data) -> str:
    random = np.random.default_rng(0)
    triples = list(itertools.combinations(range(data.classes), 3))
    x, y = data.x_test, data.y_test
    chosen = random.permutation(triples)[:6].tolist()
    reuse = np.mean([reuse_accuracy(modules, classes, x, y) for classes in chosen])
    full = np.mean([full_accuracy(model, classes, x, y) for classes in chosen])
    values = (module_size(modules).mean(), mean_overlap(modules), reuse, full)
    return " | ".join(f"{100 * value:.1f} %" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--text", type=Path, help="CLINC150 as .json.gz")
    arguments = parser.parse_args()
    data = digits() if arguments.text is None else sentences(arguments.text)
    build = vision_transformer if arguments.text is None else text_classifier
    print("| training | accuracy | epsilon | module size | overlap | reuse, 3 classes | full |")
    print("|---|---|---|---|---|---|---|")
    for is_modular in (False, True):
        model = trained(build, data, arguments.epochs, is_modular)
        right = np.argmax(model.predict(data.x_test, verbose=0), axis=1) == data.y_test
        choices: dict[str, Any] = {"0.001": 1e-3, "auto": "auto"}
        for q in QUANTILES:
            choices[f"quantile {q}"] = mk.choose_epsilons(
                model, data.x_train, quantile=q, verbose=0
            )
        for name, epsilon in choices.items():
            modules = mk.decompose(model, data.x_train, data.y_train, epsilon=epsilon, verbose=0)
            training = "modular" if is_modular else "standard"
            accuracy = f"{100 * right.mean():.1f} %"
            print(f"| {training} | {accuracy} | {name} | {row(modules, model, data)} |", flush=True)


if __name__ == "__main__":
    main()
