"""What a training that was interrupted leaves beside its output, and how it goes on."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moda_keras.cli.errors import CommandError


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
        if not self.settings.exists() or not self.backup.exists():
            self.remove()
            self.log.unlink(missing_ok=True)
            self.settings.parent.mkdir(parents=True, exist_ok=True)
            self.settings.write_text(json.dumps(settings, indent=2))
            return False
        try:
            found = json.loads(self.settings.read_text())
        except ValueError:
            found = {}
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
        self.settings.unlink(missing_ok=True)
        shutil.rmtree(self.backup, ignore_errors=True)


def file_digest(path: Path) -> str:
    """Tells files apart by their contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]
