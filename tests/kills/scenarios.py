"""Long runs, as small as they can be: functions that run in a folder of prepared files."""

import csv
import hashlib
import io
import json
import zipfile
from pathlib import Path

DATA = ("--data", "digits", "--samples-per-class", 6, "--test-samples-per-class", 4)
TINY = """
data: digits
samples_per_class: 6
test_samples_per_class: 3
networks: [small_cnn]
epochs: 3
batch_size: 20
augment: none
methods: [modular]
subtasks: 20
threshold:
  thresholds: [0.5, 0.9]
"""
# What differs from run to run: times, and what says them.
VOLATILE = {"seconds", "decompose_seconds", "train_seconds", "environments"}


def prepare(folder):
    """Writes what the scenarios start from, in one folder each."""
    import keras

    import moda_keras as mk

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="relu", name="dense"),
            keras.layers.Dropout(0.3, name="dropout"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    data = mk.datasets.load("digits", samples_per_class=6, test_samples_per_class=4)
    modules = mk.decompose(model, data.x_train, data.y_train, threshold=0.7, verbose=0)
    for name in SCENARIOS:
        own = Path(folder, name)
        own.mkdir(parents=True)
        model.save(own / "small.keras")
        modules.save(own / "in.modules")
        if name in REPLACED:
            old = modules.with_threshold(0.1)
            old.save(own / "out.modules") if name != "report" else None
            (own / "out.html").write_text("old") if name == "report" else None
        (own / "tiny.yaml").write_text(TINY)


def train():
    recipe = ("--epochs", 3, "--batch-size", 20, "--augment", "crop")
    moda("train", *DATA, "--model", "small.keras", *recipe, "-o", "out.keras")


def decompose():
    moda("decompose", "small.keras", *DATA, "-o", "out.modules", "--force")


def save():
    import moda_keras as mk

    mk.load_modules("in.modules").with_threshold(0.8).save("out.modules", overwrite=True)


def compose():
    moda("compose", "in.modules", "1,3", "-o", "out.keras", "--force")


def tune():
    moda("tune", "in.modules", *DATA, "-o", "out.modules", "--force")


def subtasks():
    import moda_keras as mk

    modules = mk.load_modules("in.modules")
    data = mk.datasets.load("digits", samples_per_class=6, test_samples_per_class=4)
    chosen = [(first, first + 1) for first in range(8)]
    mk.metrics.sweep_subtasks(
        modules, data.x_test, data.y_test, "subtasks.csv", subtasks=chosen, subtasks_per_job=2
    )


def report():
    moda("report", "in.modules", "-o", "out.html", "--title", "modules", "--force")


def experiment():
    moda("experiment", "threshold", "--config", "tiny.yaml", "-o", "results")


def search():
    import keras

    import moda_keras as mk
    from moda_keras.methods.seam import SeaM

    model = keras.saving.load_model("small.keras")
    data = mk.datasets.load("digits", samples_per_class=6, test_samples_per_class=4)
    found = SeaM(epochs=3, learning_rate=0.3).decompose(
        model, data.x_train, data.y_train, state="search.npz", verbose=0
    )
    found.save("out.modules", overwrite=True)


SCENARIOS = {
    each.__name__: each
    for each in (train, decompose, save, compose, tune, subtasks, report, experiment, search)
}
# Those that are run by `moda`, and not by the library.
COMMANDS = {"train", "decompose", "compose", "tune", "report", "experiment"}
# A complete file is there before, and is replaced.
REPLACED = {"decompose", "save", "tune", "report", "search"}


def moda(*arguments):
    from moda_keras import cli

    try:
        cli.app([str(each) for each in arguments])
    except SystemExit as end:
        if end.code:
            raise


def content(folder):
    """What the files of a folder say, by name, without what differs from run to run.

    Raises an error for a file that is not whole.
    """
    files = sorted(each for each in Path(folder).rglob("*") if each.is_file())
    return {str(each.relative_to(folder)): content_of(each) for each in files}


def content_of(path):
    """As `content`, of one file."""
    if path.suffix in (".keras", ".modules", ".npz", ".training", ".previous"):
        return _archive(path.read_bytes())
    if path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        return [{name: row[name] for name in row if name not in VOLATILE} for row in rows]
    if path.suffix == ".json":
        return {key: value for key, value in json.loads(path.read_text()).items()
                if key not in VOLATILE}  # fmt: skip
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _archive(content):
    """The members of an archive that a result is in: weights and tables, bit by bit."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            member = archive.read(name)  # checked by its CRC
            if name.endswith((".keras", ".npz")):
                found[name] = _archive(member)
            elif name.endswith((".h5", ".npy")) and name != "header.npy":
                found[name] = hashlib.sha256(member).hexdigest()
    return found
