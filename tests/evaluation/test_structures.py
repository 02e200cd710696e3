"""Inputs and outputs in any structure: everything is as with a plain model of the same weights."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from small_models import BACKEND

import moda_keras as mk

SAMPLES, CLASSES = 30, [2, 0]
Y = np.arange(SAMPLES) % 3


@keras.saving.register_keras_serializable(package="tests")
class Sum(layers.Layer):
    """Of one input, or of two."""

    def call(self, first, second=None):
        return first if second is None else first + second

    def compute_output_spec(self, first, second=None):
        return keras.KerasTensor(first.shape, first.dtype)


def body(x):
    x = layers.Dense(6, activation="gelu", name="gelu")(x)
    return layers.Dense(3, name="scores")(layers.Dense(7, activation="relu", name="relu")(x))


def inputs(optional=False):
    return keras.Input((4,), name="first"), keras.Input((4,), name="second", optional=optional)


def plain():
    first, second = inputs()
    return randomize(keras.Model([first, second], body(Sum()(first, second))))


def alone():
    first, _ = inputs()
    return randomize(keras.Model(first, body(first)))


def structured(pack, unpack=lambda output: output, optional=False):
    first, second = inputs(optional)
    return randomize(keras.Model(pack(first, second), unpack(body(Sum()(first, second)))))


def named(first, second):
    return {"first": first, "second": second}


def nested(first, second):
    return [{"first": first}, [second]]


# The model, the form of its inputs, and whether the second is not given.
CASES = {
    "named output": (lambda: structured(named, lambda output: {"scores": output}), named, False),
    "list of one output": (lambda: structured(named, lambda output: [output]), named, False),
    "nested inputs": (lambda: structured(nested), nested, False),
    "optional input": (lambda: structured(named, optional=True), named, False),
    "no optional input": (
        lambda: structured(named, lambda output: {"scores": output}, optional=True), named, True
    ),
    "no optional input in a list": (
        lambda: structured(lambda *each: list(each), optional=True), lambda *each: list(each), True
    ),
}  # fmt: skip


# The others compile every model anew.
IS_QUICK = BACKEND == "torch"


def arrays():
    random = np.random.default_rng(0)
    return [random.normal(size=(SAMPLES, 4)).astype("float32") + Y[:, None] for _ in range(2)]


@pytest.fixture(params=CASES if IS_QUICK else ["no optional input"])
def pair(request):
    """The structured model with its inputs, and the plain one with its own."""
    make, form, is_alone = CASES[request.param]
    first, second = arrays()
    if is_alone:
        return (make(), form(first, None)), (alone(), first)
    return (make(), form(first, second)), (plain(), [first, second])


def figures(model, x):
    modules = mk.decompose(model, x, Y, threshold=0.5, verbose=0)
    found = {
        **{name: table.tolist() for name, table in modules.frequency.items()},
        **modules.epsilons,
        "reuse": mk.metrics.reuse_accuracy(modules, CLASSES, x, Y),
        "full": mk.metrics.full_accuracy(model, CLASSES, x, Y),
    }
    if not IS_QUICK:
        return found
    tuned = modules.tune_threshold(x, Y, max_accuracy_loss=0.3)
    (row,) = mk.tuning.threshold_curve(modules, x, Y, [0.5], subtasks=[(0, 1), (0, 1, 2)])
    (measured,) = mk.metrics.SubtaskMeasurement(modules, x, Y).measure([tuple(CLASSES)])
    return {
        **found,
        "cohesion": mk.metrics.cohesion(modules, x, Y),
        "tuned": tuned.threshold,
        "curve": row["reuse_accuracy"],
        "signs": ", ".join(finding.sign for finding in modules.diagnose(x, Y)),
        "subtask": measured["accuracy"],
        "share of FLOPs": measured["flops"],
    }


def outputs(model, x):
    return keras.tree.flatten(model.predict(x, verbose=0))[0]


def test_figures_are_those_of_the_plain_model(pair):
    found, expected = (figures(*each) for each in pair)
    for name, value in expected.items():
        same = value if isinstance(value, (str, list)) else pytest.approx(value, rel=1e-5)
        assert found[name] == same, name


@pytest.mark.skipif(not IS_QUICK, reason="slow")
def test_replaced_class_is_that_of_the_plain_model(pair):
    values = []
    for model, x in pair:
        modules = mk.decompose(model, x, Y, threshold=0.5, verbose=0)
        patched = mk.replace(model, modules[0], target_class=1)
        assert type(patched.output) is type(model.output)
        values.append(outputs(patched, x))
    np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not IS_QUICK, reason="slow")
def test_training_is_watched_as_that_of_the_plain_model(pair):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    histories = []
    for model, x in pair:
        modular = mk.ModularModel.from_model(model)
        modular.compile(keras.optimizers.SGD(0.0), loss, modular_loss=mk.MODALoss())
        watch = mk.callbacks.ModularityMonitor(x, Y, objectives=False)
        histories.append(modular.fit(x, Y, verbose=0, callbacks=[watch]).history)
    for name in ("modules/size", "modules/overlap", "affinity", "dispersion", "compactness"):
        assert histories[0][name] == pytest.approx(histories[1][name], rel=1e-4)


def test_inputs_of_a_strong_module_are_matched_by_name():
    first, second = arrays()
    weak, strong = plain(), plain()
    tensors = strong.inputs
    turned = keras.Model([tensors[1], tensors[0]], body(layers.Subtract()(tensors)))
    randomize(turned, seed=3)
    modules = mk.ModuleSet.from_units(turned, {})
    patched = mk.replace(weak, modules[2], target_class=0)
    expected = outputs(turned, [second, first])[:, 2]
    np.testing.assert_allclose(outputs(patched, [first, second])[:, 0], expected, rtol=1e-5)
