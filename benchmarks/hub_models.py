"""Composes the classifiers of KerasHub and compares them with what they should be.

Tiny models with random weights (`hub_classifiers.py`); random masks keep half of the units of every
hidden activation; three of the five classes are composed. KerasHub is no dependency of moda_keras:
`pip install keras-hub`.

    KERAS_BACKEND=torch python benchmarks/hub_models.py                      all of them
    KERAS_BACKEND=jax python benchmarks/hub_models.py --models BERT ViT ResNet
    KERAS_BACKEND=torch python benchmarks/hub_models.py --models BERT --explain
    KERAS_BACKEND=torch python benchmarks/hub_models.py --time               ViT-B/16 and BERT base

The table goes to the standard output, and is in `docs/keras-hub.md`.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import keras
import numpy as np
from hub_classifiers import BASE_MODELS, CLASSES, CLASSIFIERS, data_for

import moda_keras as mk
from moda_keras.slicing.explanation import Explanation

CHOSEN = [3, 0, 2]
OUTSIDE = "embedding", "pooled_dense", "pooler", "logits", "predictions", "output_dense"
COLUMNS = (
    "model", "hidden", "can be cut", "of the encoder", "composed - masked", "whole - original",
    "trains", "saved and loaded", "without KerasHub", "stays whole",
)  # fmt: skip
LOADS_ALONE = """
import sys
import keras, numpy as np, moda_keras
model = keras.models.load_model(sys.argv[1])
assert "keras_hub" not in sys.modules
x = np.load(sys.argv[2])
x = {name: x[name] for name in x.files}
expected = x.pop("expected")
received = model.predict(x["images"] if "images" in x else x, verbose=0)
assert np.abs(received - expected).max() <= 1e-5 * np.abs(expected).max()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(CLASSIFIERS), metavar="NAME")
    parser.add_argument("--explain", action="store_true", help="print what can be cut of each")
    parser.add_argument("--time", action="store_true", help="time two models of usual size")
    arguments = parser.parse_args()
    if arguments.time:
        time_base_models()
        return
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name in arguments.models:
        keras.utils.set_random_seed(0)
        print(f"| {' | '.join([name, *cells(name, arguments.explain)])} |", flush=True)


def time_base_models() -> None:
    """Seconds to trace a model and to compose two classes with half of the units."""
    print("| model | parameters | seconds to trace | to compose two classes |\n|---|---|---|---|")
    for name, make in BASE_MODELS.items():
        model = make()
        start = time.perf_counter()
        mk.find_hidden_activations(model)
        traced = time.perf_counter() - start
        modules = half_of_the_units(model)
        start = time.perf_counter()
        mk.compose(modules, [3, 0])
        composed = time.perf_counter() - start
        millions = model.count_params() / 1e6
        print(f"| {name} | {millions:.1f} M | {traced:.1f} | {composed:.1f} |", flush=True)


def cells(name: str, shows_parts: bool) -> list[str]:
    """One row of the table."""
    try:
        model = CLASSIFIERS[name]()
    except Exception as error:  # whatever KerasHub raises
        traceback.print_exc()
        return [f"is not built ({_first_line(error)})"]
    randomize(model)
    x = data_for(model)
    try:
        parts = mk.explain(model)
    except Exception as error:
        traceback.print_exc()
        return [f"is refused ({_first_line(error)})"]
    if shows_parts:
        print(parts)
    steps = (
        lambda: str(len(parts.hidden_activations)),
        lambda: f"{100 * parts.share:.1f} %",
        lambda: _share_of_encoder(parts),
        lambda: difference_from_masked(model, x),
        lambda: difference_from_original(model, x),
        lambda: trains(model, x),
        lambda: saves(model, x),
        lambda: loads_without_hub(model, x),
        lambda: _why_whole(parts),
    )
    return [_attempted(step) for step in steps]


def _attempted(step) -> str:
    try:
        return step()
    except Exception as error:
        traceback.print_exc()
        return _first_line(error)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:150] if lines else ''}".replace("|", "/")


def randomize(model: keras.Model) -> None:
    """Weights under which every channel matters: no zero bias, no unit scale."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if "seed" in weight.path or "float" not in keras.backend.standardize_dtype(weight.dtype):
            continue
        if weight.name in ("gamma", "moving_variance", "scale"):
            values = random.uniform(0.5, 1.5, shape)
        elif "kernel" in weight.name or "embedding" in weight.name:
            is_depthwise = "depthwise" in weight.path
            fan_in = np.prod(shape[:2] if is_depthwise else shape[:-1])
            fan_in = shape[-1] if "embedding" in weight.name else fan_in
            values = random.normal(0.0, (2.0 / fan_in) ** 0.5, shape)
        else:
            values = random.normal(0.0, 0.1, shape)
        weight.assign(values.astype("float32"))


def half_of_the_units(model: keras.Model) -> mk.ModuleSet:
    """Modules that share one random half of every activation's units."""
    random = np.random.default_rng(1)
    units = {
        hidden.name: np.tile(random.permutation(hidden.units) < hidden.units / 2, (CLASSES, 1))
        for hidden in mk.find_hidden_activations(model)
    }
    return mk.ModuleSet.from_units(model, units)


def difference_from_masked(model: keras.Model, x) -> str:
    modules = half_of_the_units(model)
    expected = mk.masked_model(modules, CHOSEN).predict(x, verbose=0)
    small = mk.compose(modules, CHOSEN)
    left = small.count_params() / model.count_params()
    spread = np.ptp(expected, axis=0).max() / np.abs(expected).max()
    assert spread > 1e-3, f"the masked model gives every sample the same ({spread})"
    original = model.predict(x, verbose=0)[:, CHOSEN]
    assert np.abs(expected - original).max() > 1e-3 * np.abs(original).max(), "masks do nothing"
    return f"{_difference(small.predict(x, verbose=0), expected)} ({100 * left:.0f} % left)"


def difference_from_original(model: keras.Model, x) -> str:
    whole = mk.compose(mk.ModuleSet.from_units(model, {}), range(CLASSES))
    return _difference(whole.predict(x, verbose=0), model.predict(x, verbose=0))


def _difference(received: np.ndarray, expected: np.ndarray) -> str:
    assert np.isfinite(expected).all()
    return f"{np.abs(received - expected).max() / np.abs(expected).max():.0e}"


def trains(model: keras.Model, x) -> str:
    """Whether a batch of modular training has finite losses and moves weights."""
    modular = mk.ModularModel.from_model(model)
    modular.compile(
        keras.optimizers.SGD(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        modular_loss=mk.MODALoss(warmup=None),
    )
    before = [weight.numpy() if hasattr(weight, "numpy") else np.array(weight)
              for weight in modular.trainable_weights]  # fmt: skip
    labels = np.arange(8) % 3
    logs = modular.fit(x, labels, batch_size=8, verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values()), logs
    after = [keras.ops.convert_to_numpy(weight) for weight in modular.trainable_weights]
    still = sum(np.array_equal(*pair) for pair in zip(before, after, strict=True))
    return "yes" if not still else f"yes, {still} of {len(after)} weights do not move"


def saves(model: keras.Model, x) -> str:
    small = mk.compose(half_of_the_units(model), CHOSEN)
    with tempfile.TemporaryDirectory() as folder:
        small.save(Path(folder) / "small.keras")
        loaded = keras.models.load_model(Path(folder) / "small.keras")
    differs = np.abs(loaded.predict(x, verbose=0) - small.predict(x, verbose=0)).max()
    return "yes" if differs < 1e-5 else f"yes, but the outputs differ by {differs:.0e}"


def loads_without_hub(model: keras.Model, x) -> str:
    """Whether a process that never imports KerasHub loads the composed model."""
    small = mk.compose(half_of_the_units(model), CHOSEN)
    foreign = sorted({
        type(layer).__name__
        for layer in small._flatten_layers(include_self=False)
        if type(layer).__module__.startswith("keras_hub")
    })  # fmt: skip
    if foreign:
        return f"no: {', '.join(foreign)}"
    with tempfile.TemporaryDirectory() as folder:
        path, data = Path(folder) / "small.keras", Path(folder) / "x.npz"
        small.save(path)
        inputs = x if isinstance(x, dict) else {"images": x}
        np.savez(data, expected=small.predict(x, verbose=0), **inputs)
        command = [sys.executable, "-c", LOADS_ALONE, str(path), str(data)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "yes" if done.returncode == 0 else f"no: {done.stderr.strip().splitlines()[-1][:150]}"


def _share_of_encoder(parts: Explanation) -> str:
    """Share of the parameters, embeddings and head left out, that can be cut at most."""
    inside = [part for part in parts.parts if not any(name in part.name for name in OUTSIDE)]
    total = sum(part.parameters for part in inside)
    kept = sum(part.kept for part in inside)
    return f"{100 * (1 - kept / total):.1f} %" if total else ""


def _why_whole(parts: Explanation) -> str:
    """The kinds of layers of which all outputs stay, with the parameters that stay."""
    kinds: Counter = Counter()
    for part in parts.whole:
        kinds[part.kind] += part.kept
    return ", ".join(f"{kind} ({n:,})" for kind, n in kinds.items() if n)


if __name__ == "__main__":
    main()
