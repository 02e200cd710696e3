"""Training that shows its progress and stops cleanly."""

import hashlib
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import keras

from moda_keras.cli import files
from moda_keras.cli.terminal import Task, say

SHOWN = ("loss", "accuracy")


class TrainingProgress(keras.callbacks.Callback):
    """Shows the steps of a training.

    Args:
        task: Where to show them.
    """

    def __init__(self, task: Task):
        super().__init__()
        self.task = task
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self._show(0, logs)

    def on_train_batch_end(self, batch, logs=None):
        self._show(batch + 1, logs)

    def on_train_end(self, logs=None):
        self.task.hide()

    def _show(self, steps: int, logs: dict[str, Any] | None) -> None:
        epochs, of_epoch = self.params["epochs"], self.params["steps"]
        logs = logs or {}
        figures = [f"{name} {float(logs[name]):.3f}" for name in SHOWN if name in logs]
        note = ", ".join([f"epoch {self.epoch + 1}/{epochs}", *figures])
        self.task.update(self.epoch * of_epoch + steps, epochs * of_epoch, note)


class StopAfterEpoch(keras.callbacks.Callback):
    """Stops at the end of the epoch after Ctrl-C, at once after a second one or outside training.

    A context manager, which handles SIGINT while it is active.
    """

    def __init__(self):
        super().__init__()
        self.is_training = False
        self.is_asked = False

    def __enter__(self) -> "StopAfterEpoch":
        self._previous = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def on_train_begin(self, logs=None):
        self.is_training = True

    def on_train_end(self, logs=None):
        self.is_training = False

    def on_epoch_end(self, epoch, logs=None):
        if self.is_asked:
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked or not self.is_training:
            raise KeyboardInterrupt
        self.is_asked = True
        say(
            "Stopping at the end of this epoch. Press Ctrl-C again to stop now and lose it.",
            "yellow",
        )


class ReportedBatches(keras.utils.PyDataset):
    """Batches that show how many of them were drawn.

    Args:
        batches: A `PyDataset`.
        task: Where to show it.
    """

    def __init__(self, batches: keras.utils.PyDataset, task: Task):
        super().__init__()
        self.batches = batches
        self.task = task

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        self.task.update(index + 1, len(self))
        return self.batches[index]


def file_digest(path: Path) -> str:
    """A digest of a file's content."""
    files.require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]
