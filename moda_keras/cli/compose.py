"""`moda compose`."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moda_keras.cli import files
from moda_keras.cli.choices import require_choice
from moda_keras.cli.command import Answer
from moda_keras.cli.completion import EXPORT_FORMATS, complete_class, complete_format
from moda_keras.cli.errors import CommandError
from moda_keras.cli.measures import count_flops, count_parameters, grouped, share_of_flops
from moda_keras.cli.names import class_indices
from moda_keras.cli.terminal import figures, percent

if TYPE_CHECKING:
    import keras

# Formats by what the output ends in.
SUFFIXES = {
    ".keras": "keras",
    ".onnx": "onnx",
    ".tflite": "litert",
    ".xml": "openvino",
    ".pt2": "torch",
}
# Of images whose size is not fixed: what a model is called with before it is exported.
ANY_SIZE = 32


def compose(
    modules: Annotated[Path, typer.Argument(help="A module file.")],
    classes: Annotated[
        list[str],
        typer.Argument(
            help="Names or indices; output j is the j-th.", autocompletion=complete_class
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model to write.")],
    format: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(EXPORT_FORMATS)}; by default what the output's name says.",
            autocompletion=complete_format,
        ),
    ] = None,
    align: Annotated[
        int, typer.Option(min=1, help="Round numbers of channels up to a multiple of this.")
    ] = 1,
    force: files.Force = False,
) -> Answer:
    """Build the slim model of some classes, with no retraining.

    A class is named first, then counted: where classes are called "3" and "8", 3 is the class "3".

    **Examples**

    ```console
    moda compose vgg.modules cat dog horse -o pets.keras
    moda compose vgg.modules 3 5 7 -o pets.onnx
    moda compose vgg.modules cat dog --format tf_saved_model -o pets
    ```
    """
    import moda_keras as mk

    how = _format(format, output)
    files.check_output(output, force=force, suffix=".keras" if how == "keras" else None)
    if how == "openvino":
        files.check_output(output.with_suffix(".bin"), force=force)  # of the weights
    loaded = files.load_modules(modules)
    chosen = class_indices(classes, loaded)
    small = mk.compose(loaded, chosen, align=align)
    names = [loaded.class_names[index] for index in chosen]
    parameters, of = count_parameters(small), count_parameters(loaded.model)
    flops, of_flops = count_flops(small), count_flops(loaded.model)
    document = {
        "model": str(output),
        "format": how,
        "classes": names,
        "parameters": parameters,
        "size": parameters / of,
        "flops": flops,
        "flops_share": share_of_flops(small, loaded.model),
    }
    shown = {
        "classes": ", ".join(names),
        "parameters": f"{parameters:,} of {of:,}: {percent(document['size'])}",
        "multiply-accumulates": f"{grouped(flops)} of {grouped(of_flops)}: "
        f"{percent(document['flops_share'])}",
    }
    _write(small, output, how, force)
    return Answer(document, [figures(None, shown), f"Wrote {output}."])


def _format(asked: str | None, output: Path) -> str:
    require_choice("--format", asked, EXPORT_FORMATS)
    found = asked or SUFFIXES.get(output.suffix)
    if found is None:
        raise typer.BadParameter(
            f"Expected an output that ends in one of {', '.join(SUFFIXES)}, or --format. "
            f"Received: {output}"
        )
    return found


def _write(model: "keras.Model", output: Path, how: str, force: bool) -> None:
    import keras

    if how == "keras":
        files.write_model(model, output)
        return
    sizes = [size or ANY_SIZE for size in model.input_shape[1:]]
    try:
        model(keras.ops.zeros((1, *sizes)))  # Keras exports what was called once
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracers, about Keras's own code
            files.write_whole(
                output, lambda path: model.export(str(path), format=how, verbose=False), force=force
            )
    except (OSError, CommandError):
        raise
    except Exception as error:  # each exporter has its own
        reason = " ".join(str(error).split())
        raise CommandError(
            f"Keras cannot write the format {how!r} with the backend "
            f"{keras.backend.backend()!r} here: {reason}"
        ) from error
