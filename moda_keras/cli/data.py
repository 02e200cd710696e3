"""The options that say which data, alike for every command."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moda_keras.cli import files
from moda_keras.cli.choices import require_choice
from moda_keras.cli.completion import complete_data
from moda_keras.cli.errors import CommandError
from moda_keras.cli.names import split_names

if TYPE_CHECKING:
    import keras

    from moda_keras.datasets import Dataset, StreamedDataset

    Data = Dataset | StreamedDataset

PANEL = "Data"
COLORS = ("grey", "rgb")


@dataclass(frozen=True, kw_only=True)
class DataArguments:
    """Images to work on; the fields are the options."""

    data: Annotated[
        str,
        typer.Option(
            help="Name of a data set, or a folder of images: train/CLASS/* and test/CLASS/*.",
            autocompletion=complete_data,
            rich_help_panel=PANEL,
        ),
    ]
    image_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Height and width in pixels; the data's own by default.",
            rich_help_panel=PANEL,
        ),
    ] = None
    color: Annotated[
        str | None,
        typer.Option(help="grey or rgb; the data's own by default.", rich_help_panel=PANEL),
    ] = None
    class_names: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="The classes to load, in the order of their labels; all by default.",
            rich_help_panel=PANEL,
        ),
    ] = None
    samples_per_class: Annotated[
        int | None,
        typer.Option(min=1, help="Training images of each class, at most.", rich_help_panel=PANEL),
    ] = None
    test_samples_per_class: Annotated[
        int | None,
        typer.Option(min=1, help="Test images of each class, at most.", rich_help_panel=PANEL),
    ] = None
    data_seed: Annotated[
        int,
        typer.Option(
            help="Seed of the choice of images, and of the digits' split.", rich_help_panel=PANEL
        ),
    ] = 0
    download: Annotated[
        bool,
        typer.Option(
            "--download", help="Fetch a data set that is not here yet.", rich_help_panel=PANEL
        ),
    ] = False
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of tensorflow-datasets' data.", rich_help_panel=PANEL),
    ] = None
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder to keep the samples of ImageNet and Stanford Dogs in.",
            rich_help_panel=PANEL,
        ),
    ] = None
    synsets: Annotated[
        Path | None,
        typer.Option(
            help="File of ImageNet's synset ids, instead of --class-names.", rich_help_panel=PANEL
        ),
    ] = None
    extra: Annotated[
        bool | None,
        typer.Option(
            "--extra/--no-extra",
            help="Of svhn: whether to train with its extra split too; it is by default.",
            rich_help_panel=PANEL,
        ),
    ] = None

    def load(self) -> "Data":
        """The data."""
        from moda_keras import datasets

        require_choice("--color", self.color, COLORS)
        class_names = self._class_names()
        try:
            return datasets.load(
                self.data,
                image_size=self.image_size,
                color=self.color,
                class_names=class_names,
                samples_per_class=self.samples_per_class,
                test_samples_per_class=self.test_samples_per_class,
                seed=self.data_seed,
                extra=self.extra,
                download=self.download,
                data_dir=self.data_dir,
                cache=self.cache,
            )
        except FileNotFoundError as error:
            message = str(error).replace("`download=True` to `load`", "--download")
            raise CommandError(message) from error

    def _class_names(self) -> list[str] | None:
        if self.synsets is None:
            return split_names(self.class_names)
        if self.class_names is not None:
            raise typer.BadParameter("Choose one of --class-names and --synsets")
        files.require_file(self.synsets)
        return self.synsets.read_text().split()


@dataclass(frozen=True, kw_only=True)
class OptionalDataArguments(DataArguments):
    """As `DataArguments`, for commands that can do without."""

    data: Annotated[
        str | None,
        typer.Option(
            help="Name of a data set, or a folder of images: train/CLASS/* and test/CLASS/*.",
            autocompletion=complete_data,
            rich_help_panel=PANEL,
        ),
    ] = None


def check_images(model: "keras.Model", data: "Data", path: Path) -> None:
    """Raises a `CommandError` if the model does not take the data's images.

    Args:
        model: The model.
        data: The data.
        path: The model's file, to name it.
    """
    expected = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    received = data.image_shape
    if len(expected) == 1 and _fits(expected[0], received):
        return
    raise CommandError(
        f"Expected images of shape {expected[0] if len(expected) == 1 else expected}, as the model "
        f"in {str(path)!r} takes. Received: data of shape {received}; see --image-size and --color"
    )


def check_classes(model: "keras.Model", data: "Data", path: Path) -> None:
    """Raises a `CommandError` if the model does not have as many classes as the data.

    Args:
        model: The model.
        data: The data.
        path: The model's file, to name it.
    """
    expected = model.output_shape[-1]
    if expected != len(data.class_names):
        raise CommandError(
            f"Expected data of {expected} classes, as the model in {str(path)!r} has. Received: "
            f"{len(data.class_names)}, {shortened(data.class_names)}; see --class-names"
        )


def data_of_modules(data: "Data", class_names: tuple[str, ...], path: Path) -> "Data":
    """The data with the labels of a module file, whose classes may come in another order.

    Args:
        data: The data.
        class_names: Those of the modules.
        path: The module file, to name it.

    Returns:
        The data, its labels indices into `class_names`.
    """
    if data.class_names == class_names:
        return data
    if set(data.class_names) == set(class_names):
        return data.of_classes([data.class_names.index(name) for name in class_names])
    raise CommandError(
        f"Expected data of the classes of {str(path)!r}, {shortened(class_names)}. Received: "
        f"{shortened(data.class_names)}; see --class-names"
    )


def shortened(names: tuple[str, ...]) -> str:
    """Names for a message: the first few of many."""
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


def _fits(expected: tuple, received: tuple) -> bool:
    same_rank = len(expected) == len(received)
    return same_rank and all(e in (None, r) for e, r in zip(expected, received, strict=True))
