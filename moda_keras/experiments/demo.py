"""The main job on scikit-learn's digits: train, decompose, compose, replace."""

import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from moda_keras import datasets, zoo
from moda_keras import evaluation as metrics
from moda_keras.methods.moda.decompose import decompose
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reuse.compose import compose
from moda_keras.reuse.replace import replace
from moda_keras.training.moda_loss import MODALoss
from moda_keras.training.modular_model import ModularModel

IMAGE_SIZE = 16
BATCH_SIZE = 64
LEARNING_RATE = 0.05
TARGET_CLASS = 3


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model of the demo with its modules, and how it did.

    Attributes:
        modules: Its modules.
        accuracy: Test accuracy of the full model.
        train_seconds, decompose_seconds: Wall-clock time.
        curve: For every number of classes k: means over sub-tasks of k classes.
    """

    modules: ModuleSet
    accuracy: float
    train_seconds: float
    decompose_seconds: float
    curve: "SubtaskCurve"


@dataclass(frozen=True, eq=False)
class SubtaskCurve:
    """Means over the sub-tasks of each number of classes.

    Attributes:
        classes: List of k.
        reuse, full: Accuracy of the composed models, and of the full model on the same classes.
        size, flops: Size and multiply-accumulates over those of the full model.
    """

    classes: list[int]
    reuse: list[float]
    full: list[float]
    size: list[float]
    flops: list[float]


@dataclass(frozen=True, eq=False)
class Replacement:
    """Test accuracy of a weak model before and after one of its classes was replaced.

    Attributes:
        before, after: Pairs of the accuracy on the target class and on the other classes.
        seconds: Wall-clock time of the replacement and its calibration.
    """

    before: tuple[float, float]
    after: tuple[float, float]
    seconds: float


def build_network() -> ModularModel:
    """Three convolutions of 16, 32 and 64 channels and a dense layer of 128 units."""
    inputs = x = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    for index, filters in enumerate((16, 32, 64), start=1):
        x = keras.layers.Conv2D(filters, 3, padding="same", name=f"conv{index}")(x)
        x = keras.layers.BatchNormalization(name=f"conv{index}_bn")(x)
        x = keras.layers.ReLU(name=f"conv{index}_relu")(x)
        if index < 3:
            x = keras.layers.MaxPooling2D(name=f"pool{index}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(128, name="fc1")(x)
    x = keras.layers.ReLU(name="fc1_relu")(x)
    return ModularModel(inputs, keras.layers.Dense(10, name="logits")(x), name="digits_cnn")


def compile_model(model: keras.Model, steps: int, **kwargs) -> None:
    """The papers' recipe: SGD with Nesterov momentum and cosine decay."""
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    model.compile(
        keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **kwargs,
    )


def train_and_decompose(
    data: datasets.Dataset, modular_loss: MODALoss | None, *, epochs: int, seed: int, subtasks: int
) -> TrainedModel:
    """Trains the network, with the modular loss or without, and finds its modules.

    Args:
        data: The digits.
        modular_loss: The loss, or None for standard training.
        epochs: Number of epochs.
        seed: Seed of weights and batches.
        subtasks: How many sub-tasks to compose for each number of classes.

    Returns:
        A `TrainedModel`.
    """
    keras.utils.set_random_seed(seed)
    model = build_network()
    steps = epochs * -(-len(data.x_train) // BATCH_SIZE)
    compile_model(model, steps, modular_loss=modular_loss)
    start = time.perf_counter()
    model.fit(data.x_train, data.y_train, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
    trained = time.perf_counter()
    modules = decompose(
        model, data.x_train, data.y_train, class_names=data.class_names, batch_size=256, verbose=0
    )
    decomposed = time.perf_counter()
    return TrainedModel(
        modules=modules,
        accuracy=metrics.full_accuracy(model, range(10), data.x_test, data.y_test),
        train_seconds=trained - start,
        decompose_seconds=decomposed - trained,
        curve=measure_subtasks(modules, data, subtasks=subtasks, seed=seed),
    )


def measure_subtasks(
    modules: ModuleSet, data: datasets.Dataset, *, subtasks: int, seed: int
) -> SubtaskCurve:
    """Composes sub-tasks of 2 to 10 classes, drawn at random, and measures them.

    Args:
        modules: The modules.
        data: The digits; the test images are used.
        subtasks: How many sub-tasks for each number of classes.
        seed: Seed of the draw.

    Returns:
        A `SubtaskCurve`.
    """
    random = np.random.default_rng(seed)
    full_flops = metrics.count_flops(modules.model)
    rows = []
    for k in range(2, modules.num_classes + 1):
        every = list(itertools.combinations(range(modules.num_classes), k))
        chosen = random.permutation(len(every))[:subtasks]
        measured = [_measure_subtask(modules, list(every[i]), data, full_flops) for i in chosen]
        rows.append((k, *np.mean(measured, axis=0).tolist()))
    return SubtaskCurve(*map(list, zip(*rows, strict=True)))


def _measure_subtask(
    modules: ModuleSet, classes: list[int], data: datasets.Dataset, full_flops: int
) -> tuple[float, float, float, float]:
    composed = compose(modules, classes)
    x, y = data.x_test, data.y_test
    return (
        metrics.reuse_accuracy(modules, classes, x, y, composed=composed),
        metrics.full_accuracy(modules.model, classes, x, y),
        metrics.composed_size(modules, classes),
        metrics.count_flops(composed) / full_flops,
    )


def replace_in_weak_model(
    modules: ModuleSet, data: datasets.Dataset, *, seed: int, epochs: int = 5
) -> Replacement:
    """Trains a LeNet5 too briefly, replaces one of its classes by a module, and calibrates.

    Args:
        modules: Modules of a strong model.
        data: The digits.
        seed: Seed of weights and batches.
        epochs: Epochs of calibration.

    Returns:
        A `Replacement`.
    """
    keras.utils.set_random_seed(seed)
    weak = weak_lenet5(data)
    before = _accuracy_of_target_and_others(weak, data)
    start = time.perf_counter()
    patched = replace(weak, modules[TARGET_CLASS], target_class=TARGET_CLASS)
    compile_model(patched, epochs * -(-len(data.x_train) // BATCH_SIZE))
    patched.fit(data.x_train, data.y_train, batch_size=BATCH_SIZE, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - start
    return Replacement(before, _accuracy_of_target_and_others(patched, data), seconds)


def weak_lenet5(data: datasets.Dataset, epochs: int = 20) -> keras.Model:
    """A LeNet5 that has seen only a tenth of the images of the target class."""
    weak = zoo.lenet5(input_shape=data.x_train.shape[1:])
    of_target = np.flatnonzero(data.y_train == TARGET_CLASS)
    rows = np.setdiff1d(np.arange(len(data.y_train)), of_target[len(of_target) // 10 :])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weak.compile("adam", loss)
    weak.fit(data.x_train[rows], data.y_train[rows], epochs=epochs, verbose=0)
    return weak


def _accuracy_of_target_and_others(
    model: keras.Model, data: datasets.Dataset
) -> tuple[float, float]:
    predicted = model.predict(data.x_test, batch_size=256, verbose=0).argmax(axis=-1)
    correct = predicted == data.y_test
    is_target = data.y_test == TARGET_CLASS
    return float(correct[is_target].mean()), float(correct[~is_target].mean())


def run_demo(
    output: str | Path = "demo", *, epochs: int = 60, seed: int = 0, subtasks: int = 4
) -> dict[str, TrainedModel]:
    """Runs the demo: prints its tables and writes its figures.

    Args:
        output: Folder of the figures and of the module file.
        epochs: Epochs of training.
        seed: Seed of data, weights and sub-tasks.
        subtasks: Sub-tasks composed for each number of classes.

    Returns:
        The two trained models, "standard" and "modular".
    """
    from moda_keras.experiments import demo_report

    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    data = datasets.load("digits", image_size=IMAGE_SIZE, seed=seed)
    demo_report.print_header(data, epochs)
    models = {}
    for name, loss in (("standard", None), ("modular", MODALoss())):
        models[name] = train_and_decompose(data, loss, epochs=epochs, seed=seed, subtasks=subtasks)
        demo_report.print_progress(name, models[name])
    replacement = replace_in_weak_model(models["modular"].modules, data, seed=seed)
    demo_report.print_tables(models, replacement)
    models["modular"].modules.save(output / "digits.modules", overwrite=True)
    demo_report.write_figures(models, output)
    return models
