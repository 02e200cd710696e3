"""The options that choose data, the same for every command."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from moda_keras.cli import files
from moda_keras.cli.arrays import LABELLED, is_array_file, load_arrays, refuse_image_options
from moda_keras.cli.class_names import split_names
from moda_keras.cli.errors import CommandError
from moda_keras.cli.options import Pixels, complete_data, flag, listed

if TYPE_CHECKING:
    import keras

    from moda_keras.datasets import Dataset, StreamedDataset

    Data = Dataset | StreamedDataset

PANEL = "Data"
DATA_HELP = (
    "Name of a data set; or a folder, train/CLASS/ and test/CLASS/, or CLASS/; or a file of "
    f"arrays, .npz: {LABELLED}."
)


def data_option(help: str, metavar: str, **settings: Any) -> Any:
    """An option among those of the data."""
    return typer.Option(help=help, metavar=metavar, rich_help_panel=PANEL, **settings)


@dataclass(frozen=True, kw_only=True)
class DataArguments:
    """The fields are the options: those of `datasets.DataSettings`, `synsets` and `pixels`."""

    data: Annotated[str, data_option(DATA_HELP, "NAME", autocompletion=complete_data)]
    image_size: Annotated[
        int | None, data_option("Height and width in pixels. Default: the images' own.", "N", min=1)
    ] = None
    color: Annotated[
        Literal["grey", "rgb"] | None, data_option("grey or rgb. Default: the images' own.", "NAME")
    ] = None
    pixels: Annotated[
        Pixels,
        data_option(
            f"What values the model wants: {listed(Pixels)}. imagenet: less ImageNet's mean, over "
            "its deviation; caffe: as VGG16 and ResNet50 of keras.applications.",
            "NAME",
        ),
    ] = "0-1"
    class_names: Annotated[
        str | None,
        data_option("Classes to load, in the order of their labels. Default: all.", "NAMES"),
    ] = None
    samples_per_class: Annotated[
        int | None, data_option("Maximum number of training images per class.", "N", min=1)
    ] = None
    test_samples_per_class: Annotated[
        int | None, data_option("Maximum number of test images per class.", "N", min=1)
    ] = None
    test_fraction: Annotated[
        float, data_option("Digits, and folders without test/: share of test images.", "X")
    ] = 0.2
    data_seed: Annotated[int, data_option("Seed of the choice and the split of images.", "N")] = 0
    download: Annotated[
        bool, flag("--download", "Download a missing data set.", rich_help_panel=PANEL)
    ] = False
    data_dir: Annotated[
        Path | None, data_option("Folder of the data of tensorflow-datasets.", "DIR")
    ] = None
    cache: Annotated[
        Path | None, data_option("ImageNet, Stanford Dogs: folder that keeps the labels.", "DIR")
    ] = None
    synsets: Annotated[
        Path | None, data_option("File of ImageNet's synset ids; replaces --class-names.", "FILE")
    ] = None
    no_extra: Annotated[
        bool, flag("--no-extra", "SVHN: leave out the extra split.", rich_help_panel=PANEL)
    ] = False

    def files(self) -> tuple[str | Path | None, ...]:
        """What is read, as far as it is files: an output must be none of them."""
        return self.data, self.synsets

    def load(self, outputs: Sequence[str] | None = None) -> "Data":
        """The data.

        Args:
            outputs: Names of the model's outputs, if it has any: of arrays, integer labels stand
                for them unless --class-names says otherwise.
        """
        if is_array_file(self.data):
            refuse_image_options(self.image_size, self.color, self.pixels)
            return load_arrays(
                Path(self.data),
                class_names=self.chosen_names(),
                outputs=outputs,
                limits=(self.samples_per_class, self.test_samples_per_class),
                test_fraction=self.test_fraction,
                seed=self.data_seed,
            )
        return self._scaled(self.load_unscaled(self.chosen_names()))

    def load_unscaled(self, class_names: Sequence[str] | None, **changes: Any) -> "Data":
        """The data with values from 0 to 1.

        Args:
            class_names: The classes to load.
            **changes: Other values than those of the options.
        """
        from moda_keras import datasets

        fields = dataclasses.fields(DataArguments)
        settings = {field.name: getattr(self, field.name) for field in fields}
        del settings["synsets"], settings["pixels"]
        settings["class_names"] = class_names
        settings["extra"] = False if settings.pop("no_extra") else None
        try:
            return datasets.DataSettings(**settings | changes).load_data()
        except FileNotFoundError as error:
            message = str(error).replace("`download=True` to `load`", "--download")
            raise CommandError(message) from error

    def _scaled(self, data: "Data") -> "Data":
        from moda_keras import datasets

        if self.pixels == "0-1":
            return data
        if not isinstance(data, datasets.Dataset):
            raise CommandError(
                f"Expected --pixels 0-1 for data that is streamed, such as {self.data}. Received: "
                f"{self.pixels}. Put the scaling into the model, as keras.layers.Rescaling"
            )
        x_train, x_test = (
            datasets.scale_pixels(x, self.pixels) for x in (data.x_train, data.x_test)
        )
        return dataclasses.replace(data, x_train=x_train, x_test=x_test)

    def chosen_names(self) -> list[str] | None:
        """The names of --class-names or --synsets."""
        if self.synsets is None:
            return split_names(self.class_names)
        if self.class_names is not None:
            raise typer.BadParameter("Choose one of --class-names and --synsets")
        files.require_file(self.synsets)
        return self.synsets.read_text().split()


@dataclass(frozen=True, kw_only=True)
class OptionalDataArguments(DataArguments):
    """As `DataArguments`, for commands that do not need data."""

    data: Annotated[str | None, data_option(DATA_HELP, "NAME", autocompletion=complete_data)] = None


def data_of_model(
    data: "Data", model: "keras.Model", path: Path, class_names: Sequence[str] | None
) -> "Data":
    """The data with the classes of a model, in the order of its outputs.

    Args:
        data: The data, which may have more classes.
        model: The model.
        path: Its file, for error messages.
        class_names: The class of each output; None if unknown, which leaves the data as it is.

    Returns:
        The data.

    Raises:
        CommandError: If the model does not fit the data: its classes, their number, the images.
    """
    if class_names is not None and tuple(class_names) != data.class_names:
        data = data.of_classes(_labels_of(class_names, data, path))
    check_images(model, data.image_shape, path)
    shapes = [tuple(tensor.shape) for tensor in model.outputs]
    outputs = shapes[0][-1]
    is_binary = outputs == 1 and len(data.class_names) > 1
    if len(shapes) != 1 or len(shapes[0]) != 2 or outputs is None or is_binary:
        raise CommandError(
            "Expected a model with one output of shape (batch, classes), at least 2 classes. "
            f"Received: {str(path)!r} with outputs of shapes {shapes}. docs/labels.md tells how to "
            "make one of a binary model or of several outputs"
        )
    if outputs != len(data.class_names):
        raise CommandError(
            f"Expected data of {outputs} classes, as many as {str(path)!r} has outputs. Received: "
            f"{len(data.class_names)}, {shortened(data.class_names)}; see --class-names"
        )
    return data


def data_of_model_with_other(
    data: "Data", model: "keras.Model", path: Path, class_names: Sequence[str]
) -> "Data":
    """The data with the classes of a model first, and then those that it calls "other".

    Args:
        data: The data.
        model: The model; its last output is for none of its classes.
        path: Its file, for error messages.
        class_names: The class of each output but the last.

    Returns:
        The data, with all of its classes.

    Raises:
        CommandError: If a class is missing in the data, or its images do not fit the model.
    """
    labels = _labels_of(class_names, data, path)
    others = [label for label in range(len(data.class_names)) if label not in labels]
    check_images(model, data.image_shape, path)
    return data.of_classes([*labels, *others])


def _labels_of(class_names: Sequence[str], data: "Data", path: Path) -> list[int]:
    known = data.class_names
    if not set(class_names) <= set(known):
        raise CommandError(
            f"Expected data with the classes of {str(path)!r}, {shortened(class_names)}. "
            f"Received: {shortened(known)}; see --class-names"
        )
    return [known.index(name) for name in class_names]


def check_images(
    model: "keras.Model",
    received: tuple[int, ...],
    path: Path,
    advice: str = "; for images see --image-size and --color",
) -> None:
    """Raises a `CommandError` unless images of a shape fit a model, which is in the file `path`."""
    expected = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if len(expected) == 1 and _fits(expected[0], received):
        return
    raise CommandError(
        f"Expected images of shape {expected[0] if len(expected) == 1 else expected}, the input of "
        f"{str(path)!r}. Received: data of shape {received}{advice}"
    )


def _fits(expected: tuple, received: tuple) -> bool:
    same_rank = len(expected) == len(received)
    return same_rank and all(e in (None, r) for e, r in zip(expected, received, strict=True))


def shortened(names: Sequence[str]) -> str:
    """Class names for a message, at most ten."""
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown}, ... ({len(names)} in all)"


def describe(data: "Data") -> dict[str, Any]:
    """What was loaded, for an answer."""
    return {
        "train_images": len(data.y_train),
        "test_images": len(data.y_test),
        "shape": list(data.image_shape),
        "classes": list(data.class_names),
    }
