"""Loading the modules that `ModuleSet.save` wrote."""

from pathlib import Path
from typing import Any

import keras

from moda_keras.files import reading
from moda_keras.messages import shortened
from moda_keras.modules.archive import ModuleTables, read_archive
from moda_keras.modules.counts import check_tables
from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing import Slicer


def load_modules(
    path: str | Path,
    *,
    model_file: str | Path | None = None,
    custom_objects: dict[str, Any] | None = None,
    safe_mode: bool = True,
    max_bytes: int | None = None,
) -> ModuleSet:
    """Loads the modules that `ModuleSet.save` wrote.

    The file may be from anyone: no code in it is run, and sizes are checked before anything is
    allocated. See docs/reliability.md.

    Args:
        path: The file.
        model_file: Where the Keras model is that the file refers to, if it is no longer where it
            was; see `ModuleSet.save`.
        custom_objects: Classes of the model's custom layers by name, as in Keras's `load_model`.
        safe_mode: Whether to refuse models that hold Python lambdas, as in `load_model`.
        max_bytes: The most bytes that each part of the file may take in memory: its tables, its
            weights, and the weights of the model that its config describes. By default 256 MiB and
            8 times the size of the file (of `model_file` for the model in it), and for a model of
            Keras's own layers 4 times the weights in the file and 16 MiB.

    Returns:
        A `ModuleSet`.

    Raises:
        FileNotFoundError: If the file, or the model file that it refers to, does not exist.
        IsADirectoryError: If it is a folder.
        ModuleFileError: If the file cannot be read: it is not a module file, is damaged, takes more
            than `max_bytes`, or is of a newer format version, its tables do not fit its model, or
            the model file is not the one that it refers to. Also if its model needs a class of your
            own that is neither registered with Keras nor in `custom_objects`: the error names it.
        ValueError: If `model_file` is given for a file that holds its model, or `max_bytes` is
            invalid.

    Examples:
        ```python
        modules.save("vgg.modules")
        modules = mk.load_modules("vgg.modules")
        ```
    """
    model, found = read_archive(
        path,
        model_file=model_file,
        custom_objects=custom_objects,
        safe_mode=safe_mode,
        max_bytes=max_bytes,
    )
    expected = "a module file with tables that fit its model"
    if found.keras_version not in (None, keras.__version__):
        written = shortened(found.keras_version, 40)
        expected += f" (it was written with Keras {written}, this is Keras {keras.__version__})"
    with reading(path, expected):
        return _module_set(model, found)


def _module_set(model: keras.Model, found: ModuleTables) -> ModuleSet:
    slicer = Slicer(model)
    if found.sample_counts is None:
        # `from_units` takes activations that are left out as whole.
        check_tables("units", found.tables, slicer.units, slicer.model.outputs[0].shape[-1])
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
