"""`moda evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from moda_keras.cli import files
from moda_keras.cli.class_names import (
    class_indices,
    read_class_names,
    read_other_name,
    split_names,
)
from moda_keras.cli.command import Answer
from moda_keras.cli.data import DataArguments, data_of_model, data_of_model_with_other, describe
from moda_keras.cli.errors import CommandError
from moda_keras.cli.measures import (
    count_parameters,
    measure_modules,
    share_of_flops,
    summary_of_modules,
)
from moda_keras.cli.options import complete_class
from moda_keras.cli.terminal import figures, percent, progress, rows_table

if TYPE_CHECKING:
    import keras

    from moda_keras.cli.data import Data
    from moda_keras.modules.module_set import ModuleSet

# Sub-tasks that share computation, between two updates of the progress.
SUBTASKS_AT_ONCE = 64


def evaluate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Keras model or a module file.")],
    data: DataArguments,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Module file: the classes to compose. Model: the class of each output; needed "
            "only if the file does not have them.",
            autocompletion=complete_class,
        ),
    ] = None,
    subtasks: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Module file: number of sub-tasks to measure, drawn from all sizes.",
        ),
    ] = 100,
) -> Answer:
    """Measure a model or modules on test images.

    Model: accuracy, overall and by class. Models written by moda carry the names of their classes,
    so the data may have more classes and another order. For a model of moda compose --other, the
    images of all other classes in the data count as "other". Module file: size and overlap of the
    modules, accuracy by class before and after, and the accuracy of composed models ("reuse")
    compared to the full model choosing among the same classes.

    **Examples**

    ```console
    moda evaluate vgg.keras --data cifar10/
    moda evaluate vgg.modules --data cifar10/ --subtasks 1013
    moda evaluate vgg.modules --data cifar10/ --classes cat dog horse
    moda evaluate pets.keras --data cifar10/
    ```
    """
    if files.kind_of(file) != "modules":
        return _evaluate_model(file, data.load(_names_in(file)), split_names(classes))
    modules = files.load_modules(file)
    loaded = data_of_model(data.load(modules.class_names), modules.model, file, modules.class_names)
    if classes is not None:
        return _evaluate_subtask(modules, class_indices(classes, modules), loaded)
    return _evaluate_modules(modules, loaded, subtasks)


def _names_in(path: Path) -> tuple[str, ...] | None:
    """The classes of a model's outputs that its file names, without that for none of them."""
    names = read_class_names(path)
    return names if names is None or read_other_name(path) is None else names[:-1]


def _evaluate_model(path: Path, data: "Data", asked: list[str] | None) -> Answer:
    model = files.load_model(path)
    other = read_other_name(path)
    if other is not None:
        return _evaluate_with_other(path, model, data, asked, other)
    data = data_of_model(data, model, path, _classes_of_outputs(path, data, asked))
    accuracy, by_class = _accuracy(model, data)
    document = {
        "model": str(path),
        "data": describe(data),
        "accuracy": accuracy,
        "accuracy_by_class": dict(zip(data.class_names, by_class, strict=True)),
        "parameters": count_parameters(model),
    }
    shown = {"accuracy": percent(accuracy), "parameters": f"{document['parameters']:,}"}
    rows = [(n, percent(a)) for n, a in document["accuracy_by_class"].items()]
    return Answer(document, [figures(None, shown), rows_table(None, ("class", "accuracy"), rows)])


def _evaluate_with_other(
    path: Path, model: "keras.Model", data: "Data", asked: list[str] | None, other: str
) -> Answer:
    """As `_evaluate_model`, of a model whose last output is for none of its classes."""
    names = read_class_names(path)[:-1]
    if asked is not None and set(asked) - {other} != set(names):
        raise CommandError(
            f"Expected --classes to be those of {str(path)!r}, {', '.join(names)}. Received: "
            f"{','.join(asked)}"
        )
    from moda_keras.evaluation.logits import predict_logits

    data, k = data_of_model_with_other(data, model, path, names), len(names)
    scores = predict_logits(model, data.test_batches())
    labels = np.minimum(data.y_test, k)
    is_right = scores.argmax(axis=-1) == labels
    is_chosen = labels < k
    is_right_among_chosen = scores[is_chosen, :k].argmax(axis=-1) == labels[is_chosen]
    present = [label for label in range(k + 1) if (labels == label).any()]
    outputs = (*names, other)
    document = {
        "model": str(path),
        "data": describe(data),
        "other": {"name": other, "classes": list(data.class_names[k:])},
        "accuracy": float(is_right.mean()),
        "accuracy_without_other": float(is_right_among_chosen.mean()),
        "accuracy_by_class": {
            outputs[label]: float(is_right[labels == label].mean()) for label in present
        },
        "parameters": count_parameters(model),
    }
    shown = {
        "accuracy": percent(document["accuracy"]),
        f"on its classes, without {other}": percent(document["accuracy_without_other"]),
        f"counted as {other}": ", ".join(data.class_names[k:]) or "no images in this data",
        "parameters": f"{document['parameters']:,}",
    }
    rows = [(n, percent(a)) for n, a in document["accuracy_by_class"].items()]
    return Answer(document, [figures(None, shown), rows_table(None, ("class", "accuracy"), rows)])


def _classes_of_outputs(
    path: Path, data: "Data", asked: list[str] | None
) -> tuple[str, ...] | list[str] | None:
    """The class of each output: as the file says, or as the user does."""
    stored = read_class_names(path)
    if asked is None or (stored is not None and set(asked) == set(stored)):
        return stored  # the file knows the order better
    known = data.class_names
    if not set(asked) <= set(known) or len(set(asked)) < len(asked) or not asked:
        raise CommandError(
            f"Expected --classes to be distinct names out of {', '.join(known)}. Received: "
            f"{','.join(asked)}"
        )
    return asked


def _evaluate_subtask(modules: "ModuleSet", classes: list[int], data: "Data") -> Answer:
    import moda_keras as mk

    of_subtask = data.of_classes(classes)
    composed = mk.compose(modules, classes)
    accuracy, by_class = _accuracy(composed, of_subtask)
    full, full_by_class = _accuracy(modules.model, of_subtask, classes)
    document = {
        "classes": list(of_subtask.class_names),
        "data": describe(of_subtask),
        "accuracy": accuracy,
        "full_accuracy": full,
        "accuracy_by_class": dict(zip(of_subtask.class_names, by_class, strict=True)),
        "full_accuracy_by_class": dict(zip(of_subtask.class_names, full_by_class, strict=True)),
        "size": mk.metrics.composed_size(modules, classes),
        "flops_share": share_of_flops(composed, modules.model),
    }
    shown = {
        "accuracy": percent(accuracy),
        "full model, same classes": percent(full),
        "size": percent(document["size"]),
        "multiply-accumulates": percent(document["flops_share"]),
    }
    return Answer(
        document,
        [figures(None, shown), _by_class(of_subtask.class_names, full_by_class, by_class)],
    )


def _evaluate_modules(modules: "ModuleSet", data: "Data", subtasks: int) -> Answer:
    import moda_keras as mk

    everything = modules.classes_with_modules().tolist()
    _, before = _accuracy(modules.model, data)
    _, after = _accuracy(mk.compose(modules, everything), data, outputs=everything)
    measured = measure_modules(modules)
    rows = _measure_subtasks(modules, data, subtasks)
    by_size = _means_by_size(rows)
    document = {
        "data": describe(data),
        **measured,
        "accuracy_before": dict(zip(modules.class_names, before, strict=True)),
        "accuracy_after": dict(zip(modules.class_names, after, strict=True)),
        "subtasks": by_size,
    }
    shown = [
        figures(None, summary_of_modules(measured)),
        _by_class(modules.class_names, before, after),
    ]
    if by_size:
        shown.append(_subtasks_table(by_size))
    return Answer(document, shown)


def _measure_subtasks(modules: "ModuleSet", data: "Data", number: int) -> list[dict[str, Any]]:
    from moda_keras.evaluation.subtasks import draw_share
    from moda_keras.experiments import SubtaskMeasurement, subtasks_of

    present = set(modules.classes_with_modules().tolist())
    possible = [each for each in subtasks_of(modules.num_classes) if present.issuperset(each)]
    if not number or not possible:
        return []
    chosen = draw_share(possible, min(1.0, number / len(possible)))
    measurement = SubtaskMeasurement(modules, data.x_test, data.y_test)
    rows: list[dict[str, Any]] = []
    with progress("Sub-tasks") as (task,):
        task.update(0, len(chosen))
        while len(rows) < len(chosen):
            rows += measurement.measure(chosen[len(rows) : len(rows) + SUBTASKS_AT_ONCE])
            task.update(len(rows), len(chosen))
    return rows


def _means_by_size(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from moda_keras.experiments import summarize

    names = ("accuracy", "full_accuracy", "size", "flops")
    return [
        {"k": each["k"], "subtasks": each["cells"], **{name: each[name] for name in names}}
        for each in summarize(rows, ["k"], names)
    ]


def _subtasks_table(by_size: list[dict[str, Any]]) -> Any:
    rows = [
        (
            each["k"],
            each["subtasks"],
            *(percent(each[name]) for name in ("accuracy", "full_accuracy", "size", "flops")),
        )
        for each in by_size
    ]
    columns = ("classes", "sub-tasks", "reuse accuracy", "full model", "size", "FLOPs")
    return rows_table("Composed models, average over sub-tasks", columns, rows)


def _by_class(names: tuple[str, ...], before: list[float], after: list[float]) -> Any:
    rows = [(name, percent(b), percent(a)) for name, b, a in zip(names, before, after, strict=True)]
    return rows_table("Accuracy", ("class", "full model", "composed"), rows)


def _accuracy(
    model: "keras.Model",
    data: "Data",
    columns: list[int] | None = None,
    outputs: list[int] | None = None,
) -> tuple[float, list[float]]:
    """Accuracy on the test images, overall and by class.

    Args:
        model: A model.
        data: The data.
        columns: The outputs to choose from, in the order of the labels; by default all.
        outputs: The label of each output; by default its index.
    """
    from moda_keras.evaluation.accuracy import accuracy_by_class, is_correct
    from moda_keras.evaluation.logits import predict_logits
    from moda_keras.evaluation.samples import predict

    if columns is None:
        scores = predict(model, data.test_batches())
    else:
        scores = predict_logits(model, data.test_batches())[:, columns]
    correct = is_correct(scores, data.y_test, outputs)
    by_class = accuracy_by_class(correct, data.y_test, len(data.class_names))
    return float(correct.mean()), by_class.tolist()
