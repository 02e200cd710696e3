"""Class names: as users type them, and as they travel with model files."""

import itertools
import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moda_keras.cli.errors import CommandError
from moda_keras.cli.file_limits import limit_of
from moda_keras.files import write_text
from moda_keras.messages import is_printable
from moda_keras.modules.checked_files.json_text import parse_json
from moda_keras.modules.checked_files.zip_archive import open_archive, read_member

if TYPE_CHECKING:
    from moda_keras.modules.module_set import ModuleSet

# In a .keras archive, which Keras ignores when it loads the model.
MEMBER = "class_names.json"
MAX_BYTES = 16 * 2**20
# The name of the last output, if it stands for none of the classes.
OTHER_MEMBER = "other_output.json"


def split_names(texts: str | Iterable[str] | None, known: Sequence[str] = ()) -> list[str] | None:
    """The names of "cat,dog" or of ["cat", "dog"]; None for None.

    Args:
        texts: What was typed.
        known: Names that stay whole, whatever commas they have.
    """
    if texts is None:
        return None
    texts = [texts] if isinstance(texts, str) else texts
    parts = [part for text in texts for part in ([text] if text in known else text.split(","))]
    return [part.strip() for part in parts if part.strip()]


def class_indices(texts: str | Iterable[str], modules: "ModuleSet") -> list[int]:
    """Class indices of names or indices as they were typed.

    Names come before indices: where classes are called "3" and "8", "3" is the class "3".

    Args:
        texts: Names or indices, also separated by commas.
        modules: The modules; they refuse unknown classes.
    """
    return modules.resolve_classes(class_keys(texts, modules.class_names)).tolist()


def class_keys(texts: str | Iterable[str], known: Sequence[str]) -> list[int | str]:
    """Names and indices of names or indices as they were typed; a known name is a name."""
    names = split_names(texts, known)
    return [int(name) if name not in known and name.isdecimal() else name for name in names]


def companion(path: Path) -> Path:
    """The file with the class names of a model that is not a .keras file."""
    return path.with_name(f"{path.name}.classes.json")


def free_name(name: str, taken: Iterable[str]) -> str:
    """`name`, or the first of `name_1`, `name_2`, ... that is not taken."""
    taken = set(taken)
    candidates = (f"{name}_{count}" if count else name for count in itertools.count())
    return next(each for each in candidates if each not in taken)


def write_class_names(path: Path, names: Sequence[str], other: str | None = None) -> None:
    """Adds class names to a model file, inside a .keras archive and beside any other format.

    Args:
        path: The model file.
        names: The class of each output.
        other: The name of one more, last output for none of these classes, if there is one.
    """
    text = json.dumps([*names] if other is None else [*names, other])
    if path.suffix != ".keras":
        write_text(companion(path), text)
        return
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MEMBER, text)
        if other is not None:
            archive.writestr(OTHER_MEMBER, json.dumps(other))


def read_other_name(path: Path) -> str | None:
    """The name of the last output of a .keras file, if `write_class_names` called it "other".

    Args:
        path: The model file.

    Returns:
        The name, or None if the last output is that of a class like all others.
    """
    try:
        with open_archive(path, limit_of(path)) as archive:
            name = parse_json(read_member(archive, OTHER_MEMBER, MAX_BYTES), "it")
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    return name if isinstance(name, str) and is_printable(name) else None


def read_class_names(path: Path) -> tuple[str, ...] | None:
    """The class names that `write_class_names` added to a model file.

    Args:
        path: The model file.

    Returns:
        The class of each output, or None if the file does not say.

    Raises:
        CommandError: If what is there are no class names.
    """
    try:
        with open_archive(path, limit_of(path)) as archive:
            inside = read_member(archive, MEMBER, MAX_BYTES)
    except (OSError, ValueError, zipfile.BadZipFile):
        inside = None
    if inside is not None:
        return _parsed(inside, f"{MEMBER!r} in {str(path)!r}")
    try:
        return _parsed(companion(path).read_bytes(), repr(str(companion(path))))
    except FileNotFoundError:
        return None


def _parsed(content: bytes, where: str) -> tuple[str, ...]:
    try:
        names = parse_json(content, "it")
    except ValueError:
        names = None
    is_list = isinstance(names, list) and all(
        isinstance(each, (str, int)) and is_printable(str(each)) for each in names
    )
    if not is_list:
        raise CommandError(
            "Expected class names as a JSON list of texts, in the order of the outputs, in "
            f"{where}. Received: {content[:60]!r}"
        )
    return tuple(str(each) for each in names)
