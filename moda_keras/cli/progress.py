"""Progress with time left, on standard error: bars on a terminal, lines in a file."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from moda_keras.cli.terminal import say, standard_error

# In a file, a line about each task at most so often.
SECONDS_BETWEEN_LINES = 10.0


class Task:
    """One thing that makes progress.

    Args:
        bars: Where it is shown as a bar; None for lines.
        name: What is being done.
    """

    def __init__(self, bars: Progress | None, name: str):
        self.bars = bars
        self.name = name
        self._task = None
        self._last_line = -float("inf")

    def update(self, done: int, total: int, note: str = "") -> None:
        """Shows how much is done.

        Args:
            done: So many units of work.
            total: Of so many.
            note: Something about the last.
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
        """Takes the bar away, until there is progress again."""
        if self.bars is not None and self._task is not None:
            self.bars.remove_task(self._task)
            self._task = None

    def update_and_hide(self, done: int, total: int, note: str = "") -> None:
        """As `update`; the bar goes when all is done."""
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
    """Shows on a terminal that something is being done, for nobody knows how long.

    Args:
        what: What is being done.

    Returns:
        A context manager.
    """
    console = standard_error()
    return console.status(what) if console.is_terminal else nullcontext()


@contextmanager
def progress(*names: str) -> Iterator[list[Task]]:
    """Shows progress while the context lasts.

    Args:
        *names: What makes progress, from the whole to its parts.

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
