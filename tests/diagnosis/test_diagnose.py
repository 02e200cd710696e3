"""Every sign: modules that have it, and modules that do not."""

import csv
import dataclasses

import keras
import numpy as np
import pytest
from keras import layers
from small_models import inputs_of, mlp, random_modules

import moda_keras as mk
from moda_keras.diagnosis import CHECKS, diagnose, evidence, gather_evidence, needed_samples
from moda_keras.training.modular_loss import ModularLoss
from moda_keras.tuning import threshold_curve

SAMPLES = 200


def modules_of(first, second=None, samples=SAMPLES, threshold=0.9, names=None, **options):
    """Modules of an `mlp` (6 and 5 units) from frequencies, three classes."""
    samples = np.broadcast_to(samples, (3,)).copy()
    second = np.eye(3, 5) if second is None else second
    counts = {
        name: np.round(np.array(table) * samples[:, None]).astype(int)
        for name, table in (("first", first), ("second", second))
    }
    return mk.ModuleSet.from_counts(
        options.pop("model", None) or mlp(), counts, samples,
        threshold=threshold, class_names=names, **options,
    )  # fmt: skip


# Two units for each class, and no others.
APART = np.repeat(np.eye(3), 2, axis=1)


def signs(modules, *data, **options):
    return [finding.sign for finding in modules.diagnose(*data, **options)]


def finding(modules, sign, *data, **options):
    (found,) = [f for f in modules.diagnose(*data, **options) if f.sign == sign]
    return found


def test_modules_without_any_sign():
    assert modules_of(APART).diagnose() == []


def test_findings_are_records_that_do_not_change():
    found = finding(modules_of(np.ones((3, 6))), "overlap")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.sign = "other"
    assert found.figures["limit"] == 0.2
    assert found.message
    assert found.remedy


def test_every_sign_has_a_check():
    assert {check.sign for check in CHECKS} == {
        "accuracy", "overlap", "objectives", "size", "samples", "collapse", "refill", "epsilon",
        "unseen",
    }  # fmt: skip


# ------------------------------------------------------------------------------------- accuracy


def pixel_model():
    """Class c lights pixel c; for class 0 a second unit decides."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, activation="relu", name="features"),
            layers.Dense(3, name="logits"),
        ]
    )
    read = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]], "float32")
    write = np.array([[-2, 0, 0], [0, 3, 0], [0, 0, 3], [9, 0, 0]], "float32")
    model.set_weights([read, np.zeros(4), write, np.zeros(3)])
    return model


# The unit that decides on class 0 is active for 80 % of its samples.
FREQUENCY = {"features": np.array([[1, 0, 0, 0.8], [0, 1, 0, 0], [0, 0, 1, 0]])}
X_TEST = np.repeat(np.eye(3, dtype="float32"), 4, axis=0)
Y_TEST = np.repeat(np.arange(3), 4)


def pixel_modules(threshold, frequency=FREQUENCY):
    counts = {name: np.round(table * 100).astype(int) for name, table in frequency.items()}
    return mk.ModuleSet.from_counts(
        pixel_model(), counts, np.full(3, 100),
        threshold=threshold, class_names=["zero", "one", "two"],
    )  # fmt: skip


def test_lost_accuracy_is_found_with_a_tau_that_serves():
    found = finding(pixel_modules(0.9), "accuracy", X_TEST, Y_TEST)
    assert found.severity == "problem"
    # Of the pairs, two have class 0, which then loses to both; of all three a third is lost.
    expected = np.mean([0.5, 0.5, 1, 2 / 3])
    assert found.figures["reuse_accuracy"] == pytest.approx(expected)
    assert found.figures["full_accuracy"] == 1
    assert found.figures["loss"] == pytest.approx(1 - expected)
    assert "zero" in found.message
    assert "with_threshold(0.8)" in found.remedy


def test_kept_accuracy_is_no_sign():
    assert "accuracy" not in signs(pixel_modules(0.8), X_TEST, Y_TEST)


def test_lost_accuracy_that_no_tau_gets_back_is_gammas():
    rare = {"features": FREQUENCY["features"] * [1, 1, 1, 0.01]}
    found = finding(pixel_modules(0.9, rare), "accuracy", X_TEST, Y_TEST)
    assert "not enough" in found.remedy
    assert "gamma" in found.remedy


def test_accuracy_of_given_rows():
    rows = [
        {"classes": (0, 1), "accuracy": 0.81, "full_accuracy": 0.90},
        {"classes": (1, 2), "accuracy": 0.85, "full_accuracy": 0.85},
    ]
    modules = modules_of(APART, names=["ape", "bee", "cat"])
    assert signs(modules, subtask_rows=rows) == []  # a loss of 4.5 points on average
    rows[1]["accuracy"] = 0.83
    found = finding(modules, "accuracy", subtask_rows=rows)
    assert found.figures["loss"] == pytest.approx(0.055)
    assert "ape, bee: 81.0 % against 90.0 %" in found.message
    assert "tune_threshold" in found.remedy


def all_of(subtasks, loss=0.3):
    return [{"classes": s, "accuracy": 0.9 - loss, "full_accuracy": 0.9} for s in subtasks]


def test_rows_of_classes_without_test_samples_leave_the_others_to_try_tau_on():
    rows = all_of([(0, 1), (0, 2), (0, 1, 2)])
    seen = Y_TEST < 2
    found = finding(pixel_modules(0.9), "accuracy", X_TEST[seen], Y_TEST[seen], subtask_rows=rows)
    assert "with_threshold(0.8)` loses 0.0 points" in found.remedy
    found = finding(
        pixel_modules(0.9), "accuracy", X_TEST[seen], Y_TEST[seen], subtask_rows=rows[1:]
    )
    assert found.remedy.startswith("Lower tau, with `modules.tune_threshold(x_val, y_val)` if")


def test_tau_is_tried_on_a_few_of_many_rows(monkeypatch):
    tried = []

    def record(modules, x, y, thresholds, *, subtasks):
        tried.append(subtasks)
        return threshold_curve(modules, x, y, thresholds, subtasks=subtasks)

    monkeypatch.setattr(evidence, "threshold_curve", record)
    rows = all_of([(0, 1), (1, 2), (0, 2)] * 300)
    for _ in range(2):
        found = finding(pixel_modules(0.9), "accuracy", X_TEST, Y_TEST, subtask_rows=rows)
        assert found.figures["subtasks"] == 900
    assert len(tried[0]) == evidence.MAX_TRIED_SUBTASKS == 40
    assert tried[0] == tried[1]


def test_accuracy_of_modules_from_units():
    units = {"features": np.eye(3, 4, dtype=bool)}
    modules = mk.ModuleSet.from_units(pixel_model(), units)
    assert "tune_threshold" in finding(modules, "accuracy", X_TEST, Y_TEST).remedy


def test_lost_accuracy_of_modules_by_importance_is_repaired():
    model = pixel_model()
    modules = mk.decompose(model, X_TEST, Y_TEST, criterion="importance", verbose=0)
    none = {name: np.zeros_like(table) for name, table in modules.units.items()}
    found = finding(modules.with_units(none), "accuracy", X_TEST, Y_TEST)
    assert "calibration_data=x" in found.remedy and "gamma" not in found.remedy


@pytest.mark.parametrize(
    "labels",
    [np.eye(3)[Y_TEST], np.array(["zero", "one", "two"])[Y_TEST]],
    ids=["one-hot", "names"],
)
def test_labels_in_other_forms(labels):
    expected = diagnose(pixel_modules(0.9), X_TEST, Y_TEST)
    assert diagnose(pixel_modules(0.9), X_TEST, labels) == expected


class Batches(keras.utils.PyDataset):
    """The test data in three batches."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(4 * index, 4 * index + 4)
        return X_TEST[rows], Y_TEST[rows]


def test_dataset():
    expected = diagnose(pixel_modules(0.9), X_TEST, Y_TEST)
    assert diagnose(pixel_modules(0.9), Batches()) == expected


def test_recurrent_model_with_a_dict_of_inputs():
    """Its sub-tasks are composed one by one: it cannot be cut at its hidden activations."""
    inputs = {"text": keras.Input((4, 3), name="text"), "age": keras.Input((2,), name="age")}
    x = layers.SimpleRNN(4, name="rnn")(inputs["text"])
    x = layers.Concatenate()([x, inputs["age"]])
    model = keras.Model(inputs, layers.Dense(3)(x))
    rng = np.random.default_rng(0)
    x = {"text": rng.normal(size=(12, 4, 3)), "age": rng.normal(size=(12, 2))}
    modules = mk.decompose(model, x, Y_TEST, threshold=0.5, epsilon=0.5, verbose=0)
    rows = gather_evidence(modules, x, Y_TEST).subtask_rows
    assert [row["classes"] for row in rows] == [(0, 1), (0, 2), (1, 2), (0, 1, 2)]
    for row in rows:
        expected = mk.metrics.full_accuracy(model, row["classes"], x, Y_TEST)
        assert row["full_accuracy"] == pytest.approx(expected)
    assert isinstance(diagnose(modules, x, Y_TEST), list)


# ------------------------------------------------------------------------------- size and overlap


def test_overlap_of_all_pairs_is_weak_dispersion():
    found = finding(modules_of(np.ones((3, 6)), np.ones((3, 5))), "overlap")
    assert "dispersion is too weak" in found.message
    assert "beta" in found.remedy
    overlap = mk.metrics.mean_overlap(modules_of(np.ones((3, 6)), np.ones((3, 5))))
    assert found.figures["overlap"] == pytest.approx(overlap)


def test_overlap_of_one_pair_names_it():
    first, second = np.eye(3, 6), np.eye(3, 5)
    first[:2], second[:2] = 1, 1
    found = finding(modules_of(first, second, names=["ape", "bee", "cat"]), "overlap")
    assert "the classes are similar" in found.message
    assert "ape and bee" in found.message.split(";")[1]


def test_modules_of_nearly_the_whole_model():
    found = finding(modules_of(np.ones((3, 6)), np.ones((3, 5))), "size")
    assert found.figures["module_size"] > 0.5
    assert "longer" in found.remedy
    half = np.tile([1, 1, 1, 0, 0, 0], (3, 1))
    assert "size" not in signs(modules_of(half))


# ------------------------------------------------------------------------------------- samples


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.9, 36), (0.8, 64), (0.5, 100), (0.99, 100), (1.0, 1), (0.0, 1)]
)
def test_needed_samples(threshold, expected):
    assert needed_samples(threshold) == expected


def test_class_with_too_few_samples():
    found = finding(modules_of(APART, samples=[200, 20, 35], names=["a", "b", "c"]), "samples")
    assert "b (20), c (35)" in found.message
    assert "steps of 5.0 %" in found.message
    assert (found.figures["samples"], found.figures["limit"]) == (20, 36)
    assert "samples" not in signs(modules_of(APART, samples=36))


def test_class_without_samples():
    found = finding(modules_of(APART, samples=[200, 0, 200], names=["a", "b", "c"]), "samples")
    assert found.severity == "problem"
    assert found.message.startswith("There is no training sample of b")


def test_threshold_for_each_activation():
    modules = modules_of(APART, samples=50).with_threshold({"first": 0.9, "second": 0.8})
    assert finding(modules, "samples").figures["limit"] == 64


# ------------------------------------------------------------------------- collapse and refill


def test_silenced_activation_is_a_collapse():
    found = finding(modules_of(np.full((3, 6), 0.1) * [1, 1, 1, 0, 0, 0]), "collapse")
    assert found.severity == "problem"
    assert found.figures["silent"] == 0.5
    assert found.figures["highest_frequency"] == pytest.approx(0.1)
    assert "first" in found.message
    assert "norm" in found.remedy


def test_one_class_with_too_few_units_is_refilled():
    first = APART.copy()
    first[1] *= 0.5
    modules = modules_of(first, names=["a", "b", "c"])
    found = finding(modules, "refill")
    assert "b in first" in found.message
    assert found.figures["modules"] == 1
    assert "collapse" not in signs(modules)
    assert "refill" not in signs(modules_of(APART))


# ------------------------------------------------------------------------------------- epsilon


def test_default_epsilon_on_an_activation_that_is_never_zero():
    model, second = mlp(activation="gelu"), np.ones((3, 5))
    epsilons = {"first": 0.2, "second": 1e-3}
    modules = modules_of(APART, second, model=model, epsilons=epsilons)
    found = finding(modules, "epsilon")
    assert "The activations second are never exactly zero" in found.message
    assert found.figures["share"] == 1
    assert "choose_epsilons" in found.remedy


@pytest.mark.parametrize(
    ("activation", "epsilon", "second"),
    [("relu", 0.0, np.ones((3, 5))), ("gelu", 0.2, np.ones((3, 5))), ("gelu", 1e-3, np.eye(3, 5))],
)
def test_epsilons_that_are_no_sign(activation, epsilon, second):
    epsilons = {"first": epsilon, "second": epsilon}
    modules = modules_of(APART, second, model=mlp(activation=activation), epsilons=epsilons)
    assert "epsilon" not in signs(modules)


# ---------------------------------------------------------------------------------- objectives


def logs(end, epochs=20, start=1.2, **objectives):
    """A training whose task loss goes evenly from one value to another."""
    values = {"affinity": 0.3, "dispersion": 0.6, "compactness": 0.2, **objectives}
    modular = sum(weight * values[name] for name, weight in mk.MODALoss().weights.items())
    task = np.linspace(start, end, epochs)
    columns = {name: [value] * epochs for name, value in values.items()}
    return {**columns, "task_loss": task.tolist(), "loss": (task + modular).tolist()}


def test_task_that_is_not_learned():
    found = finding(modules_of(APART), "objectives", history=logs(end=1.1, dispersion=2.0))
    assert found.severity == "problem"
    assert found.figures["task_loss"] == pytest.approx(1.1, abs=0.01)
    assert found.figures["guessing"] == pytest.approx(np.log(3))
    assert found.figures["objectives"] == pytest.approx(0.3 + 2.0 + 0.06)
    assert "dispersion (now 1)" in found.remedy


@pytest.mark.parametrize(
    "history",
    [
        # Digits, `small_cnn`, 60 epochs, default weights, test accuracy 0.98: the objectives are
        # above the task loss from the second epoch on.
        {
            "affinity": [0.052, 0.054, 0.056, 0.058, 0.054],
            "dispersion": [0.888, 0.819, 0.786, 0.727, 0.484],
            "compactness": [0.383, 0.414, 0.407, 0.338, 0.152],
            "task_loss": [1.654, 0.226, 0.066, 0.016, 0.005],
            "loss": [2.709, 1.224, 1.030, 0.902, 0.588],
        },
        logs(end=0.5, dispersion=4.0),
        logs(start=0.05, end=0.04, epochs=1),  # fine-tuning of a trained model
        logs(end=1.1, affinity=0.01, dispersion=0.01, compactness=0.01),  # too weak to be the cause
    ],
    ids=["digits", "strong", "fine-tuning", "weak"],
)
def test_objectives_of_other_trainings_are_not_to_blame(history):
    assert signs(modules_of(APART), history=history) == []


def test_task_loss_is_computed_if_it_was_not_logged():
    for end, expected in ((0.2, []), (1.1, ["objectives"])):
        history = logs(end)
        del history["task_loss"]
        assert signs(modules_of(APART), history=history) == expected


def test_weights_of_the_loss_count():
    loss = mk.MODALoss(gamma=20.0)
    found = finding(modules_of(APART), "objectives", history=logs(1.1), modular_loss=loss)
    assert "compactness (now 20)" in found.remedy
    assert found.figures["objectives"] == pytest.approx(0.3 + 0.6 + 20 * 0.2)


def test_weights_are_those_the_model_is_compiled_with():
    model = mk.ModularModel.from_model(mlp())
    model.compile("sgd", "mse", modular_loss=mk.MODALoss(beta=5.0))
    found = finding(modules_of(APART, model=model), "objectives", history=logs(1.1))
    assert "dispersion (now 5)" in found.remedy


@keras.saving.register_keras_serializable(package="tests")
class SparsityLoss(ModularLoss):
    """A loss of one objective, which is not one of MODA's."""

    objective_names = ("sparsity",)

    @property
    def weights(self):
        return {"sparsity": 2.0}

    def objectives(self, activations, labels, num_classes, **options):
        return {"sparsity": keras.ops.mean(keras.ops.abs(activations[0]))}

    def get_config(self):
        return {}


def test_objectives_of_any_modular_loss():
    model = mk.ModularModel.from_model(mlp())
    model.compile("sgd", "mse", modular_loss=SparsityLoss())
    history = {"sparsity": [0.5, 0.4], "loss": [2.1, 1.9]}
    found = finding(modules_of(APART, model=model), "objectives", history=history)
    assert "sparsity (now 2)" in found.remedy
    assert found.figures["task_loss"] == pytest.approx(1.1)


def test_history_of_fit_and_of_a_csv_logger(tmp_path):
    model = mk.ModularModel.from_model(mlp())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, modular_loss=mk.MODALoss(beta=30.0))
    path = tmp_path / "training.csv"
    x, y = inputs_of(model, 12), np.arange(12) % 3
    logger = keras.callbacks.CSVLogger(str(path))
    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[logger])
    expected = finding(modules_of(APART, model=model), "objectives", history=history)
    found = finding(modules_of(APART, model=model), "objectives", history=path)
    assert found.figures == pytest.approx(expected.figures, rel=1e-6)


def test_csv_file_with_missing_values(tmp_path):
    path, columns = tmp_path / "training.csv", logs(1.1)
    columns["val_loss"] = ["NA"] * 20
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
    assert signs(modules_of(APART), history=str(path)) == ["objectives"]


# --------------------------------------------------------------------------------- wrong inputs


@pytest.mark.parametrize("wrong", ["digits.modules", mlp()], ids=["path", "model"])
def test_modules_that_are_none(wrong):
    with pytest.raises(ValueError, match="`modules` to be a `ModuleSet`"):
        diagnose(wrong)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((X_TEST,), {}, "`x_test` and `y_test` together"),
        ((X_TEST, Y_TEST[:5]), {}, "one sample for each label"),
        ((X_TEST, Y_TEST + 1), {}, "label"),
        ((X_TEST, Y_TEST + 0.5), {}, r"Expected integer labels in `y`.*12 of 12.*first 0\.5$"),
        ((X_TEST, Y_TEST.astype(str)), {}, "labels among `class_names`"),
        ((Batches(), Y_TEST), {}, "labels in the batches of the dataset .*Batches and y=ndarray"),
        ((iter([X_TEST]),), {}, "a batch without labels"),
        ((), {"subtask_rows": 5}, "`subtask_rows` to be what .*subtask_rows=5"),
        ((), {"subtask_rows": {"classes": (0, 1)}}, "`subtask_rows` to be what"),
        ((), {"subtask_rows": [{**all_of([(0, 1)])[0], "accuracy": "x"}]}, "without .*accuracy"),
        ((), {"history": {**logs(1.1), "loss": [1.0]}}, "of different lengths.*'loss': 1"),
        ((), {"history": 3}, "Expected `history`"),
        ((), {"history": {"loss": [1.0]}}, "without .*affinity"),
    ],
)
def test_wrong_inputs_are_named(data, options, message):
    with pytest.raises(ValueError, match=message):
        pixel_modules(0.9).diagnose(*data, **options)


def test_validation_logs_may_be_of_fewer_epochs():
    history = {**logs(1.1), "val_loss": [1.0]}
    assert signs(modules_of(APART), history=history) == ["objectives"]


def test_modules_from_units_without_data():
    assert set(signs(random_modules(mlp(), fraction=0.9))) <= {"overlap", "size"}
