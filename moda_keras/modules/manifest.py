"""The manifest of a module file: what its tables are, and where its model is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moda_keras.files import ModuleFileError
from moda_keras.messages import is_printable
from moda_keras.modules.checked_files.json_text import parse_json

NAME = "manifest.json"
FORMAT = "moda_keras.modules"
VERSION = 3
MAX_BYTES = 16 * 2**20
# The entries that every version has, and those that came later.
_TYPES: dict[str, tuple[type, ...]] = {
    "version": (int,),
    "class_names": (list,),
    "activations": (list,),
    "content": (str,),
    "threshold": (int, float, dict, type(None)),
}
_LATER_TYPES: dict[str, tuple[type, ...]] = {
    "epsilons": (dict, type(None)),
    "criterion": (str, type(None)),
    "subtask": (list, type(None)),
    "keras_version": (str, type(None)),
}


def parse_manifest(content: bytes, path: str | Path) -> dict[str, Any]:
    """The manifest of a module file, with entries of the right types.

    Args:
        content: Its text.
        path: The module file.

    Returns:
        Dict.

    Raises:
        ValueError: If it is not the manifest of a module file.
        ModuleFileError: If it is that of a newer version.
    """
    manifest = parse_json(content, "its manifest")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError("its manifest has another format")
    missing = [key for key in _TYPES if key not in manifest]
    if missing:
        raise ValueError(f"its manifest has no entry {missing[0]!r}")
    if not _has_types(manifest):
        raise ValueError("its manifest has entries of other types")
    if manifest["version"] > VERSION:
        raise ModuleFileError(
            f"Expected a module file of format version {VERSION} or older. Received: {str(path)!r} "
            f"of version {manifest['version']:.6g}. Upgrade moda_keras to read it",
            path,
        )
    _require_names("class_names", manifest["class_names"])
    _require_names("activations", manifest["activations"])
    return manifest


def reference_of(manifest: dict[str, Any]) -> dict[str, str] | None:
    """Which model file a manifest refers to: its path and digest; None for the one inside.

    Args:
        manifest: From `parse_manifest`.
    """
    reference = manifest.get("model")
    if reference is None:
        return None
    is_dict = isinstance(reference, dict)
    texts = [reference.get(key) for key in ("file", "sha256")] if is_dict else [None]
    if not all(isinstance(each, str) and each and is_printable(each) for each in texts):
        raise ValueError("its manifest does not say which model file it refers to")
    return reference


def _has_types(manifest: dict[str, Any]) -> bool:
    return all(
        isinstance(manifest[key], types) and not isinstance(manifest[key], bool)
        for key, types in (_TYPES | _LATER_TYPES).items()
        if key in manifest
    )


def _require_names(key: str, names: Sequence[Any]) -> None:
    if not all(isinstance(each, str) and is_printable(each) for each in names):
        raise ValueError(f"its manifest has `{key}` that are no printable texts")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"its manifest has no `{key}`, or one of them twice")
