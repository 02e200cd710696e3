import dataclasses
import importlib
import json
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from masking import randomize
from small_models import BACKEND, cnn, mlp, random_modules, trainable_parameters

import moda_keras as mk
from moda_keras.evaluation import count_flops, planned_flops
from moda_keras.reporting.cost_model import cost_model

CLASSES = 5


def residual():
    """Channels that two layers read: they stay if either needs them."""
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    y = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", use_bias=False)(x))
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return randomize(keras.Model(image, layers.Dense(CLASSES, activation="softmax")(x)))


def depthwise():
    """Channels that need two units, and constants that are folded into new biases."""
    image = keras.Input((8, 8, 2))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(16, 1, use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Flatten()(x)
    return randomize(keras.Model(image, layers.Dense(CLASSES)(x)))


def gated():
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(16, 3, activation="relu")(image)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(12, 1, activation="relu")(gate)
    gate = layers.Conv2D(16, 1, activation="sigmoid")(gate)
    x = layers.Multiply()([x, gate])
    x = layers.Conv2D(8, 3, activation="relu")(x)
    x = layers.GlobalMaxPooling2D()(x)
    return randomize(keras.Model(image, layers.Dense(CLASSES)(x)))


def recurrent():
    inputs = keras.Input((4, 3))
    x = layers.GRU(8, return_sequences=True)(inputs)
    x = layers.SimpleRNN(6)(x)
    return randomize(keras.Model(inputs, layers.Dense(CLASSES)(x)))


def dense_block():
    """A channel that needs its own unit and any of two others: no simple condition says so."""
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(12, 3, padding="same", activation="relu")(image)
    first = layers.ReLU()(layers.BatchNormalization()(x))
    second = layers.Conv2D(5, 3, padding="same")(first)
    joined = layers.Concatenate()([x, second])
    y = layers.ReLU()(layers.BatchNormalization()(joined))
    y = layers.GlobalAveragePooling2D()(y)
    return randomize(keras.Model(image, layers.Dense(CLASSES)(y)))


ARCHITECTURES = {
    "mlp": lambda: mlp(classes=CLASSES),
    "cnn": lambda: cnn(classes=CLASSES),
    "residual": residual,
    "depthwise": depthwise,
    "gated": gated,
    "recurrent": recurrent,
}
if BACKEND == "jax":  # it compiles every operation anew; what is planned is the same
    ARCHITECTURES = {name: ARCHITECTURES[name] for name in ("mlp", "depthwise")}
BUILT = {}


def built(name, fraction=0.3):
    if name not in BUILT:
        modules = random_modules({**ARCHITECTURES, "dense_block": dense_block}[name](), 3, fraction)
        BUILT[name] = modules, cost_model(modules)
    return BUILT[name]


def planned(modules, subset):
    plan = modules.slicer.plan(modules.union(subset), np.array(subset))
    return plan.trainable_size, planned_flops(plan)


SUBSETS = st.sets(st.integers(0, CLASSES - 1), min_size=1).map(sorted)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_subset_costs_what_is_planned(name):
    modules, costs = built(name)
    assert costs.is_exact
    assert not costs.table, "worked out, not tabled"
    for bits in range(1, 1 << CLASSES):
        subset = [c for c in range(CLASSES) if bits >> c & 1]
        assert costs.evaluate(subset) == planned(modules, subset)


def test_built_models_have_what_was_worked_out():
    modules, costs = built("depthwise")
    for subset in ([2], [4, 0], [0, 1, 2, 3, 4]):
        model = mk.compose(modules, subset)
        assert costs.evaluate(subset) == (trainable_parameters(model), count_flops(model))


def test_whole_model():
    modules, costs = built("depthwise")
    full = trainable_parameters(modules.model), count_flops(modules.model)
    assert (costs.parameters, costs.flops) == full


@given(seed=st.integers(0, 50), fraction=st.sampled_from([0.05, 0.2, 0.5, 0.9]), subset=SUBSETS)
@settings(max_examples=6, deadline=None)
def test_any_modules_of_a_model(seed, fraction, subset):
    model = BUILT.setdefault("model", mlp(classes=CLASSES))
    modules = random_modules(model, seed, fraction)
    assert cost_model(modules).evaluate(subset) == planned(modules, subset)


def test_class_without_a_module_is_left_out():
    counts = {"first": np.tile([4, 0, 3, 4, 1, 4], (3, 1)), "second": np.eye(3, 5, dtype=int) * 4}
    modules = mk.ModuleSet.from_counts(mlp(), counts, [4, 0, 4])
    assert cost_model(modules).evaluate([0, 2]) == planned(modules, [0, 2])


def test_what_cannot_be_worked_out_is_tabled():
    modules, costs = built("dense_block", fraction=0.2)
    assert costs.worst_error > 0, "no test of the table otherwise"
    assert costs.is_exact
    for bits in range(1, 1 << CLASSES):
        subset = [c for c in range(CLASSES) if bits >> c & 1]
        assert costs.evaluate(subset) == planned(modules, subset)


def test_too_many_classes_for_a_table_make_an_estimate(monkeypatch):
    modules, _ = built("dense_block", fraction=0.2)
    module = importlib.import_module("moda_keras.reporting.cost_model")
    monkeypatch.setattr(module, "TABLED_CLASSES", CLASSES - 1)
    costs = cost_model(modules)
    assert not costs.is_exact
    errors = []
    for bits in range(1, 1 << CLASSES):
        subset = [c for c in range(CLASSES) if bits >> c & 1]
        pairs = zip(costs.evaluate(subset), planned(modules, subset), strict=True)
        errors += [abs(a - b) / b for a, b in pairs]
    # All 31 subsets are among the 48 that are compared.
    assert max(errors) == pytest.approx(costs.worst_error)
    assert costs.checked == len(errors) // 2


def test_without_a_fixed_input_shape_parameters_are_known():
    image = keras.Input((None, None, 2))
    x = layers.Conv2D(6, 3, activation="relu")(image)
    x = layers.GlobalAveragePooling2D()(x)
    modules = random_modules(randomize(keras.Model(image, layers.Dense(3)(x))))
    costs = cost_model(modules)
    plan = modules.slicer.plan(modules.union([1, 2]), np.array([1, 2]))
    assert costs.evaluate([1, 2]) == (plan.trainable_size, 0)
    assert costs.flops == 0


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("name", ["depthwise", "dense_block"])
def test_script_of_the_page_works_out_the_same(name, tmp_path):
    _, costs = built(name, fraction=0.2)
    subsets = [[c for c in range(CLASSES) if bits >> c & 1] for bits in range(1, 1 << CLASSES)]
    assert run_script(tmp_path, costs, subsets) == [list(costs.evaluate(s)) for s in subsets]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_script_of_the_page_knows_more_than_64_classes(tmp_path):
    modules = random_modules(mlp(classes=70), seed=5, fraction=0.05)
    costs = cost_model(modules)
    assert costs.is_exact
    random = np.random.default_rng(0)
    subsets = [sorted(random.permutation(70)[:k].tolist()) for k in (1, 2, 5, 20, 69)]
    expected = [list(planned(modules, subset)) for subset in subsets]
    assert run_script(tmp_path, costs, subsets) == expected


def run_script(folder, costs, subsets):
    """What the page's script makes of the page's data."""
    script = Path(mk.report.__file__).parent / "template" / "composition.js"
    data = {"costs": costs.to_json(), "accuracy": None, "measured": {}}
    (folder / "given.json").write_text(json.dumps({"data": data, "subsets": subsets}))
    (folder / "composition.js").write_text(script.read_text())
    code = """
        const { bits, cost, prepare } = require("./composition.js");
        const { data, subsets } = require("./given.json");
        const prepared = prepare(data);
        console.log(JSON.stringify(subsets.map((s) => cost(prepared.costs, bits(s)))));
    """
    done = subprocess.run(
        ["node", "-e", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_frozen_model_has_no_size():
    model = mlp()
    model.trainable = False
    with pytest.raises(ValueError, match="trainable parameters"):
        mk.metrics.module_size(random_modules(model))


def test_is_a_plain_record():
    _, costs = built("mlp")
    assert dataclasses.replace(costs) == costs
    json.dumps(costs.to_json())
