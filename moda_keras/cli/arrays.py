"""Files of arrays, .npz: what goes into a model as it is, with or without labels."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moda_keras.cli import files
from moda_keras.cli.errors import CommandError

if TYPE_CHECKING:
    from moda_keras.datasets import Dataset

SUFFIX = ".npz"
LABELLED = "x_train, x_test, y_train and y_test; or x and y"
ARRAYS = f"{LABELLED}; without y if there are no labels"
POSSIBLE = (
    {"x"},
    {"x", "y"},
    {"x_train", "x_test"},
    {"x_train", "x_test", "y_train", "y_test"},
)

# Labels of more classes are no labels.
MOST_CLASSES = 100_000

# Inputs, and labels or None.
Samples = tuple[np.ndarray, np.ndarray | None]


def is_array_file(data: str) -> bool:
    """Whether `--data` is a file of arrays."""
    return data.endswith(SUFFIX)


def refuse_image_options(image_size: Any, color: Any, pixels: str) -> None:
    """Raises a `CommandError` if options of images come with arrays."""
    if (image_size, color, pixels) != (None, None, "0-1"):
        raise CommandError(
            "Arrays go into the model as they are. Leave out --image-size, --color and "
            "--pixels, or give a folder of images"
        )


def read_arrays(path: Path) -> list[Samples]:
    """Reads a file of arrays.

    Args:
        path: The file.

    Returns:
        Training and test samples; or all of them alone, if they are not split.

    Raises:
        CommandError: If there is no such file, or it has other arrays.
    """
    files.require_file(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError) as error:
        raise CommandError(
            f"Expected a file of arrays, as numpy.savez writes it. Received: {str(path)!r}, "
            f"which cannot be read ({error})"
        ) from error
    found = set(arrays) & set.union(*POSSIBLE)
    if found not in POSSIBLE:
        raise CommandError(f"Expected the arrays {ARRAYS}. Received: {', '.join(sorted(arrays))}")
    suffixes = [""] if "x" in arrays else ["_train", "_test"]
    return [(arrays[f"x{each}"], arrays.get(f"y{each}")) for each in suffixes]


def as_labels(x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Labels as positions among names.

    Args:
        x: The samples.
        y: Integers (N,), one-hot (N, C) or names (N,).
        names: C names.

    Returns:
        Int array (N,).

    Raises:
        CommandError: If they are of several classes a sample.
        ValueError: If they do not fit the samples or the names.
    """
    from moda_keras.observing.labelled_arrays import as_class_indices, check_labelled_arrays

    _refuse_several_labels(y)
    return check_labelled_arrays(x, as_class_indices(y, names), len(names))[1]


def _refuse_several_labels(y: np.ndarray) -> None:
    if y.ndim != 2 or y.shape[1] == 1 or not np.isin(y, (0, 1)).all():
        return
    several = int((y.sum(axis=1) != 1).sum())
    if several:
        raise CommandError(
            "Expected labels of one class a sample. Received: multi-hot labels, "
            f"{several:,} of {len(y):,} samples of several classes or none. Commands measure "
            "accuracy by one class a sample; docs/labels.md tells how to decompose, compose "
            "and measure such a model in Python"
        )


def is_held_out(y: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Which samples are for testing where a file is not split.

    Args:
        y: Int labels (N,).
        fraction: The share of each class.
        seed: Seed of the choice.

    Returns:
        Bool array (N,).
    """
    from moda_keras.observing.labelled_arrays import draw_of_each_class

    is_test = np.zeros(len(y), bool)
    for rows in draw_of_each_class(y, np.unique(y), fraction, seed):
        is_test[rows] = True
    return is_test


def load_arrays(
    path: Path,
    *,
    class_names: Sequence[str] | None,
    outputs: Sequence[str] | None,
    limits: tuple[int | None, int | None],
    test_fraction: float,
    seed: int,
) -> "Dataset":
    """Loads labelled arrays as a data set, as far as commands need one.

    Args:
        path: The file.
        class_names: The classes to load; or, if the labels are integers and these are no classes
            by number, the names of all labels.
        outputs: Names of the model's outputs, for integer labels that have no names.
        limits: Most training and test samples of a class; None for all.
        test_fraction: Share that is held out if the file is not split.
        seed: Seed of the choice and the split.

    Returns:
        The data.

    Raises:
        CommandError: As `read_arrays`, and if there are no labels.
        ValueError: If the labels are none of classes, or `class_names` are unknown.
    """
    from moda_keras.datasets import Dataset
    from moda_keras.datasets.sample_choice import SampleChoice, choose_rows

    splits = read_arrays(path)
    if any(y is None for _, y in splits):
        raise CommandError(
            f"Expected arrays with labels, {LABELLED}. Received: {str(path)!r} without. Only moda "
            "slim and the repair of moda compose take arrays without labels"
        )
    present, are_names = _classes_of_labels([y for _, y in splits])
    labels = [as_labels(x, y, present) for x, y in splits]
    known = present if are_names else _names_of_numbers(present, class_names, outputs)
    choice = SampleChoice(class_names, limits, seed)
    if len(splits) == 1:
        (x, _), (y,) = splits[0], labels
        is_test = is_held_out(y, test_fraction, seed)
        splits, labels = [(x[~is_test], y), (x[is_test], y)], [y[~is_test], y[is_test]]
    taken, classes = [], choice.classes(known, known)
    for (x, _), y, limit in zip(splits, labels, choice.limits, strict=True):
        rows, positions = choose_rows(y, classes, limit, seed)
        taken += [x[rows], positions]
    return Dataset(*taken, tuple(known[index] for index in classes), "none")


def _classes_of_labels(labels: Sequence[np.ndarray]) -> tuple[list[str], bool]:
    """The classes of labels, and whether they are names: else they are "0", "1", ..."""
    if any(y.dtype.kind in "SU" for y in labels):
        names = (y.astype(str).ravel().tolist() for y in labels)
        return sorted(set(itertools.chain.from_iterable(names))), True
    number = max(map(_number_of_classes, labels))
    if number > MOST_CLASSES:
        raise CommandError(
            f"Expected labels from 0 to at most {MOST_CLASSES - 1:,}. Received: labels up to "
            f"{number - 1:,}"
        )
    return [str(label) for label in range(number)], False


def _number_of_classes(y: np.ndarray) -> int:
    is_one_hot = y.ndim == 2 and y.shape[1] > 1
    return y.shape[1] if is_one_hot else int(np.nan_to_num(y).max(initial=0)) + 1


def _names_of_numbers(
    numbers: list[str], class_names: Sequence[str] | None, outputs: Sequence[str] | None
) -> list[str]:
    """The names of labels that are numbers: those asked for, else the model's, else the numbers.

    Names that are among the numbers are taken as such: they choose classes.
    """
    names = outputs if class_names is None else class_names
    if names is None or set(names) <= set(numbers) or len(names) < len(numbers):
        return numbers
    return list(names)
