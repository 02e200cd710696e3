import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from small_models import BACKEND, mlp, random_modules
from tuning_oracle import all_subtasks, every_threshold, losses, mean_size

import moda_keras as mk
from moda_keras.tuning.search import ModuleSizes, find_smallest

LIMITS = [0.0, 0.01, 0.05, 0.1, 0.2, 0.5]


def brute_force(modules, limit, subtasks, x, y, statistic=np.mean):
    """The smallest modules within the loss, over all thresholds, the highest first."""
    sets = [modules.with_threshold(each) for each in every_threshold(modules)[::-1]]
    within = [each for each in sets if statistic(losses(each, subtasks, x, y)) <= limit + 1e-9]
    return min(within, key=mean_size)


# ------------------------------------------------------------------------------- one threshold


@pytest.mark.parametrize("statistic", ["mean", "worst"])
def test_smallest_of_all_thresholds(modules, data, statistic):
    thresholds = set()
    for limit in LIMITS:
        tuned = modules.tune_threshold(
            *data, limit, subtasks=all_subtasks(), statistic=statistic, seed=3
        )
        function = {"mean": np.mean, "worst": np.max}[statistic]
        expected = brute_force(modules, limit, all_subtasks(), *data, function)
        assert mean_size(tuned) == pytest.approx(mean_size(expected))
        assert tuned.threshold == expected.threshold
        thresholds.add(tuned.threshold)
    assert len(thresholds) > 2


def test_really_composed_models_are_within_the_loss(modules, data):
    x, y = data
    tuned = modules.tune_threshold(x, y, 0.05, subtasks=[(0, 1), (1, 2)])
    found = [
        mk.metrics.full_accuracy(modules.model, each, x, y)
        - mk.metrics.reuse_accuracy(tuned, each, x, y)
        for each in ([0, 1], [1, 2])
    ]
    assert np.mean(found) <= 0.05 + 1e-9
    assert mean_size(tuned) < mean_size(modules.with_threshold(0.0))


class Losses:
    """Losses that have nothing to do with accuracy."""

    def __init__(self, by_threshold):
        self.by_threshold = by_threshold

    def first_within(self, module_sets, limit):
        found = [self.by_threshold[each.threshold] <= limit for each in module_sets]
        return found.index(True) if any(found) else None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.floats(0, 1))
def test_search_goes_from_the_smallest_modules_to_the_largest(seed, limit):
    rng = np.random.default_rng(seed)
    samples = rng.integers(1, 6, size=3)
    counts = {
        name: np.array([rng.integers(0, n + 1, width) for n in samples]) * rng.integers(0, 2, width)
        for name, width in (("first", 6), ("second", 5))
    }
    modules = mk.ModuleSet.from_counts(MODEL, counts, samples)
    loss = {threshold: rng.random() for threshold in every_threshold(modules)}
    loss[min(mk.tuning.distinct_thresholds(modules))] = 0.0
    found = find_smallest(modules, Losses(loss), ModuleSizes(modules), limit)
    distinct = mk.tuning.distinct_thresholds(modules).tolist()
    sizes = [mean_size(modules.with_threshold(t)) for t in distinct if loss[t] <= limit]
    assert mean_size(found) == pytest.approx(min(sizes), rel=1e-12)  # means differ by rounding
    assert loss[found.threshold] <= limit


MODEL = mlp()


def test_given_thresholds_only(modules, data):
    tuned = modules.tune_threshold(*data, 0.9, thresholds=[0.2, 0.4])
    sizes = {t: mean_size(modules.with_threshold(t)) for t in (0.2, 0.4)}
    assert tuned.threshold == min(sizes, key=sizes.get)
    with pytest.raises(ValueError, match="loses at most max_accuracy_loss=0"):
        modules.tune_threshold(*data, 0.0, thresholds=[1.0])


def test_original_modules_stay(modules, data):
    before = {name: units.copy() for name, units in modules.units.items()}
    tuned = modules.tune_threshold(*data, 0.1)
    assert tuned is not modules
    assert modules.threshold == 0.9
    assert all((modules.units[name] == units).all() for name, units in before.items())
    assert (tuned.class_names, tuned.epsilons) == (modules.class_names, modules.epsilons)


def test_one_hot_labels(modules, data):
    x, y = data
    assert (
        modules.tune_threshold(x, np.eye(3)[y], 0.05).threshold
        == modules.tune_threshold(x, y, 0.05).threshold
    )


# ------------------------------------------------------------------------------------ datasets


class Batches(keras.utils.PyDataset):
    """Batches of data in memory; without an end if `endless`."""

    def __init__(self, x, y, endless=False):
        super().__init__()
        self.x, self.y, self.endless = x, y, endless

    @property
    def num_batches(self):
        return None if self.endless else 4

    def __getitem__(self, index):
        rows = slice(9 * (index % 4), 9 * (index % 4) + 9)
        return self.x[rows], self.y[rows]


def batches_of(x, y):
    batches = Batches(x, y)
    return (batches[index] for index in range(4))


def torch_loader(x, y):
    torch = pytest.importorskip("torch")
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=9)


def tensorflow_dataset(x, y):
    tensorflow = pytest.importorskip("tensorflow")
    return tensorflow.data.Dataset.from_tensor_slices((x, y)).batch(9)


@pytest.mark.parametrize("dataset", [Batches, batches_of, torch_loader, tensorflow_dataset])
def test_dataset_gives_the_threshold_of_its_arrays(modules, data, dataset):
    tuned = modules.tune_threshold(dataset(*data), max_accuracy_loss=0.05, seed=1)
    assert tuned.threshold == modules.tune_threshold(*data, 0.05, seed=1).threshold
    assert 0 < tuned.threshold < 1


def test_steps_end_an_endless_dataset(modules, data):
    x, y = data
    endless = Batches(x, y, endless=True)
    expected = mk.tuning.threshold_curve(modules, x[:27], y[:27], [0.5])
    assert mk.tuning.threshold_curve(modules, endless, thresholds=[0.5], steps=3) == expected
    with pytest.raises(ValueError, match="Expected `steps`"):
        modules.tune_threshold(endless)


# ------------------------------------------------------------------------------------- strings


@pytest.mark.skipif(BACKEND != "tensorflow", reason="Keras has string inputs with TensorFlow only")
@pytest.mark.parametrize("dtype", [object, str, bytes])
def test_string_inputs(dtype):
    texts = np.array(["red", "red red", "blue", "blue blue", "green", "green red"], dtype)
    y = np.array([0, 0, 1, 1, 2, 2])
    model = text_model(["red", "blue", "green"])
    modules = mk.decompose(model, texts.astype(str).astype(object), y, threshold=0.5, verbose=0)
    tuned = modules.tune_threshold(texts, y, 0.0)
    full, after = mk.tuning.threshold_curve(modules, texts, y, [0.0, tuned.threshold])
    assert full["reuse_accuracy"] == full["full_accuracy"] <= after["reuse_accuracy"]
    assert after["module_size"] < 1
    assert mk.tuning.threshold_curve(modules, batches_of_texts(texts, y), thresholds=[0.5])


def batches_of_texts(texts, y):
    return (
        (keras.ops.convert_to_tensor(texts[rows]), y[rows]) for rows in (slice(4), slice(4, None))
    )


def text_model(vocabulary):
    inputs = keras.Input((), dtype="string")
    words = layers.TextVectorization(vocabulary=vocabulary, output_sequence_length=2)(inputs)
    x = layers.GlobalAveragePooling1D()(layers.Embedding(5, 4)(words))
    x = layers.Dense(8, activation="relu", name="features")(x)
    return keras.Model(inputs, layers.Dense(3)(x))


# --------------------------------------------------------------------- one for each activation


@pytest.mark.parametrize("limit", LIMITS)
def test_per_layer_is_within_the_loss_and_never_larger(modules, data, limit):
    options = {"subtasks": all_subtasks()}
    one = modules.tune_threshold(*data, limit, **options)
    each = modules.tune_threshold(*data, limit, per_layer=True, **options)
    assert list(each.threshold) == ["first", "second"]
    assert losses(each, all_subtasks(), *data).mean() <= limit + 1e-9
    assert mean_size(each) <= mean_size(one)


def test_per_layer_saves_where_one_threshold_cannot():
    """Units of `first` are needed though rare; one of `second` is idle though more frequent."""
    model, x, y = _rare_and_idle()
    modules = mk.decompose(model, x, y, verbose=0)
    one = modules.tune_threshold(x, y, 0.0)
    each = modules.tune_threshold(x, y, 0.0, per_layer=True)
    assert losses(each, [(0, 1)], x, y).tolist() == [0.0]
    assert (one.threshold, each.threshold) == (0.5, {"first": 0.5, "second": 1.0})
    assert mean_size(each) < mean_size(one)


def _rare_and_idle():
    """Class 1 shows by either of two units, each on half of its samples; a third tells nothing."""
    model = mlp(classes=2)
    weights = {layer.name: [np.zeros(w.shape) for w in layer.weights] for layer in model.layers}
    weights["first"][0][:3, :3] = np.eye(3)
    weights["second"][0][:2, 0] = weights["second"][0][2, 1] = 1
    weights["logits"][0][0] = [-1, 1]
    weights["logits"][1][:] = [0.5, 0]
    for name, values in weights.items():
        model.get_layer(name).set_weights(values)
    y = np.arange(40) % 2
    turn = np.arange(40) // 2
    x = np.zeros((40, 4), "float32")
    x[np.arange(40), turn % 2] = y
    x[:, 2] = y * (turn % 4 > 0)
    return model, x, y


# ---------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize("limit", [-0.1, 1.0, 5, "0.1", None, float("nan"), True])
def test_loss_out_of_range(modules, data, limit):
    with pytest.raises(ValueError, match=r"`max_accuracy_loss` in \[0, 1\)"):
        modules.tune_threshold(*data, limit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": None}, "labels in `y`"),
        ({"y": np.zeros(5, int)}, "one sample for each label"),
        ({"y": np.full(36, 3)}, "labels from 0 to 2"),
        ({"x": np.zeros((0, 4)), "y": np.zeros(0, int)}, "at least one sample"),
        ({"x": iter([1, 2])}, "labels in the batches of the dataset"),
        ({"y": np.arange(36) % 2}, r"none of the classes \['2'\]"),
        ({"subtasks": []}, "each of at least two classes"),
        ({"subtasks": [(1,)]}, "each of at least two classes"),
        ({"subtasks": [(0, 7)]}, "Unknown class"),
        ({"statistic": "median"}, r"`statistic` to be one of \['mean', 'worst'\]"),
        ({"thresholds": [1.5]}, r"`threshold` in \[0, 1\]"),
        ({"thresholds": []}, "at least one threshold"),
        ({"thresholds": 0.5}, "`thresholds` to be a list .*thresholds=0.5"),
        ({"thresholds": [{"first": 0.5}, 0.3]}, "`thresholds` to be a list"),
        ({"subtasks": 3}, "`subtasks` to be a list of lists .*subtasks=3"),
        ({"subtasks": "01"}, "`subtasks` to be a list of lists .*subtasks='01'"),
        ({"subtasks": [0, 1]}, r"`subtasks` to be a list of lists .*subtasks=\[0, 1\]"),
        ({"y": np.arange(36) % 3 + 0.5}, r"integer labels in `y`.*36 of 36.*the first 0\.5$"),
    ],
)
def test_wrong_arguments(modules, data, change, message):
    arguments = {"x": data[0], "y": data[1], **change}
    with pytest.raises(ValueError, match=message):
        mk.tuning.tune_threshold(modules, **arguments)


@pytest.mark.parametrize("wrong", ["digits.modules", mlp()], ids=["path", "model"])
def test_modules_that_are_none(wrong, data):
    with pytest.raises(ValueError, match="`modules` to be a `ModuleSet`"):
        mk.tuning.tune_threshold(wrong, *data)
    with pytest.raises(ValueError, match="`modules` to be a `ModuleSet`"):
        mk.tuning.threshold_curve(wrong, *data)
    with pytest.raises(ValueError, match="`modules` to be a `ModuleSet`"):
        mk.tuning.distinct_thresholds(wrong)


@pytest.mark.parametrize("thresholds", [0.5, "0.5", {"first": 0.5}, [None]])
def test_curve_of_no_thresholds(modules, data, thresholds):
    with pytest.raises(ValueError, match="`thresholds` to be a list"):
        mk.tuning.threshold_curve(modules, *data, thresholds)


def test_modules_of_units_alone(data):
    with pytest.raises(ValueError, match="needs the frequencies"):
        random_modules(mlp()).tune_threshold(*data)
