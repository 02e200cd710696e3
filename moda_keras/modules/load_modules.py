"""Loading the modules that `ModuleSet.save` wrote."""

from pathlib import Path
from typing import Any

from moda_keras.modules.archive import read_archive
from moda_keras.modules.module_set import ModuleSet


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
    )
    return modules.with_units(found.units, found.subtask) if found.units else modules
