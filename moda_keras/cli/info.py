"""`moda info`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moda_keras.cli import files
from moda_keras.cli.class_names import read_class_names
from moda_keras.cli.command import Answer
from moda_keras.cli.measures import (
    count_flops,
    count_parameters,
    grouped,
    measure_modules,
    summary_of_modules,
    units_table,
)
from moda_keras.cli.terminal import figures, rows_table

if TYPE_CHECKING:
    import keras


def info(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A Keras model or a module file.")
    ] = None,
) -> Answer:
    """Describe a file, or the installation.

    **Examples**

    ```console
    moda info
    moda --backend jax info
    moda info vgg.modules
    ```
    """
    if file is None:
        return _environment()
    return _module_file(file) if files.kind_of(file) == "modules" else _model_file(file)


def _environment() -> Answer:
    import moda_keras as mk
    from moda_keras.experiments.environment import describe_environment

    found = describe_environment()
    status = mk.ops.native_status()
    document = {**found, "native_status": status.splitlines()}
    versions = {name: version or "-" for name, version in found["versions"].items()}
    shown = {
        **versions,
        "python": found["python"],
        "backend": found["backend"],
        "device": found["device"],
        "machine": f"{found['system']}, {found['machine']}, {found['cores']} cores",
    }
    return Answer(document, [figures(None, shown), status])


def _model_file(path: Path) -> Answer:
    import moda_keras as mk

    model = files.load_model(path)
    hidden = mk.find_hidden_activations(model)
    document = {
        "file": str(path),
        "kind": "model",
        **_model(model),
        "classes": read_class_names(path),
        "hidden_activations": [{"name": each.name, "units": each.units} for each in hidden],
    }
    units = rows_table(None, ("hidden activation", "units"), [(h.name, h.units) for h in hidden])
    shown = _shown(document)
    if document["classes"]:
        shown["classes"] = ", ".join(document["classes"])
    return Answer(document, [figures(None, shown), units])


def _module_file(path: Path) -> Answer:
    modules = files.load_modules(path)
    measured = measure_modules(modules)
    model_file = files.referred_model(path)
    document = {
        "file": str(path),
        "kind": "modules",
        "model_file": None if model_file is None else str(model_file),
        **_model(modules.model),
        "hidden_activations": [
            {"name": each.name, "units": each.units} for each in modules.hidden_activations
        ],
        "samples": None if modules.sample_counts is None else modules.sample_counts.tolist(),
        **measured,
    }
    shown = {**_shown(document), "classes": ", ".join(modules.class_names)}
    if model_file is not None:
        shown["model file"] = str(model_file)
    return Answer(
        document,
        [figures(None, {**shown, **summary_of_modules(measured)}), units_table(modules)],
    )


def _model(model: "keras.Model") -> dict[str, Any]:
    return {
        "model": model.name,
        "inputs": [list(tensor.shape) for tensor in model.inputs],
        "outputs": [list(tensor.shape) for tensor in model.outputs],
        "parameters": count_parameters(model),
        "flops": count_flops(model),
    }


def _shown(document: dict[str, Any]) -> dict[str, str]:
    return {
        "model": document["model"],
        "inputs": _shapes(document["inputs"]),
        "outputs": _shapes(document["outputs"]),
        "parameters": f"{document['parameters']:,}",
        "multiply-accumulates": grouped(document["flops"]),
    }


def _shapes(shapes: list[list[int | None]]) -> str:
    return ", ".join(f"({', '.join(map(str, shape))})" for shape in shapes)
