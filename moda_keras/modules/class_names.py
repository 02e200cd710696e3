"""Class names, and the lookup of classes by name or index."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from moda_keras.messages import is_printable, listed, shortened


def check_class_names(class_names: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    """The names as a tuple, or "0", "1", ...; a ValueError if they are not `classes` distinct ones.

    Args:
        class_names: Names, or None.
        classes: How many there must be.

    Returns:
        Tuple of str.
    """
    if class_names is None:
        return tuple(str(index) for index in range(classes))
    # A text is a sequence too, of letters.
    is_list = isinstance(class_names, Iterable) and not isinstance(class_names, (str, bytes))
    names = tuple(str(name) for name in class_names) if is_list else ()
    if len(names) != classes or len(set(names)) != classes:
        raise ValueError(
            f"Expected `class_names` to be {classes} distinct names, one for each output of the "
            "model. Received: class_names="
            + (listed(names) if is_list else shortened(repr(class_names), 300))
        )
    if not all(map(is_printable, names)):
        wrong = next(name for name in names if not is_printable(name))
        raise ValueError(
            "Expected `class_names` without control characters, such as line breaks. Received: "
            f"{shortened(ascii(wrong), 100)}"
        )
    return names


def class_index(key: Any, class_names: Sequence[str]) -> int:
    """The index of a class.

    Args:
        key: Index or name.
        class_names: Names of all classes.

    Returns:
        Int.

    Raises:
        ValueError: If there is no such class.
    """
    if isinstance(key, str) and key in class_names:
        return class_names.index(key)
    is_index = isinstance(key, Integral) and not isinstance(key, (bool, np.bool_))
    if is_index and 0 <= key < len(class_names):
        return int(key)
    raise ValueError(unknown_class(key, class_names))


def class_indices(classes: Iterable[Any], class_names: Sequence[str]) -> list[int]:
    """The indices of a list of classes, in the same order.

    Args:
        classes: Indices or names, at least one, each once.
        class_names: Names of all classes.

    Returns:
        List of int.

    Raises:
        ValueError: If it is no such list.
    """
    if isinstance(classes, (str, Integral)) or not isinstance(classes, Iterable):
        raise ValueError(
            "Expected `classes` to be a list of class indices or names. Received: "
            f"classes={shortened(repr(classes), 300)}"
        )
    classes = list(classes)
    if not classes:
        raise ValueError("Expected at least one class in `classes`. Received: classes=[]")
    indices = [class_index(key, class_names) for key in classes]
    repeated = sorted({i for i in indices if indices.count(i) > 1})
    if repeated:
        raise ValueError(
            "Duplicate class in `classes`. Expected each class once. Received: "
            f"classes={listed(classes)}, in which class {repeated[0]} "
            f"({class_names[repeated[0]]!r}) is repeated"
        )
    return indices


def module_index(key: Any, class_names: Sequence[str], subtask: Sequence[int] | None) -> int:
    """The index of the class whose module is asked for.

    Args:
        key: Index or name.
        class_names: Names of all classes.
        subtask: As of `ModuleSet`.

    Returns:
        Int.

    Raises:
        IndexError: If an index is out of range, which ends a loop over indices.
        ValueError: If there is no such class otherwise, or it is not of the sub-task.
    """
    if isinstance(key, Integral) and not 0 <= key < len(class_names):
        raise IndexError(unknown_class(key, class_names))
    index = class_index(key, class_names)
    require_module(index, class_names, None, subtask)
    return index


def require_module(
    index: int,
    class_names: Sequence[str],
    sample_counts: np.ndarray | None,
    subtask: Sequence[int] | None,
) -> None:
    """Raises a ValueError if a class has no module.

    Args:
        index: The class.
        class_names: Names of all classes.
        sample_counts: As of `ModuleSet`.
        subtask: As of `ModuleSet`.
    """
    label = f"class {index} ({class_names[index]!r})"
    if sample_counts is not None and sample_counts[index] == 0:
        raise ValueError(
            "Expected classes that had training samples when the model was decomposed. Received: "
            f"{label}, which had none"
        )
    if subtask is not None and index not in subtask:
        raise ValueError(
            f"Expected classes of the sub-task {listed(class_names[each] for each in subtask)}, "
            f"for which these units were chosen. Received: {label}. Choose units for it too: "
            "`modules.within(..., classes=[...])`"
        )


def unknown_class(key: Any, class_names: Sequence[str]) -> str:
    """The message of an error about an unknown class."""
    return (
        f"Unknown class. Expected an integer from 0 to {len(class_names) - 1} or one of "
        f"{listed(class_names)}. Received: {shortened(repr(key), 300)}"
    )
