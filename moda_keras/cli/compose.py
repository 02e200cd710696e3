"""`moda compose`."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moda_keras.cli import files
from moda_keras.cli.class_names import class_indices, companion, free_name, write_class_names
from moda_keras.cli.command import Answer
from moda_keras.cli.errors import CommandError, shortened
from moda_keras.cli.measures import count_flops, count_parameters, grouped, share_of_flops
from moda_keras.cli.options import Force, Format, complete_class, flag, listed
from moda_keras.cli.terminal import figures, percent
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


def compose(
    modules: Annotated[Path, typer.Argument(metavar="MODULES", help="A module file.")],
    classes: Annotated[
        list[str],
        typer.Argument(
            metavar="CLASSES",
            help="Names or indices, in the order of the outputs.",
            autocompletion=complete_class,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The model to write.")
    ],
    format: Annotated[
        Format | None,
        typer.Option(
            metavar="NAME", help=f"{listed(Format)}. Default: by the suffix of the output."
        ),
    ] = None,
    align: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Round numbers of channels up to a multiple of N."),
    ] = 1,
    other: Annotated[
        bool, flag("--other", "Add a last output for images of none of these classes.")
    ] = False,
    force: Force = False,
) -> Answer:
    """Build the small model of some classes, without retraining.

    Classes are separated by spaces or commas. Names come before indices: where classes are called
    "3" and "8", 3 is the class "3". The model file carries the names of its classes. The output of
    --other is called "other", or "other_1" if a class has that name.

    **Examples**

    ```console
    moda compose vgg.modules cat dog horse -o pets.keras
    moda compose vgg.modules 3,5,7 -o pets.onnx
    moda compose vgg.modules cat dog --other -o cat_or_dog.keras
    moda compose vgg.modules cat dog --format tf_saved_model -o pets
    ```
    """
    import moda_keras as mk

    how = _format(format, output)
    files.check_output(output, force=force, suffix=".keras" if how == "keras" else None)
    if how != "keras":
        files.check_output(companion(output), force=force)
    if how == "openvino":
        files.check_output(output.with_suffix(".bin"), force=force)  # the weights
    loaded = files.load_modules(modules)
    chosen = class_indices(classes, loaded)
    small = mk.compose(loaded, chosen, align=align, other=other)
    names = [loaded.class_names[index] for index in chosen]
    name_of_other = free_name("other", loaded.class_names) if other else None
    if how == "keras":
        files.write_model(small, output, names, name_of_other)
    else:
        _export(small, output, how, force)
        write_class_names(output, names, name_of_other)
    document = {"model": str(output), "format": how, "classes": names}
    figures_of_model, shown = _compare(small, loaded.model)
    shown = {"classes": ", ".join(names), **shown}
    if other:
        document["other"] = shown["none of these"] = name_of_other
    return Answer(document | figures_of_model, [figures(None, shown), f"Wrote {output}."])


def _compare(small: "keras.Model", whole: "keras.Model") -> tuple[dict[str, Any], dict[str, str]]:
    """Size and cost of a composed model, for programs and for people."""
    parameters, of = count_parameters(small), count_parameters(whole)
    flops, of_flops = count_flops(small), count_flops(whole)
    share = share_of_flops(small, whole)
    document = {
        "parameters": parameters,
        "size": parameters / of,
        "flops": flops,
        "flops_share": share,
    }
    shown = {
        "parameters": f"{parameters:,} of {of:,}: {percent(parameters / of)}",
        "multiply-accumulates": f"{grouped(flops)} of {grouped(of_flops)}: {percent(share)}",
    }
    return document, shown


def _format(asked: str | None, output: Path) -> str:
    found = asked or SUFFIXES.get(output.suffix)
    if found is None:
        raise typer.BadParameter(
            f"Expected an output that ends in one of {', '.join(SUFFIXES)}, or --format. "
            f"Received: {output}"
        )
    return found


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
    packages = PACKAGES[how].get(backend, PACKAGES[how].get(None, how))
    missing = f" ({cause.name})" if cause.name else ""
    return (
        f"The format {how!r} needs packages that are not installed{missing}. Install them with: "
        f"pip install {packages}"
    )
