"""What a training that was interrupted leaves beside its output, and how it goes on."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moda_keras.cli import files
from moda_keras.cli.errors import CommandError

# Keys by which the settings of a training are known from another file of that name.
MARKS = {"data", "epochs", "backend"}


class TrainingState:
    """The files of a training: `<stem>.training.json`, `<stem>.backup`, `<stem>.csv`.

    Args:
        output: The model that the training is going to write, such as "vgg.keras".
    """

    def __init__(self, output: Path):
        self.stem = output.with_suffix("")
        self.settings = output.with_suffix(".training.json")
        self.backup = output.with_suffix(".backup")
        self.log = output.with_suffix(".csv")

    @property
    def can_go_on(self) -> bool:
        """Whether a training was interrupted here, after its first epoch."""
        return self._found() is not None and self.backup.is_dir()

    def check(self, *, force: bool) -> None:
        """Refuses, before any work is done, files of these names that no training left.

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
                    f"The {kind} {str(path)!r} exists, which the training needs for its state. "
                    "Pass --force to replace it"
                )

    def begin(self, settings: Mapping[str, Any]) -> bool:
        """Says whether there is a training to go on with.

        Args:
            settings: All that the result depends on, as JSON knows it.

        Returns:
            True to go on, False to begin.

        Raises:
            CommandError: If a training with other settings was interrupted here.
        """
        settings = json.loads(json.dumps(settings))
        # What ended before its first epoch did has nothing to lose.
        if not self.can_go_on:
            self.remove()
            self.log.unlink(missing_ok=True)
            text = json.dumps(settings, indent=2)
            files.write_whole(self.settings, lambda path: path.write_text(text))
            return False
        found = self._found()
        changed = [key for key in settings if settings[key] != found.get(key)]
        if changed:
            raise CommandError(
                f"Expected the settings of the training that was interrupted, "
                f"{ {key: found.get(key) for key in changed} }. Received: "
                f"{ {key: settings[key] for key in changed} }. Pass --restart to begin anew"
            )
        return True

    def remove(self) -> None:
        """Forgets the training; its log of epochs stays."""
        # Renamed first: half a folder is none to go on from, if a kill comes while it is removed.
        removed = self.backup.with_name(f".{self.backup.name}-removed")
        if self.backup.is_dir():
            shutil.rmtree(removed, ignore_errors=True)
            self.backup.rename(removed)
        else:
            self.backup.unlink(missing_ok=True)
        self.settings.unlink(missing_ok=True)
        shutil.rmtree(removed, ignore_errors=True)

    def _found(self) -> dict[str, Any] | None:
        """The settings of the training that was interrupted; None if there was none."""
        try:
            found = json.loads(self.settings.read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and found.keys() >= MARKS else None


def file_digest(path: Path) -> str:
    """Tells files apart by their contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]
