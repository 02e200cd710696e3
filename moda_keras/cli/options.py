"""The values that options take, and what tab completion offers.

Nothing here imports Keras, so that help and completion answer at once. Tests hold the names equal
to the library's.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from moda_keras.modules import manifest
from moda_keras.modules.checked_files.limits import byte_limit
from moda_keras.modules.checked_files.zip_archive import open_archive, read_member

Network = Literal[
    "lenet5", "mobilenet", "quarter_rescnn", "quarter_resnet18", "quarter_simcnn", "rescnn",
    "resnet18", "simcnn", "small_cnn", "small_vgg", "vgg16",
]  # fmt: skip
Augmentation = Literal["none", "crop", "crop_flip"]
CriterionName = Literal["frequency", "importance", "variance"]
Format = Literal["keras", "litert", "onnx", "openvino", "tf_saved_model", "torch"]
Pixels = Literal["0-1", "0-255", "-1-1", "imagenet", "caffe"]
Backend = Literal["torch", "tensorflow", "jax"]
EXPERIMENTS = (
    "training", "modules", "reuse", "replacement", "threshold", "ablation", "suppression",
    "stability", "methods",
)  # fmt: skip
DATA = (
    "digits", "cifar10", "cifar100", "svhn", "stanford_dogs", "imagenet100r", "imagenet100d",
)  # fmt: skip
# Parameters that are module files, whose classes are completed.
MODULE_FILES = ("modules", "strong", "file")
# Options whose values may be separated by spaces as well as by commas.
LISTS = ("--classes", "--class-names", "--curve")


def listed(choices: Any) -> str:
    """The values of a `Literal`, for a help text."""
    return ", ".join(get_args(choices))


def flag(name: str, help: str, **settings: Any) -> Any:
    """An option without a value."""
    return typer.Option(name, help=help, metavar="", **settings)


Force = Annotated[bool, flag("--force", "Replace existing files.")]
Refer = Annotated[
    bool,
    flag("--refer", "Let the module file refer to the model file instead of holding a copy of it."),
]
MaxBytes = Annotated[
    int | None,
    typer.Option(
        "--max-bytes",
        metavar="N",
        min=1,
        help="The most bytes that a model or module file may take in memory. Default: by its size.",
    ),
]
AsJson = Annotated[bool, flag("--json", "Print one JSON document, for errors too.")]


def join_lists(arguments: Iterable[str]) -> list[str]:
    """Joins values separated by spaces: `--classes cat dog` becomes `--classes cat,dog`.

    A list ends at the next option, at an existing file, and after a value that has a comma.

    Args:
        arguments: The command line.

    Returns:
        List of str.
    """
    joined: list[str] = []
    is_open = False
    for each in arguments:
        if is_open and not each.startswith("-") and not Path(each).is_file():
            is_first = joined[-1] in LISTS
            joined = [*joined, each] if is_first else [*joined[:-1], f"{joined[-1]},{each}"]
            is_open = not (is_first and "," in each.rstrip(","))
        else:
            joined.append(each)
            is_open = each in LISTS
    return joined


def complete_experiment(incomplete: str) -> list[str]:
    """Experiments."""
    return _starting((*EXPERIMENTS, "all"), incomplete)


def complete_data(incomplete: str) -> list[str]:
    """Data sets, folders, and files of arrays."""
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    try:
        found = sorted(f"{each}/" for each in folder.iterdir() if each.is_dir())
        found += sorted(map(str, folder.glob("*.npz")))
    except OSError:
        found = []
    return _starting((*DATA, *found), incomplete)


def complete_class(context: typer.Context, incomplete: str) -> list[str]:
    """Class names of the module file given before, also after commas."""
    path = next((context.params[key] for key in MODULE_FILES if context.params.get(key)), None)
    before, comma, last = incomplete.rpartition(",")
    chosen = {*before.split(","), *(context.params.get("classes") or ())}
    names = [name for name in class_names_of(path) if name not in chosen]
    return [f"{before}{comma}{name}" for name in _starting(names, last)]


def class_names_of(path: str | Path | None) -> list[str]:
    """The class names in a module file, read without Keras; empty for any other file."""
    if path is None:
        return []
    try:
        with open_archive(Path(path), byte_limit(Path(path), None)) as archive:
            content = read_member(archive, manifest.NAME, manifest.MAX_BYTES)
            return manifest.parse_manifest(content, path)["class_names"]
    except Exception:  # completion has nothing to say of damaged files
        return []


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
