"""Slim models of some file types, from a network of 214 that others trained: Google's magika.

    pip install magika onnx
    OMP_NUM_THREADS=1 KERAS_BACKEND=torch python benchmarks/file_types.py /usr --output types.csv

The network's weights are read from the installed package `magika` (its ONNX file), and a Keras
model of the same function is built by hand and checked against the package. Any folder with many
files of many types serves as data. Labels are not needed: what counts is agreement with the full
model, choosing among the same types, on files that nothing was chosen or repaired with.
"""

import argparse
import json
import os
import time
from collections import Counter
from pathlib import Path

import keras
import magika
import numpy as np
import onnx
import onnxruntime
from keras import layers
from tables import append_row

import moda_keras as mk

TOLERANCE = 1e-4
ONNX_TOLERANCE = 2e-3
CHECKED = 100


# --------------------------------------------------------------------------------- the network


def model_folder():
    """The folder of the package's network: its ONNX file and its settings."""
    (folder,) = {path.parent for path in Path(magika.__file__).parent.glob("models/*/model.onnx")}
    return folder, json.loads((folder / "config.min.json").read_text())


def read_weights(path):
    """The weights of the ONNX file, by the names in the graph of magika 1.0.

    Folded constants have no telling name; they are told by shape.
    """
    graph = onnx.load(path).graph
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}

    def named(*ends):
        (found,) = [array for name, array in arrays.items() if name.endswith(ends)]
        return found

    def shaped(*shape):
        found = [a for name, a in arrays.items() if a.shape == shape and "LayerNorm" not in name]
        (found,) = [a for a in found if a.dtype == np.float32]
        return found

    return {
        "bytes": shaped(257, 64) + named("Dense_0/Reshape:0").reshape(-1),  # one row for each byte
        "norm of positions": [named(f"LayerNorm_0/Reshape_{i}:0").reshape(-1) for i in (2, 3)],
        "convolution": [
            named("Conv_0/transpose_3:0")[..., 0].transpose(2, 1, 0),  # (5, 256, 512)
            shaped(1, 512, 1).reshape(-1),
        ],
        "norm of features": [named(f"LayerNorm_1/Reshape_{i}:0").reshape(-1) for i in (2, 3)],
        "types": [shaped(512, 214), named("Dense_1/Reshape:0").reshape(-1)],
    }


def build(weights):
    """The network in Keras.

    The original multiplies one-hot vectors of bytes by a matrix and adds a bias; an Embedding of
    the rows with the bias gives the same.
    """
    inputs = keras.Input((2048,), dtype="int32")
    x = layers.Embedding(257, 64, name="bytes")(inputs)
    x = keras.ops.gelu(x, approximate=True)
    x = layers.Reshape((512, 256))(x)  # four bytes make a position
    # Over the positions, not the channels. Keras 3.15 with torch normalizes the last axis only.
    x = layers.Permute((2, 1))(x)
    x = layers.LayerNormalization(epsilon=1e-6, name="norm_of_positions")(x)
    x = layers.Permute((2, 1))(x)
    x = layers.Conv1D(512, 5, name="convolution")(x)
    x = keras.ops.gelu(x, approximate=True)
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.LayerNormalization(epsilon=1e-6, name="norm_of_features")(x)
    model = keras.Model(inputs, layers.Dense(214, activation="softmax", name="types")(x))
    for name, values in weights.items():
        values = values if isinstance(values, list) else [values]
        model.get_layer(name.replace(" ", "_")).set_weights(values)
    return model


def exact_scores(weights, x):
    """What the network gives, in NumPy and float64."""

    def gelu(v):
        return 0.5 * v * (1 + np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3)))

    def normalized(v, scale, shift):
        deviation = v - v.mean(axis=-1, keepdims=True)
        return deviation / np.sqrt(v.var(axis=-1, keepdims=True) + 1e-6) * scale + shift

    v = gelu(weights["bytes"].astype("float64")[x]).reshape(-1, 512, 256)
    v = normalized(v.swapaxes(1, 2), *weights["norm of positions"]).swapaxes(1, 2)
    kernel, bias = weights["convolution"]
    v = gelu(sum(v[:, i : i + 508] @ kernel[i].astype("float64") for i in range(5)) + bias)
    v = normalized(v.max(axis=1), *weights["norm of features"])
    scores = v @ weights["types"][0] + weights["types"][1]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def check(model, folder, names, x, paths):
    """Raises an error unless model and features are the package's, on real files.

    The ONNX file takes a variance as the difference of two float32 means, and is itself less exact
    than the tolerance on some files: the Keras model is held against float64.
    """
    weights = read_weights(folder / "model.onnx")
    ours = model.predict(x, verbose=0)
    (theirs,) = onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"bytes": x})
    exact = np.concatenate([exact_scores(weights, part) for part in np.array_split(x, len(x) // 8)])
    errors = {"Keras": np.abs(ours - exact).max(), "ONNX": np.abs(theirs - exact).max(axis=1)}
    print(
        f"{len(x)} files against float64: Keras within {errors['Keras']:.0e}, ONNX within "
        f"{errors['ONNX'].max():.0e}, {(errors['ONNX'] < TOLERANCE).mean():.1%} within {TOLERANCE}"
    )
    if errors["Keras"] > TOLERANCE or errors["ONNX"].max() > ONNX_TOLERANCE:
        raise ValueError(f"The Keras model or the ONNX file gives something else: {errors}")
    for result, scores in zip(magika.Magika().identify_paths(paths), ours, strict=True):
        label, score = str(result.prediction.dl.label), result.prediction.score
        if label != names[scores.argmax()] or abs(score - scores.max()) > ONNX_TOLERANCE:
            raise ValueError(f"The features of {result.path} differ from the package's")


# --------------------------------------------------------------------------------- the files


def features(path, config):
    """The first and last 1,024 bytes of a file without white space at its ends; None if too few."""
    size, block = path.stat().st_size, config["block_size"]
    with path.open("rb") as file:
        start = file.read(block).lstrip()[: config["beg_size"]]
        file.seek(max(size - block, 0))
        end = file.read(block).rstrip()[-config["end_size"] :]
    if len(start) < config["min_file_size_for_dl"]:
        return None
    values = np.full(config["beg_size"] + config["end_size"], config["padding_token"], "int32")
    values[: len(start)] = np.frombuffer(start, "uint8")
    values[len(values) - len(end) :] = np.frombuffer(end, "uint8")
    return values


def collect(folder, config, per_suffix, seed):
    """Random files of a folder, up to a number of every suffix; of equal ones, one.

    Returns:
        Features, int32 array (files, 2048), and paths.
    """
    every = [Path(root) / name for root, _, names in os.walk(folder) for name in sorted(names)]
    found, taken = {}, Counter()
    for i in np.random.default_rng(seed).permutation(len(every)):
        path = every[i]
        if taken[path.suffix] >= per_suffix or path.is_symlink() or not path.is_file():
            continue
        if not os.access(path, os.R_OK):
            continue
        values = features(path, config)
        if values is not None and values.tobytes() not in found:
            found[values.tobytes()] = values, path
            taken[path.suffix] += 1
    return np.stack([values for values, _ in found.values()]), [p for _, p in found.values()]


def split(labels, k, test_files, calibration_files):
    """The k types with most files; rows of test files, of calibration files, and of the others.

    Test and calibration files have about as many of each type.
    """
    counts = np.bincount(labels, minlength=214)
    types = np.argsort(-counts, kind="stable")[:k]
    test, calibration = [], []
    for each in types:
        rows = np.flatnonzero(labels == each)
        held_out = min(-(-test_files // k), len(rows) // 2)
        test.append(rows[:held_out])
        calibration.append(rows[held_out : held_out + -(-calibration_files // k)])
    return types, np.concatenate(test), np.concatenate(calibration)


# --------------------------------------------------------------------------------- measurements


def smallest_size(modules, types):
    """The share of the parameters that no choice of units can cut."""
    one = {hidden: np.arange(units.shape[1]) == 0 for hidden, units in modules.units.items()}
    units = {hidden: np.tile(row, (modules.num_classes, 1)) for hidden, row in one.items()}
    return mk.metrics.composed_size(mk.ModuleSet.from_units(modules.model, units), types)


def cpu_milliseconds(model, runs=30):
    """The median CPU time of a prediction of one file: other work on the machine matters little."""
    x, times = np.zeros((1, 2048), "int32"), []
    for _ in range(3 + runs):
        started = time.process_time()
        model.predict_on_batch(x)
        times.append(time.process_time() - started)
    return 1000 * float(np.median(times[3:]))


def variants(modules, types, calibration, sizes):
    """Makes the models of one sub-task, with their names and sizes."""
    repaired = {"calibration_data": calibration}
    yield "head only", None, mk.compose(mk.ModuleSet.from_units(modules.model, {}), types)
    yield "tau 0.9", None, mk.compose(modules, types)
    yield "tau 0.9, repaired", None, mk.compose(modules, types, **repaired)
    for size in sizes:
        chosen = modules.within(parameters=size, classes=types)
        yield "slim", size, mk.compose(chosen, types)
        yield "repaired", size, mk.compose(chosen, types, **repaired)
        chosen = modules.within(parameters=size, classes=types, **repaired)
        yield "in steps", size, mk.compose(chosen, types, **repaired)


def measure(model, names, x, labels, options):
    for k in options.k:
        types, test, calibration = split(labels, k, options.test_files, options.calibration_files)
        rest = np.setdiff1d(np.flatnonzero(np.isin(labels, types)), test)
        rest = np.random.default_rng(options.seed).permutation(rest)[: options.importance_files]
        modules = mk.decompose(
            model, x[rest], criterion="importance", class_names=names, batch_size=64, verbose=0
        )
        print(f"k={k}: {', '.join(names[each] for each in types)}")
        print(f"files: {len(rest)} for importance, {len(calibration)} repair, {len(test)} test")
        print(f"share that cannot be cut: {smallest_size(modules, types):.3f}")
        report(modules, types.tolist(), x[test], x[calibration], options)


def report(modules, types, x_test, calibration, options):
    measurement = mk.metrics.ModelMeasurement(modules, types, x_test, batch_size=None)
    original = {**measurement.full(), "milliseconds": cpu_milliseconds(modules.model)}
    rows = [("full", None, original)]
    for name, size, model in variants(modules, types, calibration, options.sizes):
        figures = measurement.measure(model, milliseconds=cpu_milliseconds(model))
        rows.append((name, size, figures))
    for name, size, figures in rows:
        row = {"k": len(types), "model": name, "budget": size, **figures}
        shares = " | ".join(f"{row[each]:.1%}" for each in ("size", "flops_share", "agreement"))
        print(f"{len(types)} | {name} | {size} | {shares} | {row['milliseconds']:.1f}", flush=True)
        if options.output:
            append_row(options.output, row)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="Files of many types.")
    parser.add_argument("--k", type=int, nargs="+", default=[8, 20], help="Numbers of types.")
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.5, 0.25])
    parser.add_argument("--per-suffix", type=int, default=150, help="Files of one suffix at most.")
    parser.add_argument("--importance-files", type=int, default=2000)
    parser.add_argument("--calibration-files", type=int, default=800)
    parser.add_argument("--test-files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", help="CSV file for the rows.")
    options = parser.parse_args()
    folder, config = model_folder()
    names = config["target_labels_space"]
    model = build(read_weights(folder / "model.onnx"))
    x, paths = collect(options.folder, config, options.per_suffix, options.seed)
    check(model, folder, names, x[:CHECKED], paths[:CHECKED])
    labels = model.predict(x, batch_size=64, verbose=0).argmax(axis=1)
    print(f"{len(x)} files of {len(np.unique(labels))} types")
    for layer in model.layers:
        if layer.count_params():
            print(f"{layer.name}: {layer.count_params():,} parameters")
    measure(model, names, x, labels, options)


if __name__ == "__main__":
    main()
