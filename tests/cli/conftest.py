from dataclasses import dataclass
from pathlib import Path

import keras
import matplotlib
import pytest
from command_line import TINY_DATA, run
from small_models import BACKEND

matplotlib.use("Agg")

# What may differ between backends: export, resuming, and one pass through the library.
ON_EVERY_BACKEND = (
    "test_resumed_training_has_the_same_result",
    "test_decompose_is_the_library_s",
    "test_composed_model_is_the_library_s",
    "test_saved_model_is_a_folder",
    "test_failed_export_is_explained",
)

# Enough to tell most classes apart.
RECIPE = ("--normalize", "--epochs", 12, "--batch-size", 16, "--augment", "none")


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A model file that trains quickly on every backend."""
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
    """The outputs of `moda train`, made once for all tests."""
    folder = tmp_path_factory.mktemp("trained")
    run("train", *TINY_DATA, "--model", small_model, *RECIPE, "-o", folder / "digits.keras")
    return Trained(folder, *(folder / f"digits.{suffix}" for suffix in ("keras", "modules", "csv")))


def pytest_collection_modifyitems(items):
    """One backend is enough for most tests of the command line."""
    if BACKEND == "torch":
        return
    folder = Path(__file__).parent
    skip = pytest.mark.skip(reason="the command line on one backend; the library is tested on all")
    for item in items:
        if item.path.parent == folder and item.originalname not in ON_EVERY_BACKEND:
            item.add_marker(skip)
