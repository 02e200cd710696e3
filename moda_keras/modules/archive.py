"""The module file format: a model and the tables of its modules in one zip archive.

The archive holds `manifest.json` (format, version, threshold, epsilons, class names), `arrays.npz`
(counts, units and importance, without pickle) and `model.keras`. Instead of `model.keras`, the
manifest may name a model file beside the archive and its digest.
"""

import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from moda_keras.files import reading, replacing, temporary_folder
from moda_keras.modules import manifest as manifests
from moda_keras.modules.checked_files.arrays import read_arrays
from moda_keras.modules.checked_files.keras_file import load_keras_file
from moda_keras.modules.checked_files.limits import byte_limit
from moda_keras.modules.checked_files.zip_archive import (
    extract_member,
    open_archive,
    read_member,
)
from moda_keras.modules.manifest import FORMAT, VERSION, parse_manifest, reference_of
from moda_keras.modules.model_file import load_referred, refer_to
from moda_keras.modules.selection import Threshold

MODEL = "model.keras"
ARRAYS = "arrays.npz"
EXPECTED = "a module file, as `ModuleSet.save` writes it"


@dataclass(frozen=True, eq=False)
class ModuleTables:
    """The modules of a model, in plain arrays.

    Attributes:
        class_names: C names.
        tables: Dict from activation name to an int array (C, D) of counts, or a bool array (C, D)
            of units where `sample_counts` is None.
        sample_counts: Int array (C,), the training samples of each class; None for modules that are
            known by their units alone.
        threshold: As of `ModuleSet`.
        epsilons, importance, criterion: As of `ModuleSet`.
        units: Dict from activation name to a bool array (C, D), where `tables` holds counts that do
            not say which units the modules have.
        subtask: As of `ModuleSet`.
        keras_version: The version of Keras that wrote the file; None if it is not known.
    """

    class_names: Sequence[str]
    tables: Mapping[str, np.ndarray]
    sample_counts: np.ndarray | None = None
    threshold: Threshold | None = None
    epsilons: Mapping[str, float] | None = None
    importance: Mapping[str, np.ndarray] | None = None
    criterion: str | None = "frequency"
    units: Mapping[str, np.ndarray] | None = None
    subtask: Sequence[int] | None = None
    keras_version: str | None = None

    @property
    def version(self) -> int:
        """The oldest format version that holds them, so that older versions of the library read it.

        Version 1 has one threshold for all activations, version 2 one for each, version 3
        importance, and units beside the counts.
        """
        if self.importance is not None or self.units is not None:
            return 3
        return 2 if isinstance(self.threshold, dict) else 1


def write_archive(
    path: str | Path,
    model: keras.Model,
    modules: ModuleTables,
    *,
    overwrite: bool = False,
    model_file: str | Path | None = None,
) -> None:
    """Writes a module file, whole or not at all.

    Args:
        path: The file.
        model: The model that was decomposed.
        modules: Its modules.
        overwrite: Whether to replace an existing file.
        model_file: As of `ModuleSet.save`.

    Raises:
        FileExistsError: If the file exists and `overwrite` is False.
        FileNotFoundError: If `model_file` does not exist.
        ValueError: If `model_file` does not hold the model.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"The file {str(path)!r} exists. Pass `overwrite=True` to replace it, or choose "
            "another path"
        )
    manifest, arrays = _describe(modules)
    if model_file is not None:
        manifest |= {"version": VERSION, "model": refer_to(model_file, model, path)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    with replacing(path) as beside, zipfile.ZipFile(beside, "w") as archive:
        archive.writestr(manifests.NAME, json.dumps(manifest, indent=2))
        archive.writestr(ARRAYS, buffer.getvalue())
        if model_file is None:
            model_path = beside.with_name(MODEL)
            model.save(model_path)
            archive.write(model_path, MODEL)


def read_archive(
    path: str | Path,
    *,
    model_file: str | Path | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    safe_mode: bool = True,
    max_bytes: int | None = None,
) -> tuple[keras.Model, ModuleTables]:
    """Reads a module file.

    Args:
        path: The file.
        model_file: As of `load_modules`.
        custom_objects: Classes of the model's custom layers by name, as in Keras's `load_model`.
        safe_mode: Whether to refuse models that hold Python lambdas, as in `load_model`.
        max_bytes: As of `load_modules`.

    Returns:
        The model, and the tables of its modules, which may not fit the model.

    Raises:
        FileNotFoundError: If the file, or the model file that it refers to, does not exist.
        IsADirectoryError: If it is a folder.
        ModuleFileError: If the file is not a module file, is damaged, or is of a newer format
            version, or if the model file is not the one that it refers to.
        ValueError: If `model_file` is given for a file that holds its model, or `max_bytes` is
            invalid.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Module file not found: {str(path)!r}")
    if path.is_dir():
        raise IsADirectoryError(
            f"Expected a module file, as `modules.save` writes it. Received: {str(path)!r}, which "
            "is a folder"
        )
    limit = byte_limit(path, max_bytes)
    options = {"custom_objects": custom_objects, "safe_mode": safe_mode}
    with temporary_folder() as folder:
        inside = folder / MODEL
        with reading(path, EXPECTED), open_archive(path, limit) as archive:
            manifest = parse_manifest(
                read_member(archive, manifests.NAME, manifests.MAX_BYTES), path
            )
            modules = _read_tables(manifest, read_member(archive, ARRAYS), limit)
            reference = reference_of(manifest)
            if reference is None:
                extract_member(archive, MODEL, inside)
        if reference is not None:
            model = load_referred(reference, path, model_file, max_bytes=max_bytes, **options)
            return model, modules
        if model_file is not None:
            raise ValueError(
                f"Expected no `model_file`, because {str(path)!r} holds its model itself. "
                f"Received: model_file={str(model_file)!r}"
            )
        is_default = max_bytes is None
        return load_keras_file(inside, path, limit, is_default=is_default, **options), modules


def _describe(modules: ModuleTables) -> tuple[dict, dict[str, np.ndarray]]:
    """The manifest, and the arrays by name; activations are numbered in the manifest's order."""
    has_counts = modules.sample_counts is not None
    manifest = {
        "format": FORMAT,
        "version": modules.version,
        "content": "counts" if has_counts else "units",
        "activations": list(modules.tables),
        "class_names": list(modules.class_names),
        "threshold": modules.threshold,
        "epsilons": modules.epsilons,
        "keras_version": keras.__version__,
    }
    arrays = _numbered("activation", modules.tables, modules.tables)
    if modules.importance is not None:
        manifest["criterion"] = modules.criterion
        arrays |= _numbered("importance", modules.importance, modules.tables)
    if modules.units is not None:
        manifest["subtask"] = modules.subtask
        arrays |= _numbered("units", modules.units, modules.tables)
    return manifest, arrays | ({"sample_counts": modules.sample_counts} if has_counts else {})


def _numbered(
    kind: str, tables: Mapping[str, np.ndarray], names: Iterable[str]
) -> dict[str, np.ndarray]:
    return {f"{kind}_{i}": tables[name] for i, name in enumerate(names)}


def _read_tables(manifest: dict, content: bytes, limit: int) -> ModuleTables:
    names = manifest["activations"]
    kinds = ["activation"]
    kinds += ["importance"] if "criterion" in manifest else []
    kinds += ["units"] if "subtask" in manifest else []
    dimensions = {f"{kind}_{i}": 2 for kind in kinds for i in range(len(names))}
    has_counts = manifest["content"] != "units"
    if has_counts:
        dimensions["sample_counts"] = 1
    arrays = read_arrays(content, dimensions, len(manifest["class_names"]), limit)

    def named(kind: str) -> dict[str, np.ndarray]:
        return {name: arrays[f"{kind}_{i}"] for i, name in enumerate(names)}

    return ModuleTables(
        class_names=manifest["class_names"],
        tables=named("activation"),
        sample_counts=arrays["sample_counts"] if has_counts else None,
        threshold=manifest["threshold"],
        epsilons=manifest.get("epsilons"),  # the first files do not have them
        importance=named("importance") if "importance" in kinds else None,
        criterion=manifest.get("criterion", "frequency"),
        units=named("units") if "units" in kinds else None,
        subtask=manifest.get("subtask"),
        keras_version=manifest.get("keras_version"),
    )
