"""Validates the `modules` argument of public functions."""

from collections.abc import Sequence
from typing import Any

import keras

from moda_keras.modules.module import Module
from moda_keras.modules.module_set import ModuleSet


def check_modules(modules: Any) -> None:
    """Raises a ValueError if an argument is not a `ModuleSet`.

    Args:
        modules: The argument.

    Raises:
        ValueError: If it is anything else, such as the model itself.
    """
    if isinstance(modules, ModuleSet):
        return
    received = "a model, " if isinstance(modules, keras.Model) else ""
    raise ValueError(
        "Expected `modules` to be a `ModuleSet`, as `mk.decompose(model, x, y)` or "
        f"`mk.load_modules(path)` returns. Received: {received}modules={modules!r}"
    )


def chosen_modules(modules: Any, classes: Any) -> tuple[ModuleSet, Any]:
    """The module set and the classes that are meant by `compose(modules, classes)`.

    Args:
        modules: A `ModuleSet`, or a list of `Module`s of one set.
        classes: The classes, or None where `modules` is a list.

    Returns:
        The `ModuleSet`, and the classes.

    Raises:
        ValueError: If `modules` is neither, its modules are of several models, or `classes` is
            missing or given twice.
    """
    is_list = isinstance(modules, Sequence) and not isinstance(modules, str)
    if not is_list or not all(isinstance(each, Module) for each in modules):
        check_modules(modules)
        if classes is None:
            raise ValueError(
                f"Expected a list of classes, such as {list(modules.class_names[:2])}. Received: "
                "classes=None"
            )
        return modules, classes
    if classes is not None or not modules:
        raise ValueError(
            "Expected `classes`, or a list of at least one module without `classes`. Received: "
            f"modules={modules}, classes={classes!r}"
        )
    sets = {id(each.modules): each.modules for each in modules}
    if len(sets) > 1:
        raise ValueError(
            f"Expected modules of one `ModuleSet`. Received: modules of {len(sets)}. A module of "
            "another model replaces a class: see `mk.replace`"
        )
    return modules[0].modules, [each.class_index for each in modules]
