"""`moda tune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moda_keras.cli import files
from moda_keras.cli.choices import require_choice
from moda_keras.cli.command import Answer
from moda_keras.cli.data import DataArguments, check_images, data_of_modules
from moda_keras.cli.measures import measure_modules, summary_of_modules
from moda_keras.cli.progress import working
from moda_keras.cli.terminal import rows_table

if TYPE_CHECKING:
    import numpy as np

    from moda_keras.cli.data import Data

PARTS = ("train", "test")


def tune(
    modules: Annotated[Path, typer.Argument(help="A module file.")],
    data: DataArguments,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The module file to write, FILE.modules.")
    ],
    max_accuracy_loss: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="By how much composed models may be less accurate than the full model.",
        ),
    ] = 0.01,
    per_layer: Annotated[
        bool, typer.Option("--per-layer", help="Choose a tau for each hidden activation.")
    ] = False,
    on: Annotated[
        str,
        typer.Option(
            help="train or test: the images to choose by. Figures measured on these are flattered."
        ),
    ] = "train",
    force: files.Force = False,
) -> Answer:
    """Choose tau: the smallest modules within a loss of accuracy.

    No further pass over the training data is needed, but images to measure accuracy on; a few
    hundred are enough (--samples-per-class). They are read into memory.

    **Examples**

    ```console
    moda tune vgg.modules --data cifar10/ --samples-per-class 100 -o small.modules
    moda tune vgg.modules --data photos/ --on test --per-layer -o small.modules
    ```
    """
    require_choice("--on", on, PARTS)
    files.check_output(output, force=force)
    loaded = files.load_modules(modules)
    images = data_of_modules(data.load(), loaded.class_names, modules)
    check_images(loaded.model, images, modules)
    with working("Choosing tau"):
        if on == "train":
            x, y = _training_images(images), images.y_train
        else:
            x, y = images.x_test, images.y_test
        tuned = loaded.tune_threshold(x, y, max_accuracy_loss, per_layer=per_layer)
    tuned.save(output, overwrite=force)
    before, after = measure_modules(loaded), measure_modules(tuned)
    document = {"modules": str(output), "before": before, **after}
    first, second = summary_of_modules(before), summary_of_modules(after)
    rows = [(name, first[name], second[name]) for name in first]
    return Answer(document, [rows_table(None, ("", "before", "after"), rows), f"Wrote {output}."])


def _training_images(data: "Data") -> "np.ndarray":
    import numpy as np

    from moda_keras.datasets import StreamedDataset

    if not isinstance(data, StreamedDataset):
        return data.x_train
    images = np.empty((len(data.y_train), *data.image_shape), "float32")
    start = 0
    for x, _ in data.unaugmented_batches():
        images[start : start + len(x)] = x
        start += len(x)
    return images
