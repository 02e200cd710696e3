"""Class names and indices as they are typed."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moda_keras.modules.module_set import ModuleSet


def split_names(text: str | None) -> list[str] | None:
    """The names of "cat,dog"; None of None."""
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip()]


def class_keys(names: list[str], class_names: tuple[str, ...]) -> list[int | str]:
    """What `compose` and its like take for classes as they were typed.

    Args:
        names: Names, or indices as text. A name comes before an index: of classes called "3" and
            "8", "3" is the first.
        class_names: The names that there are.

    Returns:
        List of names and indices; unknown names stay, for the library to refuse.
    """
    return [int(name) if name not in class_names and name.isdecimal() else name for name in names]


def class_indices(names: list[str], modules: "ModuleSet") -> list[int]:
    """Class indices of classes as they were typed."""
    return modules.resolve_classes(class_keys(names, modules.class_names)).tolist()
