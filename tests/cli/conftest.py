from dataclasses import dataclass
from pathlib import Path

import keras
import matplotlib
import pytest
from command_line import TINY_DATA, run
from small_models import BACKEND

matplotlib.use("Agg")

# What a backend may do in its own way: export, and going on with a training.
ON_EVERY_BACKEND = ("test_interruption", "test_modules")

# Enough to tell most classes apart.
RECIPE = ("--normalize", "--epochs", 12, "--batch-size", 16, "--augment", "none")


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A model file that is trained in no time, on backends that compile too."""
    path = tmp_path_factory.mktemp("small") / "small.keras"
    keras.utils.set_random_seed(0)
    keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(10),
        ]
    ).save(path)
    return path


@dataclass(frozen=True)
class Trained:
    folder: Path
    model: Path
    modules: Path
    log: Path


@pytest.fixture(scope="session")
def trained(small_model, tmp_path_factory):
    """What `moda train` leaves."""
    folder = tmp_path_factory.mktemp("trained")
    run("train", *TINY_DATA, "--model", small_model, *RECIPE, "-o", folder / "digits.keras")
    return Trained(folder, *(folder / f"digits.{suffix}" for suffix in ("keras", "modules", "csv")))


def pytest_collection_modifyitems(items):
    """One backend is enough for most of the command line, which is slow."""
    if BACKEND == "torch":
        return
    folder = Path(__file__).parent
    skip = pytest.mark.skip(reason="one backend is enough: the library is tested on all")
    for item in items:
        if item.path.parent == folder and item.path.stem not in ON_EVERY_BACKEND:
            item.add_marker(skip)
