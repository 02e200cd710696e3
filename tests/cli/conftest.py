from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pytest
from command_line import TINY_DATA, run

matplotlib.use("Agg")

# Enough to tell most classes apart.
RECIPE = ("--network", "small_cnn", "--epochs", 12, "--batch-size", 16, "--augment", "none")


@dataclass(frozen=True)
class Trained:
    folder: Path
    model: Path
    modules: Path
    log: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """What `moda train` leaves."""
    folder = tmp_path_factory.mktemp("trained")
    run("train", *TINY_DATA, *RECIPE, "-o", folder / "digits.keras")
    return Trained(folder, *(folder / f"digits.{suffix}" for suffix in ("keras", "modules", "csv")))
