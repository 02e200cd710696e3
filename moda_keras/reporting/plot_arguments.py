"""Validates what plots are given."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from moda_keras.messages import listed, shortened
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet


def check_rows(rows: Any, made_by: str) -> None:
    """Raises a ValueError unless there are rows.

    Args:
        rows: The argument.
        made_by: What makes such rows.
    """
    is_list = isinstance(rows, Collection) and not isinstance(rows, (str, Mapping))
    if not is_list or not len(rows) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(
            f"Expected `rows` to be a list of at least one dict, as {made_by} returns it. "
            f"Received: rows={shortened(repr(rows), 300)}"
        )


def check_module_sets(module_sets: Any) -> None:
    """Raises a ValueError unless an argument has module sets of one architecture by name."""
    if not isinstance(module_sets, Mapping) or not module_sets:
        example = '`{"trained": modules}`'
        raise ValueError(
            "Expected `module_sets` to be a dict of at least one `ModuleSet`, by its name in the "
            f"legend, such as {example}. Received: module_sets={shortened(repr(module_sets), 300)}"
        )
    sets: list[ModuleSet] = list(module_sets.values())
    for each in sets:
        check_modules(each)
    names = [[hidden.name for hidden in each.hidden_activations] for each in sets]
    if any(each != names[0] for each in names):
        raise ValueError(
            "Expected modules of models of one architecture. Received: the hidden activations "
            f"{' and '.join(dict.fromkeys(map(listed, names)))}"
        )


def check_lines(name: str, lines: Any, length: int, of_what: str) -> None:
    """Raises a ValueError unless an argument has lists of numbers of one length, by name.

    Args:
        name: Name of the argument.
        lines: The argument.
        length: How many numbers each list must have.
        of_what: What they are for, in the plural.
    """
    is_dict = isinstance(lines, Mapping) and len(lines) > 0
    wrong: dict[str, Sequence[Any]] = {}
    if is_dict:
        wrong = {k: each for k, each in lines.items() if _length(each) != length}
    if not is_dict or wrong:
        received = shortened(repr(lines), 300)
        if wrong:
            received = listed(f"{_length(each)} for {k}" for k, each in wrong.items())
        raise ValueError(
            f"Expected `{name}` to be a dict of lists of {length} numbers, one for each of the "
            f"{of_what}. Received: {received}"
        )


def _length(values: Any) -> int:
    return len(values) if hasattr(values, "__len__") and not isinstance(values, str) else 0
