"""Loading the modules that `ModuleSet.save` wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from moda_keras.modules.archive import read_archive
from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing import Slicer


def load_modules(
    path: str | Path,
    *,
    model_file: str | Path | None = None,
    custom_objects: dict[str, Any] | None = None,
    safe_mode: bool = True,
) -> ModuleSet:
    """Loads the modules that `ModuleSet.save` wrote.

    Args:
        path: The file.
        model_file: Where the Keras model is that the file refers to, if it is no longer where it
            was; see `ModuleSet.save`.
        custom_objects: Classes of the model's custom layers by name, as in Keras's `load_model`.
        safe_mode: Whether to refuse models that hold Python lambdas, as in `load_model`.

    Returns:
        A `ModuleSet`.

    Raises:
        FileNotFoundError: If the file, or the model file that it refers to, does not exist.
        ValueError: If the file is not a module file, is damaged, or is of a newer format version,
            or if the model file is not the one that it refers to.

    Example:
        ```python
        modules.save("vgg.modules")
        modules = mk.load_modules("vgg.modules")
        ```
    """
    model, found = read_archive(
        path, model_file=model_file, custom_objects=custom_objects, safe_mode=safe_mode
    )
    slicer = Slicer(model)
    for tables in (found.tables, found.importance, found.units):
        _check_tables(tables or {}, slicer, path)
    if found.sample_counts is None:
        return ModuleSet.from_units(model, found.tables, class_names=found.class_names)
    modules = ModuleSet.from_counts(
        model,
        found.tables,
        found.sample_counts,
        threshold=1.0 if found.threshold is None else found.threshold,
        class_names=found.class_names,
        epsilons=found.epsilons,
        importance=found.importance,
        criterion=found.criterion,
        slicer=slicer,
    )
    return modules.with_units(found.units, found.subtask) if found.units else modules


def _check_tables(tables: Mapping[str, np.ndarray], slicer: Slicer, path: str | Path) -> None:
    """Raises a ValueError if a file's tables are not of the model's hidden activations."""
    expected = {
        name: (slicer.model.outputs[0].shape[-1], units) for name, units in slicer.units.items()
    }
    for name, table in tables.items():
        if table.shape != expected.get(name):
            raise ValueError(
                f"Expected a module file with tables of shape (classes, units) for {expected}, the "
                f"hidden activations of its model. Received: {str(path)!r}, with {name!r} of shape "
                f"{table.shape}. It is damaged, or moda_keras or Keras is of another version"
            )
