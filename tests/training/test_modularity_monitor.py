import csv
import importlib.util

import keras
import numpy as np
import pytest
from keras import layers
from small_models import mlp

import moda_keras as mk
from moda_keras.observing.activation_observer import ActivationObserver

OBJECTIVES = mk.MODALoss.objective_names

CLASSES, SAMPLES = 3, 60
NAMES = ["first", "second"]
FIGURES = [
    *(f"{objective}/{name}" for objective in OBJECTIVES for name in NAMES),
    "modules/size",
    "modules/overlap",
]


def data(samples=SAMPLES, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(samples) % CLASSES)
    return rng.normal(size=(samples, 4)).astype("float32") + y[:, None], y


def compiled(model, **arguments):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"], **arguments)
    return model


def with_randomness():
    """A model that draws random numbers and has state beside its weights."""
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, name="hidden"),
            layers.BatchNormalization(),
            layers.ReLU(name="first"),
            layers.Dropout(0.3),
            layers.Dense(5, activation="gelu", name="second"),
            layers.Dense(CLASSES, name="logits"),
        ]
    )
    return compiled(mk.ModularModel.from_model(model), modular_loss=mk.MODALoss())


def fit(model, *callbacks, epochs=3, **arguments):
    x, y = data()
    return model.fit(
        x, y, epochs=epochs, batch_size=16, verbose=0, callbacks=list(callbacks), **arguments
    )


def monitor(**arguments):
    return mk.callbacks.ModularityMonitor(*data(), **{"samples_per_class": 8, **arguments})


def drawn(per_class, seed=0):
    """What the monitor draws: of every class the first in a random order, by index."""
    x, y = data()
    random, chosen = np.random.default_rng(seed), []
    for label in range(CLASSES):
        rows = [index for index in range(len(y)) if y[index] == label]
        chosen += [rows[place] for place in random.permutation(len(rows))[:per_class]]
    return x[sorted(chosen)], y[sorted(chosen)]


def expected_figures(model, x, y, threshold, loss):
    modules = mk.decompose(model, x, y, threshold=threshold, verbose=0)
    hidden = mk.find_hidden_activations(model)
    read = keras.Model(model.inputs, [each.tensor for each in hidden])
    figures = {
        "modules/size": np.nanmean(mk.metrics.module_size(modules)),
        "modules/overlap": mk.metrics.mean_overlap(modules),
    }
    for each, values in zip(hidden, read.predict_on_batch(x), strict=True):
        for objective, value in loss.objectives([values], y, CLASSES).items():
            figures[f"{objective}/{each.name}"] = float(value)
    return figures


def weights(model):
    """All that training changes, the state of the dropout's random numbers too."""
    values = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(value) for value in values]


# ------------------------------------------------------------------------------------ figures


@pytest.mark.parametrize(
    ("batch_size", "loss", "activation"),
    [
        (128, None, "relu"),
        (7, mk.MODALoss(alpha=0.0, averaging="pair", compactness="norm"), "relu"),
        (7, None, "gelu"),
    ],
)
def test_figures_are_those_of_decompose_and_the_objectives(batch_size, loss, activation):
    model = compiled(mlp(activation=activation))
    asked = {"batch_size": batch_size, "modular_loss": loss, "threshold": 0.6, "seed": 3}
    history = fit(model, monitor(**asked), epochs=2).history
    expected = expected_figures(model, *drawn(8, seed=3), 0.6, loss or mk.MODALoss())
    assert set(expected) == set(FIGURES) == set(history) - {"loss", "accuracy"}
    for name, value in expected.items():
        assert history[name][-1] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    assert history["modules/size"][-1] < 1
    assert history["compactness/first"][0] != history["compactness/first"][1]


def test_figures_of_an_epoch_do_not_add_up(monkeypatch):
    """Before 3.15, Keras's `test_on_batch` does not reset the metrics."""

    def without_reset(self, x, y, sample_weight=None):
        self.update_metric(y, self(x), sample_weight)

    monkeypatch.setattr(ActivationObserver, "test_on_batch", without_reset)
    model = compiled(mlp())
    history = fit(model, monitor(batch_size=7, threshold=0.6, seed=3), epochs=2).history
    expected = expected_figures(model, *drawn(8, seed=3), 0.6, mk.MODALoss())
    for name, value in expected.items():
        assert history[name][-1] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def test_one_hot_labels_a_threshold_each_and_all_samples_where_there_are_no_more():
    x, y = data()
    threshold = {"first": 0.3, "second": 0.8}
    watch = mk.callbacks.ModularityMonitor(
        x, np.eye(CLASSES)[y], samples_per_class=1000, threshold=threshold, objectives=False
    )
    model = compiled(mlp())
    history = fit(model, watch, epochs=1).history
    assert set(history) == {"loss", "accuracy", "modules/size", "modules/overlap"}
    modules = mk.decompose(model, x, y, threshold=threshold, verbose=0)
    assert history["modules/size"] == pytest.approx([np.mean(mk.metrics.module_size(modules))])
    assert history["modules/overlap"] == pytest.approx([mk.metrics.mean_overlap(modules)])


# -------------------------------------------------------------------------- training as without


def test_training_is_as_without_the_monitor():
    trained, histories = [], []
    for callbacks in ([], [monitor(batch_size=5)]):
        model = with_randomness()
        histories.append(fit(model, *callbacks, epochs=2).history)
        trained.append(weights(model))
    assert len(trained[0]) > 11  # those of the optimizer, too
    for without, watched in zip(*trained, strict=True):
        np.testing.assert_array_equal(watched, without)
    assert {name: histories[1][name] for name in histories[0]} == histories[0]
    assert set(histories[1]) - set(histories[0]) == set(FIGURES)


def test_one_monitor_watches_several_trainings():
    watch = monitor()
    fit(compiled(mlp()), watch, epochs=1)
    model = compiled(mlp(activation="elu"))
    history = fit(model, watch, epochs=1).history
    expected = expected_figures(model, *drawn(8), 0.9, mk.MODALoss())
    assert history["affinity/first"] == pytest.approx([expected["affinity/first"]], rel=1e-5)
    sample = watch._sample
    fit(model, watch, epochs=1)
    assert watch._sample is sample, "its step would be compiled again"


# -------------------------------------------------------------------------- epochs and loggers


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """The history and the folder of a training with every logger behind the monitor."""
    folder = tmp_path_factory.mktemp("logged")
    loggers = [keras.callbacks.CSVLogger(folder / "log.csv")]
    if importlib.util.find_spec("tensorflow") and importlib.util.find_spec("tensorboard"):
        loggers.append(keras.callbacks.TensorBoard(folder))
    return fit(compiled(mlp()), monitor(every=3), *loggers, epochs=6).history, folder


def test_first_every_nth_and_last_epoch_are_measured(logged):
    for name in FIGURES:
        assert np.isfinite(logged[0][name]).tolist() == [True, False, False, True, False, True]


def test_csv_logger_writes_the_figures(logged):
    history, folder = logged
    with open(folder / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for name in FIGURES:
        written = [float(row[name]) for row in rows]
        np.testing.assert_allclose(written, history[name], rtol=1e-6)


def test_tensorboard_writes_the_figures(logged):
    pytest.importorskip("tensorflow")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    history, folder = logged
    events = EventAccumulator(str(folder / "train"), size_guidance={"tensors": 0}).Reload()
    for name in FIGURES:
        written = events.Tensors(f"epoch_{name}")
        assert [event.step for event in written] == list(range(6))
        values = [float(tensor_util.make_ndarray(event.tensor_proto)) for event in written]
        np.testing.assert_allclose(values, history[name], rtol=1e-6)


def test_progress_bar_listed_first_shows_no_figures(capsys):
    x, y = data()
    model = compiled(mlp())
    model.fit(x, y, verbose=2, callbacks=[keras.callbacks.ProgbarLogger(), monitor()])
    printed = capsys.readouterr().out
    assert "accuracy" in printed
    assert "affinity" not in printed


# ------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_activations_that_are_not_finite_are_nan_in_the_logs(activation):
    model = compiled(mlp(activation=activation))
    model.layers[0].set_weights([np.full((4, 6), np.nan), np.zeros(6)])
    history = fit(model, monitor(), epochs=1).history
    assert all(np.isnan(history[name]).all() for name in FIGURES)


def test_absent_class_is_left_out_with_a_warning():
    x, y = data()
    watch = mk.callbacks.ModularityMonitor(x[y < 2], y[y < 2], threshold=0.5)
    with pytest.warns(UserWarning, match=r"no sample of the classes \[2\]"):
        history = fit(compiled(mlp()), watch, epochs=1).history
    assert all(np.isfinite(history[name]).all() for name in FIGURES)


@pytest.mark.parametrize("name", ["every", "samples_per_class", "batch_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_impossible_numbers(name, value):
    with pytest.raises(ValueError, match=f"`{name}` to be a positive int"):
        monitor(**{name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.full(SAMPLES, CLASSES)}, "labels from 0 to 2"),
        ({"y": np.zeros(3, int)}, "one sample for each label"),
        ({"x": np.zeros((0, 4)), "y": np.zeros(0, int)}, "at least one sample"),
        ({"y": None}, "Expected labels"),
        ({"threshold": 1.5}, r"`threshold` in \[0, 1\]"),
        ({"threshold": {"first": 0.5}}, r"without \['second'\]"),
        ({"epsilon": {"third": 0.1}}, "Unknown activation"),
        ({"epsilon": "median"}, '`epsilon` to be "auto"'),
    ],
)
def test_wrong_arguments_are_told_before_training(change, message):
    x, y = data()
    model = compiled(mlp())
    before = weights(model)
    with pytest.raises(ValueError, match=message):
        fit(model, mk.callbacks.ModularityMonitor(**{"x": x, "y": y, **change}))
    assert all((a == b).all() for a, b in zip(before, weights(model), strict=False))


def test_model_without_a_graph():
    class Subclass(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(CLASSES)

        def call(self, x, training=None):
            return self.dense(x + 1.0 if training else x)

    with pytest.raises(ValueError, match=r"something else in training|was never called"):
        fit(compiled(Subclass()), monitor())
