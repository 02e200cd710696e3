"""The samples of chosen classes that `moda slim` takes, from images or arrays, labelled or not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from moda_keras.cli.arrays import (
    ARRAYS,
    as_labels,
    is_array_file,
    is_held_out,
    read_arrays,
    refuse_image_options,
)
from moda_keras.cli.class_names import class_keys, read_class_names, split_names
from moda_keras.cli.data import DataArguments, check_images, data_option, shortened
from moda_keras.cli.errors import CommandError
from moda_keras.cli.options import complete_data

if TYPE_CHECKING:
    import keras

    from moda_keras.cli.data import Data

# Images of a folder without labels that are read and classified at a time.
BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class SlimDataArguments(DataArguments):
    """As `DataArguments`, and also images and arrays without labels."""

    data: Annotated[
        str,
        data_option(
            "Name of a data set; or a folder, train/CLASS/ and test/CLASS/, or CLASS/, or images "
            f"without labels; or a file of arrays, .npz: {ARRAYS}.",
            "NAME",
            autocompletion=complete_data,
        ),
    ]
    image_size: Annotated[
        int | None, data_option("Height and width in pixels. Default: the model's.", "N", min=1)
    ] = None
    samples_per_class: Annotated[
        int | None,
        data_option(
            "Maximum number of training images per class. Default: as many as are needed.",
            "N",
            min=1,
        ),
    ] = None


@dataclass(frozen=True, eq=False)
class SlimSamples:
    """Samples of the chosen classes.

    Attributes:
        x_train, x_test: Inputs of the model.
        y_train, y_test: Int arrays: outputs of the model, labels or what the model predicts.
        class_names: Names of all outputs of the model.
        classes: The chosen outputs, in the order in which they were asked for.
        is_labelled: Whether there are labels.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    classes: list[int]
    is_labelled: bool

    @property
    def chosen_names(self) -> list[str]:
        """Names of the chosen classes."""
        return [self.class_names[index] for index in self.classes]

    def training_rows(self, number: int, most: float = 1.0) -> np.ndarray:
        """The first training samples of each class, in their order, which is random.

        Args:
            number: How many in all, at most.
            most: The largest share of a class that is taken.

        Returns:
            Int array.
        """
        rows = [np.flatnonzero(self.y_train == label) for label in self.classes]
        shares = shares_of_classes(number, len(rows))
        chosen = [r[: min(n, int(most * len(r)))] for r, n in zip(rows, shares, strict=True)]
        return np.sort(np.concatenate(chosen))


def load_samples(
    data: SlimDataArguments,
    model: "keras.Model",
    path: Path,
    classes: str | Sequence[int],
    samples: int,
    *,
    class_names: Sequence[str] | None = None,
    needs_test: bool = True,
) -> SlimSamples:
    """Reads the samples of the chosen classes.

    Args:
        data: The options.
        model: The model.
        path: Its file.
        classes: The classes as they were typed, or outputs of the model.
        samples: How many training samples are needed in all.
        class_names: Names of all outputs of the model; those in the file by default.
        needs_test: Whether each class needs test samples.

    Returns:
        The samples.

    Raises:
        CommandError: If the data does not fit the model, or a class has no training or no test
            samples.
    """
    from moda_keras.datasets.image_folder import is_image_folder

    if is_array_file(data.data):
        reader = _Arrays
    elif Path(data.data).is_dir() and not is_image_folder(data.data):
        reader = _UnlabelledImages
    else:
        reader = _LabelledImages
    found = reader(data, model, path, classes, samples, class_names).read()
    kinds = [("training", found.y_train), ("test", found.y_test)]
    for kind, labels in kinds if needs_test else kinds[:1]:
        missing = [found.class_names[c] for c in found.classes if not (labels == c).any()]
        if missing:
            raise CommandError(_no_samples(kind, missing, found.is_labelled))
    return found


def _no_samples(kind: str, missing: list[str], is_labelled: bool) -> str:
    expected = f"Expected {kind} samples of every chosen class. Received: none "
    if is_labelled:
        return f"{expected}of {shortened(missing)}"
    return (
        f"{expected}that the model takes for {shortened(missing)}. Add samples; or --pixels may be "
        "wrong, the values that the model wants"
    )


class _Reader:
    """What the three kinds of data have in common."""

    def __init__(
        self,
        data: SlimDataArguments,
        model: "keras.Model",
        path: Path,
        classes: str | Sequence[int],
        samples: int,
        class_names: Sequence[str] | None,
    ):
        self.data = data
        self.model = model
        self.path = path
        self.classes = classes
        self.samples = samples
        self.known_names = class_names
        self.seed = data.data_seed

    def limits(self) -> tuple[int, int | None]:
        """The most training and test samples of a class."""
        names = split_names(self.classes) if isinstance(self.classes, str) else self.classes
        needed = max(shares_of_classes(self.samples, len(names or "?")))
        return self.data.samples_per_class or needed, self.data.test_samples_per_class

    def outputs(self, default: Sequence[str] | None) -> tuple[tuple[str, ...], list[int]]:
        """Names of all outputs, and the chosen ones: as the user, the file or the data says."""
        from moda_keras.modules.class_names import class_indices

        number = self.model.output_shape[-1]
        asked, stored = self.data.chosen_names(), self.known_names or read_class_names(self.path)
        if asked is not None and (stored is None or set(asked) != set(stored)):
            stored = tuple(asked)
        names = stored or tuple(default or map(str, range(number)))
        if len(names) != number or len(set(names)) < number:
            raise CommandError(
                f"Expected {number} classes, as many as {str(self.path)!r} has outputs. Received: "
                f"{len(names)}, {shortened(names)}; see --class-names"
            )
        if not isinstance(self.classes, str):
            return names, list(self.classes)
        return names, class_indices(class_keys(self.classes, names), names)

    def image_settings(self) -> dict[str, Any]:
        """The size and color of the model's images, where the options do not say otherwise."""
        import keras

        shape = tuple(self.model.inputs[0].shape[1:])
        if len(shape) != 3:
            return {}
        if keras.config.image_data_format() == "channels_first":
            shape = (*shape[1:], shape[0])
        height, width, channels = shape
        fixed = None if None in (height, width) else (height, width)
        color = {1: "grey", 3: "rgb"}.get(channels)
        return {
            "image_size": self.data.image_size or fixed,
            "color": self.data.color or color,
        }

    def chosen(self, y: np.ndarray, classes: Iterable[int], limit: int | None) -> np.ndarray:
        """Random rows of the classes in random order, at most `limit` of each."""
        from moda_keras.observing.labelled_arrays import draw_of_each_class

        random = np.random.default_rng(self.seed)
        return random.permutation(np.concatenate(draw_of_each_class(y, classes, limit, random)))

    def predicted(self, x: np.ndarray) -> np.ndarray:
        """The class that the model predicts for each sample."""
        from moda_keras.evaluation.samples import predict

        return predict(self.model, x).argmax(axis=-1)


class _LabelledImages(_Reader):
    """A data set by name, or a folder with class folders."""

    def read(self) -> SlimSamples:
        from moda_keras import datasets
        from moda_keras.datasets.image_folder import folder_class_names, is_image_folder

        if is_image_folder(self.data.data):
            names, classes = self.outputs(known := folder_class_names(self.data.data))
            chosen = self._known([names[index] for index in classes], known)
            loaded = self._load(chosen)
        else:
            loaded = self._load(self.data.chosen_names())
            names, classes = self.outputs(loaded.class_names)
            chosen = self._known([names[index] for index in classes], loaded.class_names)
            loaded = loaded.of_classes([loaded.class_names.index(name) for name in chosen])
        check_images(self.model, loaded.image_shape, self.path)
        x_train, x_test = (
            datasets.scale_pixels(_images(batches), self.data.pixels)
            for batches in (loaded.unaugmented_batches(), loaded.test_batches())
        )
        outputs = np.array(classes)
        labels = outputs[loaded.y_train], outputs[loaded.y_test]
        return SlimSamples(x_train, labels[0], x_test, labels[1], names, classes, True)

    def _load(self, class_names: Sequence[str] | None) -> "Data":
        train, test = self.limits()
        limits = {"samples_per_class": train, "test_samples_per_class": test}
        return self.data.load_unscaled(class_names, **limits, **self.image_settings())

    def _known(self, chosen: list[str], known: Sequence[str]) -> list[str]:
        missing = [name for name in chosen if name not in known]
        if missing:
            raise CommandError(
                f"Expected data with the classes {shortened(chosen)}. Received: "
                f"{shortened(known)}; see --class-names"
            )
        return chosen


class _UnlabelledImages(_Reader):
    """A folder of images: the model says of which class they are."""

    def read(self) -> SlimSamples:
        from moda_keras.datasets.image_folder import find_unlabelled_images

        names, classes = self.outputs(None)
        paths = find_unlabelled_images(self.data.data, self.data.test_fraction, self.seed)
        limits = self.limits()
        read = [self._read(each, classes, n) for each, n in zip(paths, limits, strict=True)]
        (x_train, y_train), (x_test, y_test) = read
        return SlimSamples(x_train, y_train, x_test, y_test, names, classes, False)

    def _read(
        self, paths: np.ndarray, classes: list[int], limit: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images that the model takes for one of the classes, until there are enough of each."""
        kept = []
        for start in range(0, len(paths), BLOCK):
            images = self._images(paths[start : start + BLOCK])
            check_images(self.model, images.shape[1:], self.path)
            predicted = self.predicted(images)
            is_chosen = np.isin(predicted, classes)
            kept.append((images[is_chosen], predicted[is_chosen]))
            y = np.concatenate([labels for _, labels in kept])
            if limit is not None and all((y == each).sum() >= limit for each in classes):
                break
        rows = self.chosen(y, classes, limit)
        return np.concatenate([images for images, _ in kept])[rows], y[rows]

    def _images(self, paths: np.ndarray) -> np.ndarray:
        from moda_keras import datasets
        from moda_keras.datasets.image_folder import read_images

        settings = self.image_settings()
        size, color = settings.get("image_size"), settings.get("color") or "rgb"
        size = (size, size) if isinstance(size, int) else size
        return datasets.scale_pixels(read_images(paths, size, color), self.data.pixels)


class _Arrays(_Reader):
    """A file of arrays, which go into the model as they are."""

    def read(self) -> SlimSamples:
        refuse_image_options(self.data.image_size, self.data.color, self.data.pixels)
        names, classes = self.outputs(None)
        splits = read_arrays(Path(self.data.data))
        is_labelled = splits[0][1] is not None
        sets = [(x, self._labels(x, y, names)) for x, y in splits]
        if len(sets) == 1:
            ((x, y),) = sets
            is_test = is_held_out(y, self.data.test_fraction, self.seed)
            sets = [(x[~is_test], y[~is_test]), (x[is_test], y[is_test])]
        taken = []
        for (x, y), limit in zip(sets, self.limits(), strict=True):
            rows = self.chosen(y, classes, limit)
            taken += [x[rows], y[rows]]
        return SlimSamples(*taken, names, classes, is_labelled)

    def _labels(self, x: np.ndarray, y: np.ndarray | None, names: Sequence[str]) -> np.ndarray:
        check_images(self.model, x.shape[1:], self.path, advice="")
        return self.predicted(x) if y is None else as_labels(x, y, names)


def _images(batches: Any) -> np.ndarray:
    return np.concatenate([batches[index][0] for index in range(len(batches))])


def shares_of_classes(number: int, classes: int) -> list[int]:
    """A number divided among classes as evenly as it goes."""
    return [number // classes + (index < number % classes) for index in range(classes)]
