"""Composes every architecture of keras.applications and compares it with what it should be.

Random weights, with random statistics in every BatchNormalization and no bias at zero; 64x64 images
or the smallest that the architecture takes; random masks that keep half of the units of every
hidden activation; three classes of seven. The composed model is compared with the original at full
size with its other units multiplied by zero, and a composed model of two classes with the original
for its latency.

    KERAS_BACKEND=torch python benchmarks/architectures.py               one of each family
    KERAS_BACKEND=jax python benchmarks/architectures.py --models VGG16 ResNet50
    python benchmarks/architectures.py --only-table                      rewrites the table alone

Rows go into `architectures.csv` beside this file, one per architecture and backend, and from there
into `docs/architectures.md`.
"""

import argparse
import csv
import time
from pathlib import Path

import keras
import numpy as np
from timing import median_seconds

import moda_keras as mk

HERE = Path(__file__).parent
ROWS = HERE / "architectures.csv"
TABLE = HERE.parent / "docs" / "architectures.md"
CLASSES, CHOSEN, SHOWN_CLASSES = 7, [3, 0, 2], 2
BATCH = 8
BACKENDS = ["torch", "tensorflow", "jax"]
FAMILIES = [
    "ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "EfficientNetV2S",
    "InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2", "MobileNetV3Large",
    "MobileNetV3Small", "NASNetMobile", "ResNet50", "ResNet50V2", "VGG16", "VGG19", "Xception",
]  # fmt: skip
SMALLEST_IMAGE = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}
# Variance of a kernel times its fan-in. Where masks cut the trunk at every block, as in the second,
# the images would leave no trace in the logits otherwise.
GAIN = {"InceptionResNetV2": 16.0}
DEFAULT_GAIN = 4.0
PREPROCESSING = keras.layers.Rescaling, keras.layers.Normalization
COLUMNS = {
    "architecture": "architecture",
    "backend": "backend",
    "hidden": "hidden activations",
    "before": "parameters before",
    "after": "after",
    "difference": "largest relative difference",
    "spread": "spread",
    "whole": "layers kept whole",
    "fills": "fills",
    "seconds": "seconds to build",
    "latency": "latency ratio",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=FAMILIES, metavar="NAME")
    parser.add_argument("--only-table", action="store_true")
    arguments = parser.parse_args()
    if not arguments.only_table:
        for name in arguments.models:
            row = measure(name)
            print(row, flush=True)
            save(row)
            keras.backend.clear_session()
    TABLE.write_text(table(load()))


def measure(name: str) -> dict:
    """One row of the table."""
    size = SMALLEST_IMAGE.get(name, 64)
    create = getattr(keras.applications, name)
    try:
        model = create(
            weights=None, input_shape=(size, size, 3), classes=CLASSES, classifier_activation=None
        )
    except ValueError as error:
        if "not available" not in str(error):
            raise
        note = "Keras does not offer it on this backend"
        return {"architecture": name, "backend": keras.backend.backend(), "note": note}
    randomize(model, GAIN.get(name, DEFAULT_GAIN))
    modules = random_modules(model)
    has_preprocessing = any(isinstance(layer, PREPROCESSING) for layer in model.layers)
    x = images(size, has_preprocessing=has_preprocessing)
    expected = mk.masked_model(modules, CHOSEN).predict_on_batch(x)
    start = time.perf_counter()
    composed = mk.compose(modules, CHOSEN)
    seconds = time.perf_counter() - start
    received = composed.predict_on_batch(x)
    plan = modules.slicer.plan(modules.union(CHOSEN), np.array(CHOSEN))
    return {
        "architecture": name,
        "backend": keras.backend.backend(),
        "hidden": len(modules.hidden_activations),
        "before": model.count_params(),
        "after": composed.count_params(),
        "difference": np.abs(received - expected).max() / np.abs(expected).max(),
        "spread": np.ptp(expected, axis=0).max() / np.abs(expected).max(),
        "whole": len(plan.kept_whole),
        "fills": plan.fills,
        "seconds": seconds,
        "latency": latency_ratio(model, mk.compose(modules, CHOSEN[:SHOWN_CLASSES]), x),
    }


def randomize(model: keras.Model, gain: float) -> None:
    """Weights under which every channel matters: no zero bias, no unit scale."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if weight.name in ("gamma", "moving_variance"):
            values = rng.uniform(0.5, 1.5, shape)
        elif "kernel" in weight.name:
            is_depthwise = len(shape) > 2 and shape[-1] == 1
            fan_in = np.prod(shape[:2] if is_depthwise else shape[:-1])
            values = rng.normal(0.0, (gain / fan_in) ** 0.5, shape)
        elif weight.name in ("mean", "variance", "count"):
            continue  # of an input normalization
        else:
            values = rng.normal(0.0, 0.1, shape)
        weight.assign(values.astype("float32"))


def random_modules(model: keras.Model) -> mk.ModuleSet:
    """Modules that share one random half of every activation's units."""
    rng = np.random.default_rng(1)
    units = {
        hidden.name: np.tile(rng.permutation(hidden.units) < hidden.units / 2, (CLASSES, 1))
        for hidden in mk.find_hidden_activations(model)
    }
    return mk.ModuleSet.from_units(model, units)


def images(size: int, *, has_preprocessing: bool) -> np.ndarray:
    """Coarse patterns of different contrast: white noise all looks alike after pooling."""
    rng = np.random.default_rng(2)
    patterns = rng.normal(0.0, 1.0, (BATCH, 4, 4, 3)) * rng.uniform(0.2, 2.0, (BATCH, 1, 1, 3))
    patterns = patterns.repeat(size // 4 + 1, axis=1).repeat(size // 4 + 1, axis=2)
    values = patterns[:, :size, :size] + rng.normal(0.0, 0.3, (BATCH, size, size, 3))
    return (values * 64 + 128 if has_preprocessing else values).astype("float32")


def latency_ratio(model: keras.Model, composed: keras.Model, x: np.ndarray) -> float:
    seconds = median_seconds(
        {
            "original": lambda: model.predict_on_batch(x),
            "composed": lambda: composed.predict_on_batch(x),
        },
        repeats=5,
    )
    return seconds["composed"] / seconds["original"]


# ------------------------------------------------------------------------------- rows and table


def load() -> list[dict]:
    if not ROWS.exists():
        return []
    with ROWS.open(newline="") as file:
        return list(csv.DictReader(file))


def save(row: dict) -> None:
    """Adds the row, or puts it in the place of its forerunner."""
    rows = {(old["backend"], old["architecture"]): old for old in load()}
    rows[row["backend"], row["architecture"]] = row
    with ROWS.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, "note"], restval="")
        writer.writeheader()
        writer.writerows(rows[key] for key in sorted(rows))


HEAD = """# Architectures

Generated by `benchmarks/architectures.py` with Keras {version}. The tables cover every family of
keras.applications, with at least its smallest member. Models have random weights,
BatchNormalization statistics and biases, and 7 classes. Images are 64x64, or the smallest size
that the architecture accepts. Random masks keep half of the units of every hidden activation;
three of the seven classes are composed.

- *largest relative difference*: the largest difference between the logits of the composed and the
  masked model, divided by the largest logit. *spread*: how much the masked model's logits differ
  between {batch} images, divided by the same value.
- *layers kept whole*: layers that no rule slices. *fills*: `ChannelFill` layers in the result.
- *seconds to build*: time for one `compose` after the original's graph has been read, on two
  cores of a shared machine.
- *latency ratio*: time for `predict_on_batch` on {batch} images, composed model of two classes
  divided by the original; medians of alternating runs on the same machine.

"""


def table(rows: list[dict]) -> str:
    """The rows as Markdown, one table per backend."""
    text = HEAD.format(version=keras.__version__, batch=BATCH)
    for backend in [b for b in BACKENDS if any(row["backend"] == b for row in rows)]:
        names = [name for key, name in COLUMNS.items() if key != "backend"]
        text += f"## {backend}\n\n| {' | '.join(names)} |\n|{'---|' * len(names)}\n"
        for row in rows:
            if row["backend"] == backend:
                text += f"| {' | '.join(cells(row))} |\n"
        text += "\n"
    return text.rstrip() + "\n"


def cells(row: dict) -> list[str]:
    if row["note"]:
        return [row["architecture"], row["note"], *[""] * (len(COLUMNS) - 3)]
    shown = {
        **row,
        "before": f"{int(row['before']):,}",
        "after": f"{int(row['after']):,}",
        "difference": f"{float(row['difference']):.1e}",
        "spread": f"{float(row['spread']):.1g}",
        "seconds": f"{float(row['seconds']):.2f}",
        "latency": f"{float(row['latency']):.2f}",
    }
    return [shown[key] for key in COLUMNS if key != "backend"]


if __name__ == "__main__":
    main()
