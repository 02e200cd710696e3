"""Module files: a model and its modules in one zip archive.

The archive holds `manifest.json` (format, version, threshold, epsilons, class names), `arrays.npz`
(counts or units, without pickle) and `model.keras`.
"""

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from moda_keras.module_set import ModuleSet

FORMAT = "moda_keras.modules"
VERSION = 2


def save_modules(modules: ModuleSet, path: str | Path, *, overwrite: bool = False) -> None:
    """Saves a `ModuleSet` as one file.

    The file is written beside its place and then renamed, so that a crash leaves an old one whole.

    Args:
        modules: The modules.
        path: Where to.
        overwrite: Whether an existing file may be replaced.

    Raises:
        FileExistsError: If the file exists and `overwrite` is False.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"The file {str(path)!r} exists. Pass `overwrite=True` to replace it, or choose "
            "another path"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        archive = Path(folder) / "modules"
        _write_archive(modules, archive, Path(folder))
        os.replace(archive, path)


def load_modules(
    path: str | Path, *, custom_objects: dict[str, Any] | None = None, safe_mode: bool = True
) -> ModuleSet:
    """Loads the modules that `ModuleSet.save` wrote.

    Args:
        path: The file.
        custom_objects: Classes of the model's custom layers by name, as in Keras's `load_model`.
        safe_mode: Whether to refuse models that hold Python lambdas, as in `load_model`.

    Returns:
        A `ModuleSet`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a module file, is damaged, or is of a newer format version.

    Example:
        ```python
        modules.save("vgg.modules")
        modules = mk.load_modules("vgg.modules")
        ```
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file {str(path)!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _read_manifest(archive, path)
            with np.load(io.BytesIO(archive.read("arrays.npz")), allow_pickle=False) as arrays:
                tables = _read_tables(manifest, arrays)
            model_bytes = archive.read("model.keras")
    except (zipfile.BadZipFile, KeyError, EOFError, OSError) as error:
        raise ValueError(
            f"Expected a module file, as `ModuleSet.save` writes it. Received: {str(path)!r}, "
            f"which is not one or is damaged ({error})"
        ) from error
    model = _load_model(model_bytes, custom_objects, safe_mode)
    return _restore(model, manifest, *tables)


def _write_archive(modules: ModuleSet, path: Path, folder: Path) -> None:
    model_path = folder / "model.keras"
    modules.model.save(model_path)
    manifest, arrays = _describe(modules)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest, indent=2))
        archive.writestr("arrays.npz", buffer.getvalue())
        archive.write(model_path, "model.keras")


def _describe(modules: ModuleSet) -> tuple[dict, dict[str, np.ndarray]]:
    """The manifest, and the arrays by name; activations are numbered in the manifest's order."""
    counted = modules.activation_counts is not None
    tables = modules.activation_counts if counted else modules.units
    manifest = {
        "format": FORMAT,
        # Version 1 knows one threshold for all activations; what it can read, it may.
        "version": VERSION if isinstance(modules.threshold, dict) else 1,
        "content": "counts" if counted else "units",
        "activations": list(tables),
        "class_names": list(modules.class_names),
        "threshold": modules.threshold,
        "epsilons": modules.epsilons,
        "keras_version": keras.__version__,
    }
    arrays = {f"activation_{i}": table for i, table in enumerate(tables.values())}
    if counted:
        arrays["sample_counts"] = modules.sample_counts
    return manifest, arrays


def _read_manifest(archive: zipfile.ZipFile, path: Path) -> dict:
    try:
        manifest = json.loads(archive.read("manifest.json"))
    except ValueError as error:
        raise zipfile.BadZipFile("its manifest cannot be read") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise zipfile.BadZipFile("its manifest is another format's")
    if manifest["version"] > VERSION:
        raise ValueError(
            f"Expected a module file of format version {VERSION} or older. Received: {str(path)!r} "
            f"of version {manifest['version']}. Upgrade moda_keras to read it"
        )
    return manifest


def _load_model(content: bytes, custom_objects: dict | None, safe_mode: bool) -> keras.Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        return keras.saving.load_model(
            path, custom_objects=custom_objects, compile=False, safe_mode=safe_mode
        )


def _read_tables(
    manifest: dict, arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The counts or units by activation name, and the sample counts where there are counts."""
    tables = {name: arrays[f"activation_{i}"] for i, name in enumerate(manifest["activations"])}
    return tables, None if manifest["content"] == "units" else arrays["sample_counts"]


def _restore(
    model: keras.Model,
    manifest: dict,
    tables: dict[str, np.ndarray],
    sample_counts: np.ndarray | None,
) -> ModuleSet:
    class_names = manifest["class_names"]
    if sample_counts is None:
        return ModuleSet.from_units(model, tables, class_names=class_names)
    return ModuleSet.from_counts(
        model,
        tables,
        sample_counts,
        threshold=manifest["threshold"],
        class_names=class_names,
        epsilons=manifest.get("epsilons"),  # older files do not tell
    )
