"""Class names, and the lookup of classes by name or index."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np

# The maximum number of classes that a message lists.
SHOWN = 20


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
            f"model. Received: class_names={list(names) if is_list else class_names!r}"
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


def unknown_class(key: Any, class_names: Sequence[str]) -> str:
    """The message of an error about an unknown class."""
    names = list(class_names)
    shown = names if len(names) <= SHOWN else [*names[:SHOWN], "..."]
    return (
        f"Unknown class. Expected an integer from 0 to {len(names) - 1} or one of {shown}. "
        f"Received: {key!r}"
    )
