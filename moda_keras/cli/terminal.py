"""Output: answers on standard output, messages and progress on standard error."""

import functools
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

# Pipes and files have no width; lines that programs read should not be folded at 80 columns.
WIDTH_OF_FILES = 160
# Files get a line about each task at most this often.
SECONDS_BETWEEN_LINES = 10.0


def standard_output() -> Console:
    """The console for answers."""
    return _console(sys.stdout)


def standard_error() -> Console:
    """The console for messages and progress."""
    return _console(sys.stderr)


@functools.lru_cache(maxsize=8)
def _console(file: Any) -> Console:
    """One console per file, which prints lines above its progress bars."""
    width = None if file.isatty() or "COLUMNS" in os.environ else WIDTH_OF_FILES
    return Console(file=file, width=width, highlight=False)


def say(message: str, style: str = "") -> None:
    """Prints a line to standard error."""
    standard_error().print(Text(message, style=style), soft_wrap=True)


def show(answer: Iterable[RenderableType]) -> None:
    """Prints an answer, texts and tables."""
    console = standard_output()
    for part in answer:
        console.print(part, soft_wrap=isinstance(part, (str, Text)), markup=False)


def print_json(document: Any) -> None:
    """Prints the document of `--json`; NaN becomes null."""
    sys.stdout.write(json.dumps(_plain(document), indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


def figures(title: str | None, rows: Mapping[str, Any]) -> Table:
    """A table of names and values."""
    table = Table(title=title, title_justify="left", show_header=False, box=box.SIMPLE)
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def rows_table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table with a header; columns of numbers are aligned right."""
    rows = [list(map(str, row)) for row in rows]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for index, name in enumerate(columns):
        is_number = all(row[index][:1] in "0123456789-+" for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def percent(share: float | None) -> str:
    """A share as a percentage with two digits; "-" if it is unknown."""
    from moda_keras.evaluation import wording  # imports Keras, which help must not

    return wording.percent(share, digits=2)


class Task:
    """Progress of one task.

    Args:
        bars: Rich's bars; None to print lines.
        name: What is done.
    """

    def __init__(self, bars: Progress | None, name: str):
        self.bars = bars
        self.name = name
        self._task = None
        self._last_line = -float("inf")

    def update(self, done: int, total: int, note: str = "") -> None:
        """Shows the progress.

        Args:
            done: Finished units of work.
            total: All units of work.
            note: Details.
        """
        if self.bars is None:
            self._write_line(done, total, note)
        elif self._task is None:
            self._task = self.bars.add_task(self.name, completed=done, total=total, note=note)
        else:
            self.bars.update(
                self._task, description=self.name, completed=done, total=total, note=note
            )

    def hide(self) -> None:
        """Removes the bar until the next update."""
        if self.bars is not None and self._task is not None:
            self.bars.remove_task(self._task)
            self._task = None

    def update_and_hide(self, done: int, total: int, note: str = "") -> None:
        """As `update`; removes the bar at the end."""
        self.update(done, total, note)
        if done >= total:
            self.hide()

    def _write_line(self, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if now - self._last_line < SECONDS_BETWEEN_LINES and done < total:
            return
        self._last_line = now
        say(f"{self.name}: {done} of {total} {note}".rstrip())


def working(what: str) -> AbstractContextManager:
    """Shows a spinner on a terminal, for work of unknown length."""
    console = standard_error()
    return console.status(what) if console.is_terminal else nullcontext()


@contextmanager
def progress(*names: str) -> Iterator[list[Task]]:
    """Shows progress bars on a terminal, lines elsewhere.

    Args:
        *names: The tasks, from the whole to its parts.

    Yields:
        A `Task` for each name.
    """
    console = standard_error()
    if not console.is_terminal:
        yield [Task(None, name) for name in names]
        return
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=console,
        transient=True,
    )
    with bars:
        yield [Task(bars, name) for name in names]


def show_warning(message: Any, category: type, *place: Any, **named: Any) -> None:
    """Prints a Python warning as one line, as `warnings.showwarning`."""
    say(f"Warning: {' '.join(str(message).split())}", style="yellow")


def tidy_warnings() -> warnings.catch_warnings:
    """A context in which warnings are one line each."""
    return _TidyWarnings()


class _TidyWarnings(warnings.catch_warnings):
    def __enter__(self):
        super().__enter__()
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.showwarning = show_warning


def _plain(value: Any) -> Any:
    """The value in JSON's types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars
        return _plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
