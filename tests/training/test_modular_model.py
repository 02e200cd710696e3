import pickle

import keras
import numpy as np
import oracles
import pytest
from keras import layers

import moda_keras as mk
from moda_keras.graph import keep_whole
from moda_keras.layers import ModularActivation

BACKEND = keras.backend.backend()
OBJECTIVES = ("affinity", "dispersion", "compactness")
CLASSES, FEATURES = 3, 6

needs_xla = pytest.mark.skipif(BACKEND == "torch", reason="torch.compile takes minutes")

slow_on_jax = pytest.mark.skipif(BACKEND == "jax", reason="every shape and dtype compiles anew")


def make_data(samples=48, seed=0):
    rng = np.random.default_rng(seed)
    y = (np.arange(samples) % CLASSES).astype("int32")
    centers = np.random.default_rng(9).normal(size=(CLASSES, FEATURES))
    x = centers[y] + 0.5 * rng.normal(size=(samples, FEATURES))
    return x.astype("float32"), y


X, Y = make_data()
X_BATCH, Y_BATCH = X[:16], Y[:16]


def make_layers():
    return [
        layers.Dense(8, activation="relu", name="first"),
        layers.Dense(7, activation="tanh", name="second"),
        layers.Dense(CLASSES, name="logits"),
    ]


def plain_model(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((FEATURES,)), *make_layers()], name="plain")


def modular_model(seed=0):
    return mk.ModularModel.from_model(plain_model(seed))


# Steps are eager and batches of 16 where nothing else is said: TensorFlow and JAX take seconds to
# compile each model, and JAX each operation on a new shape.
def compile_model(model, modular_loss="default", optimizer=None, run_eagerly=True, **kwargs):
    model.compile(
        optimizer or keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        modular_loss=mk.MODALoss() if modular_loss == "default" else modular_loss,
        run_eagerly=run_eagerly,
        **kwargs,
    )
    return model


def compiled_model(seed=0, **kwargs):
    return compile_model(modular_model(seed), **kwargs)


def fit(model, x=X, y=Y, **kwargs):
    arguments = {"epochs": 1, "batch_size": 16, "verbose": 0, "shuffle": False, **kwargs}
    return model.fit(x, y, **arguments).history


def evaluate(model, x=X_BATCH, y=Y_BATCH, **kwargs):
    return model.evaluate(x, y, verbose=0, return_dict=True, **{"batch_size": 64, **kwargs})


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def weights_of(model):
    return [w.copy() for w in model.get_weights()]


def assert_same_weights(first, second, rtol=1e-5, atol=1e-6):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def activations_of(model, x):
    probe = keras.Model(model.input, [h.tensor for h in model.hidden_activations])
    return [to_numpy(a) for a in keras.tree.flatten(probe(x))]


def expected_objectives(model, x=X_BATCH, y=Y_BATCH, **kwargs):
    """What one batch should log, from the model's own activations."""
    return oracles.objectives(activations_of(model, x), y, CLASSES, **kwargs)


def assert_logs(logs, expected, rel=1e-4):
    assert {name: logs[name] for name in OBJECTIVES} == pytest.approx(expected, rel=rel, abs=1e-5)


# ------------------------------------------------------------------------------- what is logged


def test_history_has_the_objectives_and_those_of_validation():
    history = fit(compiled_model(), validation_data=make_data(16, seed=1))
    names = {"loss", "task_loss", "accuracy", *OBJECTIVES}
    assert set(history) == names | {f"val_{name}" for name in names}
    assert np.isfinite([value for values in history.values() for value in values]).all()


def test_validation_split():
    history = fit(compiled_model(), validation_split=1 / 3)
    assert {f"val_{name}" for name in OBJECTIVES} <= set(history)


@pytest.mark.parametrize(
    ("averaging", "compactness"), [("class", "unit"), ("pair", "unit"), ("class", "norm")]
)
def test_logged_values_are_the_objectives_of_the_activations(averaging, compactness):
    loss = mk.MODALoss(0.5, 2.0, 0.7, averaging=averaging, compactness=compactness)
    model = compiled_model(modular_loss=loss)
    logs = evaluate(model)

    expected = expected_objectives(model, averaging=averaging, form=compactness)
    assert_logs(logs, expected)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    task_loss = float(to_numpy(cross_entropy(Y_BATCH, model(X_BATCH))))
    assert logs["task_loss"] == pytest.approx(task_loss, rel=1e-4)
    weighted = 0.5 * expected["affinity"] + 2 * expected["dispersion"]
    weighted += 0.7 * expected["compactness"]
    assert logs["loss"] == pytest.approx(task_loss + weighted, rel=1e-4)


@slow_on_jax
def test_logged_values_of_an_epoch_are_means_weighted_by_batch_size():
    model = compiled_model()
    whole = evaluate(model, X[:20], Y[:20], batch_size=16)
    first = evaluate(model)
    rest = evaluate(model, X[16:20], Y[16:20])
    for name in ("loss", "task_loss", *OBJECTIVES):
        assert whole[name] == pytest.approx(0.8 * first[name] + 0.2 * rest[name], rel=1e-4)


def test_single_batches_are_logged_too():
    model = compiled_model()
    expected = expected_objectives(model)
    assert_logs(model.test_on_batch(X_BATCH, Y_BATCH, return_dict=True), expected)

    before = weights_of(model)
    trained = model.train_on_batch(X_BATCH, Y_BATCH, return_dict=True)
    assert set(trained) == {"loss", "task_loss", "accuracy", *OBJECTIVES}
    assert_logs(trained, expected)
    assert any((a != b).any() for a, b in zip(before, weights_of(model), strict=True))


def test_penalties_of_layers_count_as_task_loss():
    inputs = keras.Input((FEATURES,))
    x = layers.Dense(8, activation="relu", activity_regularizer=keras.regularizers.L2(0.1))(inputs)
    outputs = layers.Dense(CLASSES, kernel_regularizer=keras.regularizers.L2(0.1))(x)
    modular = compile_model(mk.ModularModel(inputs, outputs))
    logs = evaluate(modular)
    expected = expected_objectives(modular)
    weighted = expected["affinity"] + expected["dispersion"] + 0.3 * expected["compactness"]
    plain = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(loss=loss, run_eagerly=True)
    assert logs["task_loss"] == pytest.approx(evaluate(plain)["loss"], rel=1e-4)
    assert logs["loss"] == pytest.approx(logs["task_loss"] + weighted, rel=1e-4)


def test_fit_lowers_affinity_and_dispersion():
    model = compiled_model(optimizer=keras.optimizers.Adam(0.02), run_eagerly=False)
    before = evaluate(model)
    fit(model, epochs=12)
    after = evaluate(model)
    assert after["affinity"] < 0.8 * before["affinity"]
    assert after["dispersion"] < 0.8 * before["dispersion"]
    assert after["task_loss"] < before["task_loss"]


# --------------------------------------------------------------------------- as keras.Model does


def mixed_model():
    """A model with dropout and batch normalisation, inside a nested model."""
    keras.utils.set_random_seed(3)
    inner = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(8),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.3, seed=5),
        ]
    )
    inputs = keras.Input((FEATURES,))
    return keras.Model(inputs, layers.Dense(CLASSES)(inner(inputs)))


@pytest.mark.parametrize(
    ("weight", "run_eagerly"), [(None, False), pytest.param(0.0, True, marks=slow_on_jax)]
)
def test_trains_exactly_as_a_plain_model(weight, run_eagerly):
    """Without a modular loss, and with one that weighs nothing."""
    plain, modular = mixed_model(), mk.ModularModel.from_model(mixed_model())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"], run_eagerly=run_eagerly)
    modular_loss = None if weight is None else mk.MODALoss(weight, weight, weight)
    compile_model(modular, modular_loss, run_eagerly=run_eagerly)

    plain_history, history = fit(plain), fit(modular)

    assert_same_weights(weights_of(plain), weights_of(modular))
    assert history["loss"] == pytest.approx(plain_history["loss"], rel=1e-5)
    assert (set(history) == set(plain_history)) == (weight is None)


def test_compiling_again_without_modular_loss_ends_it():
    model = compiled_model()
    fit(model)
    compile_model(model, modular_loss=None)
    assert set(fit(model)) == {"loss", "accuracy"}


def test_predict_and_call_have_no_side_outputs_after_fit():
    model = compiled_model()
    fit(model)
    assert model.predict(X, verbose=0).shape == (48, CLASSES)
    assert model(X).shape == (48, CLASSES)
    assert len(model.outputs) == 1
    assert model.predict_on_batch(X).shape == (48, CLASSES)


def test_callbacks_monitor_the_objectives(tmp_path):
    model = compiled_model(optimizer=keras.optimizers.SGD(0.0))
    path = tmp_path / "best.keras"
    history = fit(
        model,
        epochs=4,
        validation_data=(X_BATCH, Y_BATCH),
        callbacks=[
            keras.callbacks.EarlyStopping("val_dispersion", mode="min", patience=1, min_delta=1e-3),
            keras.callbacks.ModelCheckpoint(path, monitor="val_affinity", mode="min"),
        ],
    )
    assert len(history["loss"]) == 2
    restored = keras.saving.load_model(path)
    assert isinstance(restored, mk.ModularModel)


@needs_xla
def test_several_steps_per_execution():
    single = compiled_model()
    several = compiled_model(steps_per_execution=2, run_eagerly=False)
    history, several_history = fit(single), fit(several)
    assert_same_weights(weights_of(single), weights_of(several))
    for name in ("loss", *OBJECTIVES):
        assert several_history[name] == pytest.approx(history[name], rel=1e-4)


def test_gradient_accumulation():
    optimizer = keras.optimizers.Adam(0.01, gradient_accumulation_steps=3)
    model = compiled_model(optimizer=optimizer)
    before = weights_of(model)
    fit(model, X[:32], Y[:32])
    assert_same_weights(before, weights_of(model), rtol=0, atol=0)
    fit(model, X[:16], Y[:16])
    assert any((a != b).any() for a, b in zip(before, weights_of(model), strict=True))


@needs_xla
def test_compiled_and_eager_steps_agree():
    compiled = compiled_model(jit_compile=True, run_eagerly=False)
    plain = compiled_model(jit_compile=False, run_eagerly=False)
    eager = compiled_model(run_eagerly=True)
    validation = {"validation_data": (X[:16], Y[:16])}
    histories = [fit(model, X[:32], Y[:32], **validation) for model in (compiled, plain, eager)]
    for history in histories[1:]:
        for name in ("loss", *OBJECTIVES, *(f"val_{n}" for n in OBJECTIVES)):
            assert history[name] == pytest.approx(histories[0][name], rel=1e-4)
    assert_same_weights(weights_of(compiled), weights_of(eager), rtol=1e-4)


@pytest.mark.parametrize(
    "policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=slow_on_jax)]
)
def test_mixed_precision(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = compiled_model(run_eagerly=False, modular_loss=mk.MODALoss(warmup=None))
    finally:
        keras.config.set_dtype_policy(before)
    half = policy.removeprefix("mixed_")
    assert keras.backend.standardize_dtype(model(X_BATCH).dtype) == half

    expected = expected_objectives(model)
    logs = [model.train_on_batch(X_BATCH, Y_BATCH, return_dict=True) for _ in range(6)]
    assert_logs(logs[0], expected, rel=0.02)
    # Each is the mean of the batches so far.
    losses = [log["loss"] for log in logs]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


# -------------------------------------------------------------------------------- labels, weights


def test_one_hot_labels_train_as_sparse_ones():
    sparse, one_hot = modular_model(), modular_model()
    compile_model(sparse)
    one_hot.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        modular_loss=mk.MODALoss(),
        run_eagerly=True,
    )
    first = fit(sparse)
    second = fit(one_hot, y=np.eye(CLASSES, dtype="float32")[Y])
    for name in ("loss", *OBJECTIVES):
        assert second[name] == pytest.approx(first[name], rel=1e-4)
    assert_same_weights(weights_of(sparse), weights_of(one_hot))


@pytest.mark.parametrize("column", [False, True])
def test_samples_of_weight_zero_are_in_no_class(column):
    model = compiled_model()
    weight = np.where(Y_BATCH == 1, 0.0, 2.0).astype("float32")
    y = Y_BATCH[:, None] if column else Y_BATCH
    logs = evaluate(model, y=y, sample_weight=weight)
    assert_logs(logs, expected_objectives(model, sample_weight=weight))


def test_classes_of_weight_zero_take_no_part_in_training():
    model = compiled_model()
    expected = expected_objectives(model, sample_weight=Y_BATCH != 1)
    class_weight = {0: 1.0, 1: 0.0, 2: 1.0}
    logs = model.train_on_batch(X_BATCH, Y_BATCH, class_weight=class_weight, return_dict=True)
    assert_logs(logs, expected)


@pytest.mark.parametrize("label", [CLASSES, -1])
@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_label_out_of_range_is_found_before_any_weight_changes(method, label):
    model = compiled_model()
    before = weights_of(model)
    wrong = Y.copy()
    wrong[-1] = label
    with pytest.raises(ValueError, match=r"labels from 0 to 2.*Received: labels from"):
        getattr(model, method)(X, wrong)
    assert_same_weights(before, weights_of(model), rtol=0, atol=0)


def test_one_hot_labels_of_other_width_are_named():
    with pytest.raises(ValueError, match=r"\(batch, 3\). Received: labels of shape \(48, 5\)"):
        fit(compiled_model(), y=np.eye(5)[Y])


# ----------------------------------------------------------------------------------------- data


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(16 * index, 16 * (index + 1))
        return X[part], Y[part]


def generator():
    batches = Batches()
    while True:
        yield from (batches[i] for i in range(3))


def native_dataset():
    if BACKEND == "torch":
        import torch

        dataset = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
        return torch.utils.data.DataLoader(dataset, batch_size=16)
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)


@pytest.mark.parametrize(
    "data",
    [
        Batches,
        generator,
        pytest.param(
            native_dataset, marks=pytest.mark.skipif(BACKEND == "jax", reason="JAX has none")
        ),
    ],
)
def test_any_data_that_fit_takes(data):
    arrays, other = compiled_model(), compiled_model()
    expected = fit(arrays)
    steps = {"steps_per_epoch": 3} if data is generator else {}
    history = other.fit(data(), verbose=0, shuffle=False, **steps).history
    for name in ("loss", *OBJECTIVES):
        assert history[name] == pytest.approx(expected[name], rel=1e-4)
    assert_same_weights(weights_of(arrays), weights_of(other))


# --------------------------------------------------------------------------- saving, exporting


def test_training_goes_on_after_loading_as_if_uninterrupted(tmp_path):
    loss = mk.MODALoss(0.5, 0.6, 0.7, averaging="pair", compactness="norm")
    model = compiled_model(modular_loss=loss)
    fit(model)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")

    assert type(restored) is type(model)
    assert restored._modular.loss.get_config() == loss.get_config()
    assert_same_weights(weights_of(model), weights_of(restored), rtol=0, atol=0)
    state, restored_state = (
        [to_numpy(v) for v in m.optimizer.variables] for m in (model, restored)
    )
    assert_same_weights(state, restored_state, rtol=0, atol=0)

    expected, history = fit(model), fit(restored)
    assert set(history) == set(expected)
    for name in ("loss", *OBJECTIVES):
        assert history[name] == pytest.approx(expected[name], rel=1e-5)
    assert_same_weights(weights_of(model), weights_of(restored))


def test_model_without_modular_loss_and_uncompiled_model_load(tmp_path):
    compile_model(modular_model(), modular_loss=None).save(tmp_path / "plain.keras")
    assert set(evaluate(keras.saving.load_model(tmp_path / "plain.keras"))) == {"loss", "accuracy"}
    modular_model().save(tmp_path / "uncompiled.keras")
    assert not keras.saving.load_model(tmp_path / "uncompiled.keras").compiled


def test_pickled_model_predicts_the_same():
    model = modular_model()
    restored = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(to_numpy(restored(X)), to_numpy(model(X)), rtol=1e-6)


def test_clone_is_a_modular_model_that_trains():
    clone = keras.models.clone_model(modular_model())
    assert isinstance(clone, mk.ModularModel)
    assert [h.name for h in clone.hidden_activations] == ["first", "second"]
    assert set(OBJECTIVES) <= set(fit(compile_model(clone)))


def test_config_round_trip_and_summary():
    model = modular_model()
    restored = mk.ModularModel.from_config(model.get_config())
    assert isinstance(restored, mk.ModularModel)
    assert [(h.name, h.units) for h in restored.hidden_activations] == [("first", 8), ("second", 7)]
    lines = []
    model.summary(print_fn=lines.append)
    assert "logits" in "\n".join(lines)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="needs packages beside the backend")
def test_exported_model_puts_out_classes_alone(tmp_path):
    import tensorflow as tf

    model = compiled_model()
    fit(model)
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    served = loaded.serve(X)
    np.testing.assert_allclose(served.numpy(), to_numpy(model(X)), rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(BACKEND != "torch", reason="PyTorch's own format")
def test_exported_program_puts_out_classes_alone(tmp_path):
    import torch

    model = compiled_model()
    fit(model)
    model.export(tmp_path / "model.pt2", format="torch", verbose=False)
    program = torch.export.load(tmp_path / "model.pt2").module()
    # Keras exports for batches of one.
    (served,) = keras.tree.flatten(program(torch.from_numpy(X[:1])))
    np.testing.assert_allclose(to_numpy(served), to_numpy(model(X[:1])), rtol=1e-5, atol=1e-6)


# ----------------------------------------------------------------------------- ways to get one


def test_from_model_shares_layers_and_keeps_the_name():
    plain = plain_model()
    functional = keras.Model(plain.inputs, plain.outputs, name="functional")
    for model in (plain, functional):
        modular = mk.ModularModel.from_model(model)
        assert modular.name == model.name
        assert {id(w) for w in modular.weights} == {id(w) for w in model.weights}
    before = weights_of(plain)
    fit(compile_model(modular))
    assert any((a != b).any() for a, b in zip(before, weights_of(plain), strict=True))


def test_nested_models_are_inlined_and_their_activations_seen():
    inner = keras.Sequential(
        [keras.Input((FEATURES,)), layers.Dense(5, activation="relu", name="inside")]
    )
    inputs = keras.Input((FEATURES,))
    x = layers.Dense(4, activation="relu", name="outside")(inner(inputs))
    model = compile_model(mk.ModularModel(inputs, layers.Dense(CLASSES)(x)))

    assert [(h.name, h.units) for h in model.hidden_activations] == [("inside", 5), ("outside", 4)]
    inside = np.maximum(X_BATCH @ inner.get_weights()[0] + inner.get_weights()[1], 0)
    kernel, bias = model.get_layer("outside").get_weights()
    outside = np.maximum(inside @ kernel + bias, 0)
    assert_logs(evaluate(model), oracles.objectives([inside, outside], Y_BATCH, CLASSES))


def test_map_of_channels_first_is_observed_by_channel():
    inputs = keras.Input((2, 4, 5))
    x = layers.Permute((2, 3, 1))(inputs)
    x = layers.Dense(4)(x)
    x = layers.Permute((3, 1, 2))(x)
    x = layers.ReLU(name="maps")(x)
    model = mk.ModularModel(inputs, layers.Dense(CLASSES)(layers.Flatten()(x)))
    compile_model(model)
    (found,) = model.hidden_activations
    assert (found.units, found.channel_axis) == (4, 1)

    maps = np.random.default_rng(0).normal(size=(12, 2, 4, 5)).astype("float32")
    labels = Y[:12]
    expected = expected_objectives(model, maps, labels, axes=[1])
    assert_logs(evaluate(model, maps, labels), expected)


def make_classes():
    """Fresh classes, for Keras changes the bases of one on its first functional call."""

    class Functional(mk.ModularModel):
        def __init__(self, **kwargs):
            inputs = keras.Input((FEATURES,))
            x = layers.Dense(8, activation="relu", name="features")(inputs)
            super().__init__(inputs, layers.Dense(CLASSES)(x), **kwargs)

    class Subclassed(mk.ModularModel):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = layers.Dense(8)
            self.features = ModularActivation("relu")
            self.logits = layers.Dense(CLASSES)

        def call(self, inputs):
            return self.logits(self.features(self.dense(inputs)))

    class SubclassOfSubclass(Subclassed):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.scale = layers.Rescaling(2.0)

        def call(self, inputs):
            return super().call(self.scale(inputs))

    class SubclassOfFunctional(Functional):
        pass

    return {
        kind.__name__: kind
        for kind in (Functional, Subclassed, SubclassOfSubclass, SubclassOfFunctional)
    }


def features_of_subclass(model, x):
    kernel, bias = model.get_weights()[:2]
    scale = 2.0 if hasattr(model, "scale") else 1.0
    return np.maximum(scale * x @ kernel + bias, 0)


@pytest.mark.parametrize(
    ("order", "run_eagerly"),
    [
        (("Functional", "Subclassed"), False),
        (("Subclassed", "Functional"), True),
        (("SubclassOfSubclass", "Subclassed"), True),
        (("SubclassOfFunctional", "SubclassOfSubclass", "Functional"), True),
    ],
)
def test_subclasses_train_in_any_order(order, run_eagerly):
    kinds = make_classes()
    for name in order:
        model = compile_model(kinds[name](), run_eagerly=run_eagerly)
        history = fit(model, X[:32], Y[:32], validation_data=(X_BATCH, Y_BATCH))
        assert {*OBJECTIVES, *(f"val_{n}" for n in OBJECTIVES)} <= set(history), name
        features = features_of_subclass(model, X_BATCH)
        logs = {objective: history[f"val_{objective}"][0] for objective in OBJECTIVES}
        assert_logs(logs, oracles.objectives([features], Y_BATCH, CLASSES))
        assert model.predict(X, verbose=0).shape == (48, CLASSES)


@pytest.mark.parametrize("method", ["evaluate", "test_on_batch"])
def test_first_batch_of_an_unbuilt_subclass_counts_each_activation_once(method):
    class TwoUnequal(mk.ModularModel):
        def __init__(self):
            super().__init__()
            self.dense = [layers.Dense(8), layers.Dense(7), layers.Dense(CLASSES)]
            self.marks = [ModularActivation("relu"), ModularActivation("tanh")]

        def call(self, inputs):
            x = self.marks[0](self.dense[0](inputs))
            return self.dense[2](self.marks[1](self.dense[1](x)))

    model = compile_model(TwoUnequal())
    logs = getattr(model, method)(X_BATCH, Y_BATCH, return_dict=True)
    first = np.maximum(to_numpy(model.dense[0](X_BATCH)), 0)
    second = np.tanh(to_numpy(model.dense[1](first)))
    assert_logs(logs, oracles.objectives([first, second], Y_BATCH, CLASSES))


def test_subclass_without_marked_activation_says_what_to_add():
    class Unmarked(mk.ModularModel):
        def __init__(self):
            super().__init__()
            self.logits = layers.Dense(CLASSES)

        def call(self, inputs):
            return self.logits(inputs)

    model = compile_model(Unmarked())
    with pytest.raises(ValueError, match=r"`call` of Unmarked to apply .*ModularActivation"):
        fit(model)
    assert set(fit(compile_model(Unmarked(), modular_loss=None))) == {"loss", "accuracy"}


class Block(layers.Layer):
    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(5)
        self.nonlinearity = activation

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, inputs):
        return self.nonlinearity(self.dense(inputs))


class Hiding(Block):
    """Is not seen through."""


keep_whole(Hiding)


def model_with(block):
    inputs = keras.Input((FEATURES,))
    x = layers.Dense(4, activation="relu", name="before")(inputs)
    return mk.ModularModel(inputs, layers.Dense(CLASSES)(block(x)))


def test_subclassed_layer_that_hides_activations_is_named_in_a_warning():
    with pytest.warns(UserWarning, match=r"cannot see .*\['hiding'\].*ModularActivation"):
        model = model_with(Hiding(layers.ReLU(), name="hiding"))
    assert [h.name for h in model.hidden_activations] == ["before"]


@pytest.mark.filterwarnings("error::UserWarning:moda_keras")
@pytest.mark.parametrize("kind", [Block, Hiding])
def test_marked_activation_inside_a_subclassed_layer_counts(kind):
    block = kind(ModularActivation("relu"), name="marking")
    model = compile_model(model_with(block))
    logs = evaluate(model)
    before = to_numpy(keras.Model(model.input, model.get_layer("before").output)(X_BATCH))
    inside = to_numpy(block(before))
    # Seen in the graph, the marked one alone counts; hidden, what the graph shows does too.
    counted = [inside] if kind is Block else [before, inside]
    assert_logs(logs, oracles.objectives(counted, Y_BATCH, CLASSES))


@pytest.mark.parametrize("kind", [Block, Hiding])
def test_marked_activations_in_the_graph_and_inside_a_layer_count_once_each(kind):
    inputs = keras.Input((FEATURES,))
    x = ModularActivation("relu", name="in_graph")(layers.Dense(8)(inputs))
    block = kind(ModularActivation("relu"))
    model = compile_model(mk.ModularModel(inputs, layers.Dense(CLASSES)(block(x))))
    logs = evaluate(model)
    in_graph = to_numpy(keras.Model(model.input, model.get_layer("in_graph").output)(X_BATCH))
    inside = to_numpy(block(in_graph))
    assert_logs(logs, oracles.objectives([in_graph, inside], Y_BATCH, CLASSES))


def test_model_without_hidden_activation_is_refused():
    inputs = keras.Input((FEATURES,))
    with pytest.raises(ValueError, match=r"at least one hidden activation.*Received"):
        mk.ModularModel(inputs, layers.Dense(CLASSES, activation="softmax")(inputs))


def test_model_whose_only_activations_are_hidden_in_a_layer_names_it():
    inputs = keras.Input((FEATURES,))
    x = Hiding(layers.ReLU(), name="hiding")(inputs)
    with pytest.raises(ValueError, match=r"inside the layers \['hiding'\] are not visible"):
        mk.ModularModel(inputs, layers.Dense(CLASSES)(x))


def test_model_with_several_outputs_is_refused():
    inputs = keras.Input((FEATURES,))
    x = layers.Dense(5, activation="relu")(inputs)
    with pytest.raises(ValueError, match=r"one output.*Received: model .* with 2 outputs"):
        mk.ModularModel(inputs, [layers.Dense(CLASSES)(x), layers.Dense(2)(x)])


def test_subclassed_and_unbuilt_models_are_refused():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="was never called"):
        mk.ModularModel.from_model(Subclassed())
    with pytest.raises(ValueError, match="not built yet"):
        mk.ModularModel.from_model(keras.Sequential([layers.Dense(3)]))


@pytest.mark.parametrize("wrong", ["moda", 1.0, keras.losses.MeanSquaredError()])
def test_modular_loss_of_wrong_type_is_named(wrong):
    with pytest.raises(
        ValueError,
        match="`modular_loss` to be a `ModularLoss`, such as",
    ):
        modular_model().compile("sgd", "mse", modular_loss=wrong)


def test_model_with_one_named_output_trains():
    inputs = keras.Input((4,))
    x = layers.Dense(5, activation="relu")(inputs)
    model = mk.ModularModel(inputs, {"scores": layers.Dense(3)(x)})
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, modular_loss=mk.MODALoss())
    x, y = np.ones((6, 4), "float32"), np.arange(6) % 3
    for labels in (y, {"scores": y}):
        assert set(OBJECTIVES) <= set(model.fit(x, labels, verbose=0).history)


def test_wrong_arguments_are_named():
    model = modular_model()
    with pytest.raises(ValueError, match=r"Use `ModularModel.from_model\(model\)`"):
        mk.ModularModel(model)
    with pytest.raises(ValueError, match="which goes into `compile"):
        model.compile("sgd", loss=mk.MODALoss())
    with pytest.raises(ValueError, match="such as `MODALoss"):
        model.compile("sgd", "mse", modular_loss=mk.MODALoss)
    with pytest.raises(ValueError, match="HDF5 file cannot hold the modular loss"):
        model.save("model.h5")


def test_repr_has_the_public_name():
    assert repr(modular_model()).startswith("<ModularModel name=")


@pytest.mark.parametrize(("warmup", "factor"), [("accuracy", 1 / 3), (None, 1.0)])
def test_training_loss_has_the_objectives_times_the_factor(warmup, factor):
    inputs = keras.Input((4,))
    x = layers.Dense(4, activation="relu", kernel_initializer="identity")(inputs)
    model = mk.ModularModel(inputs, layers.Dense(3, kernel_initializer="zeros")(x))
    model.layers[-1].bias.assign([1.0, 0.0, 0.0])  # always says class 0
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, modular_loss=mk.MODALoss(warmup=warmup))
    x = np.random.default_rng(0).uniform(size=(6, 4)).astype("float32")
    y = np.array([0, 0, 0, 0, 1, 2])  # two thirds are right; guessing a third
    logs = model.fit(x, y, batch_size=6, validation_data=(x, y), verbose=0).history
    modular = logs["affinity"][0] + logs["dispersion"][0] + 0.3 * logs["compactness"][0]
    assert logs["loss"][0] == pytest.approx(logs["task_loss"][0] + factor * modular, rel=1e-5)
    assert logs["val_loss"][0] == pytest.approx(logs["task_loss"][0] + modular, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_two_classes_in_batches_of_one_and_two_samples(batch_size):
    inputs = keras.Input((2,))
    x = layers.Dense(3, activation="relu")(inputs)
    model = compile_model(mk.ModularModel(inputs, layers.Dense(2)(x)))
    x = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")
    logs = model.fit(x, np.array([0, 1, 0, 1, 1]), batch_size=batch_size, epochs=2, verbose=0)
    assert all(np.isfinite(values).all() for values in logs.history.values())
    assert all(np.isfinite(keras.ops.convert_to_numpy(w)).all() for w in model.weights)
