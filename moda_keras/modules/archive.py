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

from moda_keras.files import replacing, temporary_folder
from moda_keras.modules.model_file import load_referred, refer_to
from moda_keras.modules.selection import Threshold

FORMAT = "moda_keras.modules"
VERSION = 3


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
        archive.writestr("manifest.json", json.dumps(manifest, indent=2))
        archive.writestr("arrays.npz", buffer.getvalue())
        if model_file is None:
            model_path = beside.with_name("model.keras")
            model.save(model_path)
            archive.write(model_path, "model.keras")


def read_archive(
    path: str | Path,
    *,
    model_file: str | Path | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    safe_mode: bool = True,
) -> tuple[keras.Model, ModuleTables]:
    """Reads a module file.

    Args:
        path: The file.
        model_file: As of `load_modules`.
        custom_objects: Classes of the model's custom layers by name, as in Keras's `load_model`.
        safe_mode: Whether to refuse models that hold Python lambdas, as in `load_model`.

    Returns:
        The model, and the tables of its modules.

    Raises:
        FileNotFoundError: If the file, or the model file that it refers to, does not exist.
        ValueError: If the file is not a module file, is damaged, or is of a newer format version,
            or if the model file is not the one that it refers to.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"Module file not found: {str(path)!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _read_manifest(archive, path)
            with np.load(io.BytesIO(archive.read("arrays.npz")), allow_pickle=False) as arrays:
                modules = _read_tables(manifest, arrays)
            reference = _read_reference(manifest)
            content = archive.read("model.keras") if reference is None else None
    except (zipfile.BadZipFile, KeyError, EOFError, OSError) as error:
        raise ValueError(
            f"Expected a module file, as `ModuleSet.save` writes it. Received: {str(path)!r}, "
            f"which is not one or is damaged ({error})"
        ) from error
    if reference is not None:
        model = load_referred(
            reference, path, model_file, custom_objects=custom_objects, safe_mode=safe_mode
        )
        return model, modules
    if model_file is not None:
        raise ValueError(
            f"Expected no `model_file`, because {str(path)!r} holds its model itself. Received: "
            f"model_file={str(model_file)!r}"
        )
    return _load_model(content, custom_objects, safe_mode), modules


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


def _read_manifest(archive: zipfile.ZipFile, path: Path) -> dict:
    try:
        manifest = json.loads(archive.read("manifest.json"))
    except ValueError as error:
        raise zipfile.BadZipFile("its manifest cannot be read") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise zipfile.BadZipFile("its manifest has another format")
    if not isinstance(manifest["version"], int) or not _is_manifest(manifest):
        raise zipfile.BadZipFile("its manifest has entries of other types")
    if manifest["version"] > VERSION:
        raise ValueError(
            f"Expected a module file of format version {VERSION} or older. Received: {str(path)!r} "
            f"of version {manifest['version']}. Upgrade moda_keras to read it"
        )
    return manifest


def _is_manifest(manifest: dict) -> bool:
    """Whether the entries that every version reads are of their types."""
    types = {
        "class_names": list,
        "activations": list,
        "content": str,
        "threshold": (int, float, dict, type(None)),
    }
    epsilons = manifest.get("epsilons")
    return all(isinstance(manifest[key], each) for key, each in types.items()) and isinstance(
        epsilons, (dict, type(None))
    )


def _read_reference(manifest: dict) -> dict[str, str] | None:
    reference = manifest.get("model")
    if reference is None:
        return None
    is_whole = isinstance(reference, dict) and {"file", "sha256"} <= set(reference)
    if not is_whole or not all(isinstance(each, str) for each in reference.values()):
        raise zipfile.BadZipFile("its manifest does not say which model file it refers to")
    return reference


def _read_tables(manifest: dict, arrays: Mapping[str, np.ndarray]) -> ModuleTables:
    def named(kind: str) -> dict[str, np.ndarray]:
        return {name: arrays[f"{kind}_{i}"] for i, name in enumerate(manifest["activations"])}

    return ModuleTables(
        class_names=manifest["class_names"],
        tables=named("activation"),
        sample_counts=None if manifest["content"] == "units" else arrays["sample_counts"],
        threshold=manifest["threshold"],
        epsilons=manifest.get("epsilons"),  # the first files do not have them
        importance=named("importance") if "criterion" in manifest else None,
        criterion=manifest.get("criterion", "frequency"),
        units=named("units") if "subtask" in manifest else None,
        subtask=manifest.get("subtask"),
    )


def _load_model(
    content: bytes, custom_objects: Mapping[str, Any] | None, safe_mode: bool
) -> keras.Model:
    with temporary_folder() as folder:
        path = folder / "model.keras"
        path.write_bytes(content)
        return keras.saving.load_model(
            path, custom_objects=custom_objects, compile=False, safe_mode=safe_mode
        )
