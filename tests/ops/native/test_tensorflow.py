import os
import subprocess
import sys
import threading

import keras
import numpy as np
import oracles
import pytest

from moda_keras.ops.native import core as native

if keras.backend.backend() != "tensorflow":
    pytest.skip("TensorFlow's operations", allow_module_level=True)

import tensorflow as tf

import moda_keras as mk
from moda_keras.ops.native import tensorflow as tensorflow_native

if native.extension() is None or tensorflow_native.reason_against_process():
    pytest.skip("no native operations here", allow_module_level=True)

CLASSES = 4
LABELS = tf.constant([0, 1, 0, 3, 1, 4, 0], tf.int32)  # class 2 absent, 4 is no class
OPTIONS = [(pairs, unit) for pairs in (False, True) for unit in (False, True)]
SHAPES = {  # without the samples, and the axis of the units
    "matrix": ((19,), 1),
    "channels_last": ((5, 3, 19), 3),
    "channels_first": ((9, 5, 7), 1),
    "units_between": ((3, 11, 4), 2),
    "volume": ((2, 3, 4, 2, 17), 5),
}
TOLERANCES = {"float64": 1e-12, "float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
UPSTREAM = np.array([[0.7, 1.3, 0.4]])


@pytest.fixture(autouse=True)
def native_only(monkeypatch):
    monkeypatch.setattr(native, "mode", lambda: "1")


@pytest.fixture
def automatic(monkeypatch):
    monkeypatch.setattr(native, "mode", lambda: "auto")
    monkeypatch.setattr(native, "_stepped_aside", {})


def draw(layout, dtype="float32", samples=7, seed=0):
    """Activations in one layout, and the axis of their units."""
    shape, axis = SHAPES[layout]
    values = np.random.default_rng(seed).normal(size=(samples, *shape))
    return tf.cast(tf.constant(values), dtype), axis


def to_float64(tensor):
    return tf.cast(tensor, tf.float64).numpy()


def compute(activations, axes, known, options=(False, True), labels=LABELS):
    return tensorflow_native.objectives(activations, labels, CLASSES, axes, known, *options)


def gradient_of(function, activation):
    with tf.GradientTape() as tape:
        tape.watch(activation)
        values = function(activation)
        total = tf.reduce_sum(values * tf.cast(UPSTREAM, values.dtype))
    return tape.gradient(total, activation)


def reference(activation, axis):
    return mk.MODALoss()._reference_objectives([activation], LABELS, CLASSES, [axis], [False])


def operations_in(function, *args):
    graph = function.get_concrete_function(*args).graph
    return {operation.type for operation in graph.get_operations() if "Moda" in operation.type}


# ------------------------------------------------------------------------- values and gradients


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("layout", SHAPES)
def test_objectives_are_those_of_loops(layout, dtype, options):
    activation, axis = draw(layout, dtype)
    (values,) = compute([activation], [axis], [False], options).numpy()
    expected = oracles.objectives(
        [to_float64(activation)],
        LABELS.numpy().tolist(),
        CLASSES,
        sample_weight=[float(label < CLASSES) for label in LABELS.numpy()],
        axes=[axis],
        averaging="pair" if options[0] else "class",
        form="unit" if options[1] else "norm",
    )
    tolerance = 1e-12 if dtype == "float64" else 2e-6
    np.testing.assert_allclose(
        values,
        [expected[name] for name in ("affinity", "dispersion", "compactness")],
        rtol=tolerance,
        atol=tolerance,
    )


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("layout", SHAPES)
def test_gradient_is_that_of_the_reference_in_float64(layout, dtype, in_graph):
    activation, axis = draw(layout, dtype)

    def native_gradient(x):
        return gradient_of(lambda y: compute([y], [axis], [False]), x)

    gradient = (tf.function(native_gradient) if in_graph else native_gradient)(activation)
    assert gradient.dtype == activation.dtype
    assert gradient.shape == activation.shape
    exact = tf.cast(activation, tf.float64)
    expected = gradient_of(lambda y: reference(y, axis), exact).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        to_float64(gradient), expected, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype] * scale
    )


@pytest.mark.parametrize("layout", SHAPES)
def test_gradient_is_that_of_finite_differences(layout):
    activation, axis = draw(layout, "float64")
    theoretical, numerical = tf.test.compute_gradient(
        lambda x: compute([x], [axis], [False]), [activation], delta=1e-6
    )
    np.testing.assert_allclose(theoretical[0], numerical[0], atol=1e-8)


def test_class_statistics_and_gradient_are_those_of_the_reference(monkeypatch):
    activation, axis = draw("channels_last", "float64")

    def statistics_and_gradient():
        with tf.GradientTape() as tape:
            tape.watch(activation)
            statistics = mk.ops.class_statistics(activation, LABELS % CLASSES, CLASSES, axis=axis)
            weights = tf.reshape(tf.range(4 * 19, dtype=tf.float64), (4, 19))
            total = tf.reduce_sum(statistics.sums * weights) + tf.reduce_sum(statistics.l1**2)
        return [*statistics, tape.gradient(total, activation)]

    results = statistics_and_gradient()
    in_graph = tf.function(statistics_and_gradient)()
    monkeypatch.setattr(native, "mode", lambda: "0")
    for actual, again, expected in zip(results, in_graph, statistics_and_gradient(), strict=True):
        assert again.shape == actual.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(again, actual, rtol=1e-12, atol=1e-12)


def test_counts_of_class_statistics_have_no_gradient():
    activation, axis = draw("matrix")
    with tf.GradientTape() as tape:
        tape.watch(activation)
        statistics = mk.ops.class_statistics(activation, LABELS % CLASSES, CLASSES, axis=axis)
        total = tf.reduce_sum(statistics.counts) + tf.reduce_sum(statistics.nonzero)
    assert tape.gradient(total, activation) is None


def test_known_sign_gives_the_same_gradient():
    activation, axis = draw("channels_last")
    positive = tf.abs(activation) + 0.1
    known, unknown = (
        gradient_of(lambda x, known=known: compute([x], [axis], [known]), positive)
        for known in (True, False)
    )
    np.testing.assert_allclose(known, unknown, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("layout", SHAPES)
def test_frequency_is_that_of_loops(layout, dtype):
    activation, axis = draw(layout, dtype)
    sparse = tf.where(activation > 1.2, activation, tf.zeros_like(activation))
    by_unit = np.moveaxis(to_float64(sparse), axis, 1)
    for epsilon in (0.0, 1.5):
        expected = np.zeros((CLASSES, by_unit.shape[1]), int)
        for sample, label in zip(by_unit, LABELS.numpy(), strict=True):
            for unit, values in enumerate(sample):
                if label < CLASSES:
                    expected[label, unit] += bool((np.abs(values) > epsilon).any())
        (counts,), not_finite = tensorflow_native.activation_frequency(
            [sparse], LABELS, CLASSES, [axis], [epsilon]
        )
        assert not_finite.numpy().tolist() == [0]
        np.testing.assert_array_equal(counts, expected)


def test_frequency_counts_units_that_are_not_finite():
    activations = [draw("channels_last")[0], draw("channels_first")[0]]
    spoiled = activations[1].numpy()
    spoiled[2, 4, 1, 3], spoiled[0, 0, 0, 0] = np.nan, -np.inf
    _, not_finite = tensorflow_native.activation_frequency(
        [activations[0], tf.constant(spoiled)], LABELS, CLASSES, [3, 1], [0.0, 0.0]
    )
    assert not_finite.numpy().tolist() == [0, 2]


# --------------------------------------------------------------------------------------- graphs


def test_batch_and_positions_may_be_unknown():
    specs = [tf.TensorSpec((None, None, 3, 19)), tf.TensorSpec((None,), tf.int32)]

    @tf.function(input_signature=specs)
    def step(activation, labels):
        values = compute([activation], [3], [False], labels=labels)
        counts, _ = tensorflow_native.activation_frequency(
            [activation], labels, CLASSES, [3], [0.0]
        )
        assert values.shape == (1, 3)
        assert counts[0].shape == (CLASSES, 19)
        return gradient_of(lambda x: compute([x], [3], [False], labels=labels), activation)

    activation, axis = draw("channels_last")
    for samples in (7, 2):
        part, labels = activation[:samples], LABELS[:samples]
        expected = gradient_of(
            lambda x, labels=labels: compute([x], [axis], [False], labels=labels), part
        )
        np.testing.assert_allclose(step(part, labels), expected)


def test_empty_batch_has_objectives_of_zero():
    @tf.function(input_signature=[tf.TensorSpec((None, 19)), tf.TensorSpec((None,), tf.int32)])
    def step(activation, labels):
        gradient = gradient_of(lambda x: compute([x], [1], [False], labels=labels), activation)
        return compute([activation], [1], [False], labels=labels), gradient

    values, gradient = step(tf.zeros((0, 19)), tf.zeros((0,), tf.int32))
    assert values.numpy().tolist() == [[0, 0, 0]]
    assert gradient.shape == (0, 19)


def test_autograph_leaves_the_operations_alone():
    activation, _ = draw("matrix")

    @tf.function
    def loss(x):
        return mk.MODALoss()([x], LABELS % CLASSES, CLASSES)

    assert operations_in(loss, activation) == {"ModaKerasObjectives"}
    expected = mk.MODALoss()([activation], LABELS % CLASSES, CLASSES)
    np.testing.assert_allclose(loss(activation), expected)


@pytest.mark.parametrize("nested", [False, True])
def test_steps_aside_under_xla(automatic, nested):
    activation, _ = draw("matrix")

    def loss(x):
        return mk.MODALoss()([x], LABELS % CLASSES, CLASSES)

    inner = tf.function(loss) if nested else loss
    compiled = tf.function(lambda x: gradient_of(inner, x), jit_compile=True)
    assert not operations_in(compiled, activation)
    np.testing.assert_allclose(compiled(activation), gradient_of(loss, activation), atol=1e-6)
    assert "went to the reference: XLA compiles this graph" in mk.ops.native_status()


def test_native_demanded_under_xla_raises():
    activation, _ = draw("matrix")
    # AutoGraph, which Keras does not use here, would wrap the error in one of its own.
    compiled = tf.function(
        lambda x: mk.MODALoss()([x], LABELS % CLASSES, CLASSES), jit_compile=True, autograph=False
    )
    with pytest.raises(native.NativeUnavailableError, match=r"MODA_KERAS_NATIVE=1.*XLA"):
        compiled(activation)


def test_graphs_go_to_the_reference_where_xla_cannot_be_told(automatic, monkeypatch):
    monkeypatch.setattr(tensorflow_native, "_can_tell_xla", lambda: False)
    activation, _ = draw("matrix")
    loss = tf.function(lambda x: mk.MODALoss()([x], LABELS % CLASSES, CLASSES))
    assert not operations_in(loss, activation)
    assert "does not tell which graphs XLA compiles" in mk.ops.native_status()


# -------------------------------------------------------------------------------- stepping aside


def test_dtypes_that_differ_go_to_the_reference(automatic):
    activation, _ = draw("matrix")
    pair = [activation, tf.cast(activation, tf.float64)]
    values = mk.MODALoss().objectives(pair, LABELS % CLASSES, CLASSES)
    expected = mk.MODALoss().objectives(pair[:1], LABELS % CLASSES, CLASSES)
    np.testing.assert_allclose(values["affinity"], expected["affinity"], rtol=1e-6)
    assert "differ in dtype: ['float32', 'float64']" in mk.ops.native_status()


def test_gpu_goes_to_the_reference(automatic, monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["one"])
    activation, _ = draw("matrix")
    mk.MODALoss()([activation], LABELS % CLASSES, CLASSES)
    assert "cpu: reference, because TensorFlow sees a GPU" in mk.ops.native_status()


def test_library_that_was_not_built_is_told(automatic, monkeypatch, tmp_path):
    tensorflow_native._load.cache_clear()
    monkeypatch.setattr(tensorflow_native, "LIBRARY", tmp_path / "libmoda_tensorflow.so")
    try:
        mk.MODALoss()([draw("matrix")[0]], LABELS % CLASSES, CLASSES)
        assert "cpu: reference, because the TensorFlow operations" in mk.ops.native_status()
    finally:
        tensorflow_native._load.cache_clear()


# --------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("in_graph", [False, True])
def test_refused_input_raises_and_names_the_operation(in_graph):
    activation, _ = draw("matrix")

    def call(labels=LABELS, axes=(1,), known=(False,)):
        def objectives(x):
            return compute([x], list(axes), list(known), labels=labels)

        return (tf.function(objectives) if in_graph else objectives)(activation)

    def refused(match):
        return pytest.raises(tf.errors.InvalidArgumentError, match=rf"ModaKerasObjectives: {match}")

    with refused("expected one label for each sample. Received: 5 labels for 7 samples"):
        call(labels=LABELS[:5])
    with refused("expected units on axis 1 to 1. Received: axis 2"):
        call(axes=(2,))
    with refused("expected one entry of `axes` for each of 1 activations. Received: 2"):
        call(axes=(1, 1))
    with refused("expected one entry of `non_negative`"):
        call(known=())
    with refused("expected labels"):
        call(labels=LABELS + 9)


def test_saved_tensors_of_the_wrong_size_are_refused():
    activation, _ = draw("matrix")
    empty = tf.zeros((0,))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Gradient: .*`normalized`"):
        tensorflow_native._operations().moda_keras_objectives_gradient(
            activations=[activation],
            labels=LABELS,
            normalized=empty,
            inverse_norms=tf.cast(empty, tf.float64),
            totals=empty,
            upstream=empty,
            classes=CLASSES,
            axes=[1],
            non_negative=[False],
            averages_pairs=False,
            unit_divides=True,
        )


# -------------------------------------------------------------------------------------- threads


def test_results_do_not_depend_on_the_number_of_threads():
    # More than a megabyte, or it would be serial.
    activation = tf.random.stateless_normal((32, 16, 16, 96), seed=(0, 1))
    labels = tf.range(32) % CLASSES
    core, results = tensorflow_native.core(), []
    try:
        for threads in (1, 2, 5):
            core.moda_set_threads(threads)
            assert core.moda_threads() == threads
            results.append(
                gradient_of(lambda x: compute([x], [3], [False], labels=labels), activation)
            )
    finally:
        core.moda_set_threads(0)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_both_thread_pools_follow_the_environment():
    code = (
        "from moda_keras.ops.native import core as native;"
        "from moda_keras.ops.native import tensorflow as tensorflow_native;"
        "assert tensorflow_native.reason_against_process() is None;"
        "print(native.extension().threads(), tensorflow_native.core().moda_threads())"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300
    )
    assert result.stdout.split() == ["1", "1"], result.stderr


def test_several_threads_may_call_at_once():
    activation = tf.random.stateless_normal((32, 16, 16, 96), seed=(0, 1))
    labels = tf.range(32) % CLASSES

    @tf.function
    def step(x):
        # Independent of each other: TensorFlow runs them on several of its own threads.
        return [
            gradient_of(lambda y: compute([y], [3], [False], labels=labels), x * factor)
            for factor in (1.0, 2.0, 4.0)
        ]

    expected = [gradient.numpy() for gradient in step(activation)]
    results = {}

    def run(name):
        results[name] = [gradient.numpy() for _ in range(3) for gradient in step(activation)]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(results) == 4
    for found in results.values():
        for i, gradient in enumerate(found):
            np.testing.assert_array_equal(gradient, expected[i % 3])


# ---------------------------------------------------------------------------------------- Keras

SAMPLES = np.random.default_rng(0).normal(size=(48, 8, 8, 2)).astype("float32")
TARGETS = np.arange(48) % CLASSES


def build():
    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(6, 3, activation="relu")(image)
    x = keras.layers.Conv2D(5, 3, activation="tanh")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(7, activation="relu")(x)
    return mk.ModularModel(image, keras.layers.Dense(CLASSES, dtype="float32")(x))


def train(model, **compile_arguments):
    model.compile(
        keras.optimizers.SGD(0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        modular_loss=mk.MODALoss(),
        **compile_arguments,
    )
    # Batches of 20, 20 and 8: an unknown batch size.
    return model.fit(SAMPLES, TARGETS, batch_size=20, epochs=3, shuffle=False, verbose=0).history


@pytest.mark.parametrize("eager", [False, True])
def test_fit_is_that_of_the_reference(monkeypatch, eager):
    history = train(build(), run_eagerly=eager)
    monkeypatch.setattr(native, "mode", lambda: "0")
    expected = train(build(), run_eagerly=eager)
    assert history.keys() == expected.keys()
    for name in history:
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-4, atol=1e-5)


def test_fit_compiled_by_xla_is_that_of_the_reference(automatic, monkeypatch):
    history = train(build(), jit_compile=True)
    assert "XLA compiles this graph" in mk.ops.native_status()
    monkeypatch.setattr(native, "mode", lambda: "0")
    expected = train(build())
    for name in history:
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_fit_in_mixed_precision_is_near_that_of_the_reference(monkeypatch, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        history = train(build())
        monkeypatch.setattr(native, "mode", lambda: "0")
        expected = train(build())
    finally:
        keras.config.set_dtype_policy(before)
    for name in ("loss", "affinity", "dispersion", "compactness"):
        np.testing.assert_allclose(history[name], expected[name], rtol=0.03, atol=0.01)


def test_model_trained_natively_saves_and_exports(tmp_path):
    model = build()
    train(model)
    expected = model.predict(SAMPLES, verbose=0)

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(SAMPLES, verbose=0), expected, rtol=1e-5)
    loaded.fit(SAMPLES, TARGETS, batch_size=16, verbose=0)

    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(exported.serve(SAMPLES), expected, rtol=1e-5, atol=1e-6)
    graph = exported.signatures["serving_default"].graph
    assert not [o for o in graph.get_operations() if "Moda" in o.type]


def test_decompose_counts_natively(monkeypatch):
    model = build()
    modules = mk.decompose(model, SAMPLES, TARGETS)
    monkeypatch.setattr(native, "mode", lambda: "0")
    expected = mk.decompose(model, SAMPLES, TARGETS)
    for name, frequency in expected.frequency.items():
        np.testing.assert_array_equal(modules.frequency[name], frequency)


def test_mirrored_replicas_compute_natively():
    activation, axis = draw("channels_last")
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])

    @tf.function
    def step():
        return strategy.run(
            lambda: gradient_of(
                lambda x: mk.MODALoss()([x], LABELS % CLASSES, CLASSES, axes=[axis]), activation
            )
        )

    expected = gradient_of(
        lambda x: mk.MODALoss()([x], LABELS % CLASSES, CLASSES, axes=[axis]), activation
    )
    np.testing.assert_allclose(step(), expected)


def test_strategy_over_other_machines_goes_to_the_reference(automatic, monkeypatch):
    class Elsewhere:
        pass

    monkeypatch.setattr(tf.distribute, "has_strategy", lambda: True)
    monkeypatch.setattr(tf.distribute, "get_strategy", Elsewhere)
    assert tensorflow_native.reason_against([], []) == "they do not run under Elsewhere"
