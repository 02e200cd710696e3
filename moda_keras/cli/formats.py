"""The formats that composed models are written in."""

import importlib.util
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from moda_keras.cli import files
from moda_keras.cli.class_names import companion, write_class_names
from moda_keras.cli.errors import CommandError, shortened
from moda_keras.files import replacing

if TYPE_CHECKING:
    import keras

# Formats by the suffix of the output.
SUFFIXES = {
    ".keras": "keras",
    ".onnx": "onnx",
    ".tflite": "litert",
    ".xml": "openvino",
    ".pt2": "torch",
}
# Packages that Keras's exporters need, by format and backend; None for any other backend.
PACKAGES = {
    "onnx": {"torch": "onnx onnxscript", "tensorflow": "tf2onnx", "jax": "jax2onnx"},
    "litert": {"torch": "litert-torch", None: "tensorflow"},
    "openvino": {None: "openvino"},
    "tf_saved_model": {None: "tensorflow"},
    "torch": {None: "torch"},
}


def output_format(asked: str | None, output: Path) -> str:
    """The format of an output: the one asked for, or that of the suffix."""
    found = asked or SUFFIXES.get(output.suffix)
    if found is None:
        raise typer.BadParameter(
            f"Expected an output that ends in one of {', '.join(SUFFIXES)}, or --format. "
            f"Received: {output}"
        )
    return found


def check_model_output(
    output: Path, how: str, *, force: bool, sources: Iterable[str | Path | None]
) -> None:
    """Refuses a model file that cannot be written, before any work is done.

    Args:
        output: The file or folder.
        how: Its format.
        force: Whether it may exist.
        sources: Files that are read and must stay.

    Raises:
        CommandError: As `files.check_output`, also of the files that come beside it.
    """
    suffix = ".keras" if how == "keras" else None
    files.check_output(output, force=force, suffix=suffix, sources=sources)
    if how != "keras":
        files.check_output(companion(output), force=force, sources=sources)
    if how == "openvino":  # the weights
        files.check_output(output.with_suffix(".bin"), force=force, sources=sources)


def require_exporter(how: str) -> None:
    """Refuses a format whose packages are not installed, before any work is done.

    Args:
        how: The format.

    Raises:
        CommandError: If one is missing.
    """
    import keras

    packages = _packages(how, keras.backend.backend())
    for name in packages.split():
        if importlib.util.find_spec(name.replace("-", "_")) is None:
            raise CommandError(_missing_packages(how, packages, name))


def write_composed(
    model: "keras.Model",
    output: Path,
    how: str,
    names: Sequence[str],
    other: str | None = None,
    *,
    force: bool,
) -> None:
    """Writes a model in any format, with the names of its outputs.

    Args:
        model: A composed model.
        output: The file or folder.
        how: Its format.
        names: The class of each output.
        other: The name of one more, last output for none of these classes, if there is one.
        force: Whether files that the exporter writes beside it may exist.

    Raises:
        CommandError: If Keras cannot write the format here; the message says what is missing.
    """
    if how == "keras":
        files.write_model(model, output, names, other)
    else:
        _export(model, output, how, force)
        write_class_names(output, names, other)


def _export(model: "keras.Model", output: Path, how: str, force: bool) -> None:
    import keras

    try:
        with (
            replacing(output, companions=True, overwrite=force) as beside,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # tracers warn about Keras's own code
            model.export(str(beside), format=how, verbose=False)
    except FileExistsError as error:
        raise CommandError(f"{error}. Pass --force to replace it") from error
    except OSError:
        raise
    except Exception as error:  # each exporter has its own
        raise CommandError(_export_failure(error, how, keras.backend.backend())) from error


def _export_failure(error: BaseException, how: str, backend: str) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ImportError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return (
            f"Keras cannot write the format {how!r} with the backend {backend!r}: "
            f"{shortened(error)}. docs/slicing.md lists the formats of each backend"
        )
    return _missing_packages(how, _packages(how, backend), cause.name)


def _packages(how: str, backend: str) -> str:
    if how == "keras":
        return ""
    return PACKAGES[how].get(backend, PACKAGES[how].get(None, how))


def _missing_packages(how: str, packages: str, name: str | None) -> str:
    missing = f" ({name})" if name else ""
    return (
        f"The format {how!r} needs packages that are not installed{missing}. Install them with: "
        f"pip install {packages}"
    )
