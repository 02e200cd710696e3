"""The files of a training: what it writes, goes on from, and knows itself by when it is done."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moda_keras.cli import files
from moda_keras.cli.errors import CommandError
from moda_keras.training.training_state import (
    TrainingState,
    read_training_state,
    remove_training_state,
)

# In the archive of a trained model, which Keras ignores when it loads the model.
RECORD = "training.json"


class TrainingFiles:
    """The files of `moda train`, beside its model: the state, the log of epochs and the modules.

    Args:
        output: The model that the training will write, such as "vgg.keras".
        force: Whether files of these names may be replaced, whatever they are.
        restart: Whether the state is to be discarded.

    Raises:
        CommandError: If the state is damaged, or a file of another origin has its name.
    """

    def __init__(self, output: Path, *, force: bool, restart: bool):
        self.output = output
        self.force = force
        self.stem = output.with_suffix("")
        self.modules = output.with_suffix(".modules")
        self.state = output.with_suffix(".training")
        self.log = output.with_suffix(".csv")
        self.is_restarted = restart
        self.found = self._read()

    @property
    def epochs(self) -> int:
        """Number of complete epochs that the state on disk has."""
        found = self._read()
        return 0 if found is None else found.epoch

    def done(self) -> dict[str, Any] | None:
        """The record of a training that is done; None if there is none, or it is to be repeated."""
        if self.force or self.is_restarted or self.found is not None or not self.modules.exists():
            return None
        return read_record(self.output)

    def check(self) -> None:
        """Refuses outputs that cannot be written, before any work is done.

        Raises:
            CommandError: If there are any.
        """
        # A training that was killed between its outputs has left the first of them.
        is_resumed = self.found is not None and self.found.epoch > 0 and not self.is_restarted
        replaces = self.force or is_resumed
        files.check_output(self.output, force=replaces, suffix=".keras")
        files.check_output(self.modules, force=replaces)
        files.check_output(self.log, force=self.force or self.found is not None)
        files.check_output(self.state, force=True)

    def begin(self, settings: Mapping[str, Any]) -> bool:
        """Begins a training, or resumes the one that was interrupted.

        Args:
            settings: Everything that the result depends on, in JSON's types.

        Returns:
            Whether a training is resumed.

        Raises:
            CommandError: If a training with other settings was interrupted here.
        """
        found = self.found
        if found is None:
            self.remove()  # one that cannot be read, with --force
            return False
        changed = [key for key in settings if settings[key] != found.settings.get(key)]
        # Nothing is lost if no epoch was completed.
        if self.is_restarted or (changed and not found.epoch):
            self.log.unlink(missing_ok=True)  # first, for without a state it is anyone's
            self.remove()
            return False
        if changed:
            raise CommandError(
                f"Expected the settings of the interrupted training in {str(self.state)!r}, "
                f"{ {key: found.settings.get(key) for key in changed} }. Received: "
                f"{ {key: settings[key] for key in changed} }. Pass --restart to start over"
            )
        return found.epoch > 0

    def remove(self) -> None:
        """Removes the state; the log of epochs stays."""
        remove_training_state(self.state)

    def _read(self) -> TrainingState | None:
        """The state on disk; None where one that cannot be read may be replaced."""
        try:
            return None if self.state.is_dir() else read_training_state(self.state)
        except ValueError as error:
            if self.force:
                return None
            raise CommandError(f"{error}. Pass --force to replace it") from error


def as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are when they are read again: tuples are lists."""
    return json.loads(json.dumps(settings))


def add_record(model: Path, record: Mapping[str, Any]) -> None:
    """Adds to a .keras file what made it.

    Args:
        model: The file.
        record: What `read_record` returns.
    """
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr(RECORD, json.dumps(record))


def read_record(model: Path) -> dict[str, Any] | None:
    """What made a .keras file; None if it was not written by a training."""
    try:
        with zipfile.ZipFile(model) as archive:
            return json.loads(archive.read(RECORD))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
