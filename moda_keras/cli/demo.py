"""`moda demo`: train, decompose, compose and replace on scikit-learn's digits.

It uses the parts of the experiments: their recipe, sub-tasks, summaries and calibration.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moda_keras.cli import files
from moda_keras.cli.command import Answer
from moda_keras.cli.measures import measure_modules
from moda_keras.cli.options import Force
from moda_keras.cli.terminal import Task, percent, progress, rows_table, say
from moda_keras.files import replacing, temporary_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from moda_keras.datasets import Dataset
    from moda_keras.experiments import TrainedModel

# The files that the demo writes.
FILES = ("digits.modules", "overlap.png", "shared_units.png", "subtasks.png")
WEIGHTS = {"standard": None, "modular": (1.0, 1.0, 0.3)}
ACCURACY = {"composed": "accuracy", "full model": "full_accuracy"}
SIZE = {"parameters": "size", "FLOPs": "flops"}
TARGET_CLASS = 3
# The weak model has seen this fraction of the training images, so often.
WEAK_FRACTION = 0.05
WEAK_EPOCHS = 20


@dataclass(frozen=True, eq=False)
class Measured:
    """A trained model of the demo.

    Attributes:
        trained: The model and its modules.
        subtasks: For each number of classes k a dict of means over sub-tasks.
    """

    trained: "TrainedModel"
    subtasks: list[dict[str, Any]]


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of figures and modules.")
    ] = Path("demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of data, weights and sub-tasks.")] = 0,
    force: Force = False,
) -> Answer:
    """Train on scikit-learn's digits, decompose, compose, replace; tables and figures.

    **Example**

    ```console
    moda demo --epochs 20 -o demo
    ```
    """
    import keras

    from moda_keras import datasets

    for name in FILES:
        files.check_output(output / name, force=force)
    data = datasets.load("digits", image_size=16, seed=seed).standardized()
    say(
        f"Digits: {len(data.x_train)} training and {len(data.x_test)} test images; {epochs} "
        f"epochs, standard and modular, on {keras.backend.backend()}."
    )
    # Training is resumable, which a demo need not be: its state is temporary.
    with temporary_folder() as folder, progress("Training", "Sub-tasks") as tasks:
        models = {name: _measure(name, data, epochs, seed, folder, *tasks) for name in WEIGHTS}
        replacement = _replace(models["modular"].trained, data, seed, folder)
    output.mkdir(parents=True, exist_ok=True)
    models["modular"].trained.modules.save(output / "digits.modules", overwrite=True)
    figures = _draw(models)
    for name, figure in figures.items():
        with replacing(output / name) as beside:
            figure.savefig(beside, dpi=150)
        say(f"Wrote {output / name}.")
    document = {
        "output": str(output),
        "models": {name: _document(measured) for name, measured in models.items()},
        "replacement": replacement,
    }
    return Answer(document, _tables(models, replacement))


def _measure(
    name: str, data: "Dataset", epochs: int, seed: int, folder: Path, training: Task, sweep: Task
) -> Measured:
    from moda_keras import experiments
    from moda_keras.cli.training import TrainingProgress
    from moda_keras.training.moda_loss import MODALoss

    recipe = experiments.Recipe(
        "small_cnn", WEIGHTS[name], epochs, 64, augment="none", seed=seed, warmup=MODALoss().warmup
    )
    trained = experiments.train_model(recipe, data, folder, [TrainingProgress(training)])
    say(
        f"{name}: trained in {trained.seconds:.1f} s, decomposed in "
        f"{trained.decompose_seconds:.1f} s."
    )
    rows = experiments.sweep_subtasks(
        trained.modules,
        data.x_test,
        data.y_test,
        folder / f"{name}.csv",
        progress=sweep.update_and_hide,
    )
    return Measured(
        trained, experiments.summarize(rows, ["k"], [*ACCURACY.values(), *SIZE.values()])
    )


def _replace(strong: "TrainedModel", data: "Dataset", seed: int, folder: Path) -> dict[str, Any]:
    """Replaces a class of a LeNet5 that was trained on few images, and calibrates on all."""
    import keras
    import numpy as np

    from moda_keras import experiments
    from moda_keras.observing.labelled_arrays import draw_of_each_class
    from moda_keras.reuse.replace import replace

    rows = np.concatenate(draw_of_each_class(data.y_train, range(10), WEAK_FRACTION, seed))
    few = data.with_training_samples(rows)
    # Few images need small batches: LeNet5 has no BatchNormalization and starts slowly.
    recipe = experiments.Recipe(
        "lenet5", None, WEAK_EPOCHS, 8, learning_rate=0.01, augment="none", seed=seed
    )
    weak = experiments.train_model(recipe, few, folder).modules.model
    keras.utils.set_random_seed(seed)
    start = time.perf_counter()
    patched = replace(weak, strong.modules[TARGET_CLASS], target_class=TARGET_CLASS)
    experiments.calibrate(patched, data, batch_size=64, seed=seed)
    seconds = time.perf_counter() - start
    before = experiments.target_accuracy(weak, data, TARGET_CLASS)
    after = experiments.target_accuracy(patched, data, TARGET_CLASS)
    return {
        "training_images": len(rows),
        "seconds": seconds,
        "target_before": before[0],
        "target_after": after[0],
        "others_before": before[1],
        "others_after": after[1],
    }


def _document(measured: Measured) -> dict[str, Any]:
    modules = measure_modules(measured.trained.modules)
    return {"accuracy": measured.trained.accuracy, **modules, "subtasks": measured.subtasks}


def _tables(models: dict[str, Measured], replacement: dict[str, Any]) -> list[Any]:
    trained = [measured.trained for measured in models.values()]
    measured = [measure_modules(each.modules) for each in trained]
    figures = {
        "test accuracy": [percent(each.accuracy) for each in trained],
        "module size": [percent(each["mean_module_size"]) for each in measured],
        "module overlap": [percent(each["mean_overlap"]) for each in measured],
        "training, seconds": [f"{each.seconds:.1f}" for each in trained],
        "decompose, seconds": [f"{each.decompose_seconds:.1f}" for each in trained],
    }
    images = replacement["training_images"]
    of_target, of_others = (
        [percent(replacement[f"{which}_{when}"]) for when in ("before", "after")]
        for which in ("target", "others")
    )
    return [
        rows_table(
            "Training and modules (tau = 0.9)",
            ["", *models],
            [(name, *values) for name, values in figures.items()],
        ),
        _subtasks_table(models, "Accuracy, means over sub-tasks", ACCURACY),
        _subtasks_table(models, "Size of composed models, means over sub-tasks", SIZE),
        rows_table(
            f"Class {TARGET_CLASS} of a weak model replaced: a LeNet5 trained on {images} images, "
            "calibrated on all",
            ["test accuracy", "before", "after"],
            [("replaced class", *of_target), ("other classes", *of_others)],
        ),
    ]


def _subtasks_table(models: dict[str, Measured], title: str, columns: dict[str, str]) -> Any:
    headers = [f"{model}:\n{name}" for model in models for name in columns]
    curves = [measured.subtasks for measured in models.values()]
    rows = [
        [of_size[0]["k"], *(percent(row[name]) for row in of_size for name in columns.values())]
        for of_size in zip(*curves, strict=True)
    ]
    return rows_table(title, ["classes", *headers], rows)


def _draw(models: dict[str, Measured]) -> dict[str, "Figure"]:
    """The figures by the names of their files."""
    import matplotlib.pyplot as plt
    import numpy as np

    from moda_keras.evaluation import module_overlap
    from moda_keras.reporting import plots

    module_sets = {name: measured.trained.modules for name, measured in models.items()}
    overlap, axes = plt.subplots(1, len(models), figsize=(10, 4.4), layout="constrained")
    top = max(np.nanmax(module_overlap(modules)) for modules in module_sets.values())
    for ax, (name, modules) in zip(axes, module_sets.items(), strict=True):
        plots.plot_overlap(modules, ax, f"Weights shared, {name} training", maximum=top)
    subtasks, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    sizes = [row["k"] for row in models["modular"].subtasks]
    plots.plot_subtasks(sizes, _curves(models, ACCURACY), "accuracy on the sub-task", left)
    plots.plot_subtasks(sizes, _curves(models, SIZE), "fraction of the full model", right)
    left.set(title="Accuracy", ylim=(min(0.9, left.get_ylim()[0]), 1.005))
    right.set(title="Size", ylim=(0, 1.05))
    return {
        "overlap.png": overlap,
        "shared_units.png": plots.plot_shared_units(module_sets).figure,
        "subtasks.png": subtasks,
    }


def _curves(
    models: dict[str, Measured], columns: dict[str, str]
) -> dict[str, dict[str, Sequence[float]]]:
    return {
        model: {
            name: [row[column] for row in measured.subtasks] for name, column in columns.items()
        }
        for model, measured in models.items()
    }
