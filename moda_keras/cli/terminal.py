"""Where output goes: answers to standard output, progress and messages to standard error."""

import functools
import json
import math
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

# Pipes and files have no width: what is read by other programs is not to be folded at 80 columns.
WIDTH_OF_FILES = 160


def standard_output() -> Console:
    """The console of answers."""
    return _console(sys.stdout)


def standard_error() -> Console:
    """The console of progress and messages."""
    return _console(sys.stderr)


@functools.lru_cache(maxsize=8)
def _console(file: Any) -> Console:
    """One for each file: lines go above the bars that it shows."""
    width = None if file.isatty() or "COLUMNS" in os.environ else WIDTH_OF_FILES
    return Console(file=file, width=width, highlight=False)


def say(message: str, style: str = "") -> None:
    """Prints a line to standard error."""
    standard_error().print(Text(message, style=style), soft_wrap=True)


def show(answer: Iterable[RenderableType]) -> None:
    """Prints an answer: texts, tables."""
    console = standard_output()
    for part in answer:
        console.print(part, soft_wrap=isinstance(part, (str, Text)), markup=False)


def print_json(document: Any) -> None:
    """Prints the one document of `--json`; NaN is null."""
    sys.stdout.write(json.dumps(_plain(document), indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


def figures(title: str | None, rows: Mapping[str, Any]) -> Table:
    """A table of names and values."""
    table = Table(title=title, title_justify="left", show_header=False, box=box.SIMPLE)
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def rows_table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table with a header; numbers are to the right."""
    rows = [list(map(str, row)) for row in rows]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for index, name in enumerate(columns):
        is_number = all(row[index][:1] in "0123456789-+" for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def percent(share: float | None) -> str:
    """A share in percent; "-" where there is none."""
    return "-" if share is None or math.isnan(share) else f"{100 * share:.2f} %"


def show_warning(message: Any, category: type, *place: Any, **named: Any) -> None:
    """Prints a Python warning as one line; for `warnings.showwarning`."""
    say(f"Warning: {' '.join(str(message).split())}", style="yellow")


def tidy_warnings() -> warnings.catch_warnings:
    """A context in which warnings are lines for users."""
    return _TidyWarnings()


class _TidyWarnings(warnings.catch_warnings):
    def __enter__(self):
        super().__enter__()
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.showwarning = show_warning


def _plain(value: Any) -> Any:
    """The value as JSON knows it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars
        return _plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
