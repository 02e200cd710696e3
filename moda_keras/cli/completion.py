"""What tab completion offers; it must not import Keras.

`NETWORKS` and the other names are held equal to the library's by a test.
"""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import typer

NETWORKS = (
    "lenet5", "mobilenet", "rescnn", "resnet18", "simcnn", "small_cnn", "small_vgg", "vgg16",
)  # fmt: skip
EXPERIMENTS = (
    "training", "modules", "reuse", "replacement", "threshold", "ablation", "suppression",
    "stability",
)  # fmt: skip
AUGMENTATIONS = ("none", "crop", "crop_flip")
DATA = (
    "digits", "cifar10", "cifar100", "svhn", "stanford_dogs", "imagenet100r", "imagenet100d",
)  # fmt: skip
EXPORT_FORMATS = ("keras", "litert", "onnx", "openvino", "tf_saved_model", "torch")


def complete_network(incomplete: str) -> list[str]:
    """Networks."""
    return _starting(NETWORKS, incomplete)


def complete_experiment(incomplete: str) -> list[str]:
    """Experiments, or all of them."""
    return _starting((*EXPERIMENTS, "all"), incomplete)


def complete_augmentation(incomplete: str) -> list[str]:
    """Augmentations."""
    return _starting(AUGMENTATIONS, incomplete)


def complete_format(incomplete: str) -> list[str]:
    """Formats of models."""
    return _starting(EXPORT_FORMATS, incomplete)


def complete_backend(incomplete: str) -> list[str]:
    """Backends of Keras."""
    return _starting(("torch", "tensorflow", "jax"), incomplete)


def complete_data(incomplete: str) -> list[str]:
    """Data sets, and folders."""
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    try:
        found = sorted(f"{each}/" for each in folder.iterdir() if each.is_dir())
    except OSError:
        found = []
    return _starting((*DATA, *found), incomplete)


def complete_class(context: typer.Context, incomplete: str) -> list[str]:
    """Class names of the module file that comes before."""
    path = next((context.params[key] for key in MODULE_FILES if context.params.get(key)), None)
    chosen = context.params.get("classes") or ()
    return _starting([n for n in class_names_of(path) if n not in chosen], incomplete)


def complete_class_list(context: typer.Context, incomplete: str) -> list[str]:
    """Class names after commas."""
    before, comma, last = incomplete.rpartition(",")
    names = class_names_of(context.params.get("file"))
    chosen = before.split(",")
    return [f"{before}{comma}{name}" for name in _starting(names, last) if name not in chosen]


# Names of the parameters that are module files.
MODULE_FILES = ("modules", "strong")


def class_names_of(path: str | Path | None) -> list[str]:
    """The class names in a module file, read without Keras; empty if it is none.

    Args:
        path: The file.

    Returns:
        List of str.
    """
    if path is None:
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            return list(json.loads(archive.read("manifest.json"))["class_names"])
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
        return []


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
