"""Training that shows its progress, stops cleanly and can be resumed."""

import hashlib
import json
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import keras

from moda_keras.cli import files
from moda_keras.cli.errors import CommandError
from moda_keras.cli.terminal import Task, say
from moda_keras.files import write_text

SHOWN = ("loss", "accuracy")
# Keys that tell the settings of a training from other files of that name.
MARKS = {"data", "epochs", "backend"}


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


class TrainingState:
    """The files of a training: `<stem>.training.json`, `<stem>.backup`, `<stem>.csv`.

    Args:
        output: The model that the training will write, such as "vgg.keras".
    """

    def __init__(self, output: Path):
        self.stem = output.with_suffix("")
        self.settings = output.with_suffix(".training.json")
        self.backup = output.with_suffix(".backup")
        self.log = output.with_suffix(".csv")

    @property
    def can_resume(self) -> bool:
        """Whether a training was interrupted here after its first epoch."""
        return self._found() is not None and self.backup.is_dir()

    def check(self, *, force: bool) -> None:
        """Refuses files of these names that were not left by a training, before any work is done.

        Args:
            force: Whether they may be replaced.

        Raises:
            CommandError: If there are any, and `force` is False.
        """
        files.check_output(self.log, force=force or self._found() is not None)
        if force or self._found() is not None:
            return
        for path in (self.backup, self.settings):
            if path.exists():
                kind = "folder" if path.is_dir() else "file"
                raise CommandError(
                    f"The {kind} {str(path)!r} exists, but the training needs that name. "
                    "Pass --force to replace it"
                )

    def begin(self, settings: Mapping[str, Any]) -> bool:
        """Begins a training, or resumes the one that was interrupted.

        Args:
            settings: Everything that the result depends on, in JSON's types.

        Returns:
            Whether a training is resumed.

        Raises:
            CommandError: If a training with other settings was interrupted here.
        """
        settings = json.loads(json.dumps(settings))
        # Nothing is lost if no epoch was completed.
        if not self.can_resume:
            self.remove()
            self.log.unlink(missing_ok=True)
            write_text(self.settings, json.dumps(settings, indent=2))
            return False
        found = self._found()
        changed = [key for key in settings if settings[key] != found.get(key)]
        if changed:
            raise CommandError(
                f"Expected the settings of the interrupted training, "
                f"{ {key: found.get(key) for key in changed} }. Received: "
                f"{ {key: settings[key] for key in changed} }. Pass --restart to start over"
            )
        return True

    def remove(self) -> None:
        """Removes the state; the log of epochs stays."""
        # Renamed first, so that a kill during the removal does not leave half a state.
        removed = self.backup.with_name(f".{self.backup.name}-removed")
        if self.backup.is_dir():
            shutil.rmtree(removed, ignore_errors=True)
            self.backup.rename(removed)
        else:
            self.backup.unlink(missing_ok=True)
        self.settings.unlink(missing_ok=True)
        shutil.rmtree(removed, ignore_errors=True)

    def _found(self) -> dict[str, Any] | None:
        """The settings of the interrupted training, or None."""
        try:
            found = json.loads(self.settings.read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and found.keys() >= MARKS else None


def file_digest(path: Path) -> str:
    """A digest of a file's content."""
    files.require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]
